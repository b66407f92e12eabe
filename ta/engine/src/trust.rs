//! What the image itself says whom and what to trust; nothing that arrives later can add to it.

/// The compiled-in trust anchors, names and choices, covered by the image's own signature.
#[derive(Clone, Copy, Debug)]
pub struct Trust {
    /// DER certificates of the roots that TAM certificates must lead to.
    pub tam_anchors: &'static [&'static [u8]],
    /// DER certificate of the manufacturer's root that the TEE's certificate must lead to.
    pub tee_anchor: &'static [u8],
    /// Whether one of the anchors is a development PKI's, whose private keys anybody may have.
    pub development: bool,
    /// The TEE's name in messages; at most 64 plain characters.
    pub tee_name: &'static str,
    /// Whether keys may be wrapped with RSAES-PKCS1-v1_5 (`RSA1_5`): OTrP wants it of everybody, and
    /// JOSE is about to give it up.
    pub rsa1_5: bool,
    /// When the image was built, in seconds since 1970: no clock is believed to be before it.
    pub built_at: u64,
}
