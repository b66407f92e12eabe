//! Who gives a command, as the TEE core knows it.

use optee_utee::{
    LoginType, Result, Uuid,
    property::{ClientIdentity, PropertyKey as _},
};
use otrp_engine::platform::UuidBytes;

/// The client of the current session. The core does not let another one use the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// A program or the kernel of the normal world, whatever it logged in as.
    NormalWorld,
    /// The trusted application of this UUID. The normal world cannot ask for this login: the core
    /// refuses it there, and stamps it, with the caller's UUID, where one application calls another.
    Application(UuidBytes),
}

impl Client {
    /// The client whose command is being carried out.
    ///
    /// # Errors
    /// The TEE's, where it has no such property.
    pub fn current() -> Result<Self> {
        let identity = ClientIdentity.get()?;
        Ok(match identity.login_type() {
            LoginType::TrustedApp => Self::Application(octets(&identity.uuid())),
            _ => Self::NormalWorld,
        })
    }
}

/// The octets of a UUID in network order.
fn octets(uuid: &Uuid) -> UuidBytes {
    // SAFETY: the pointer is that of `uuid`'s only field, which outlives this line.
    let fields = unsafe { *uuid.as_raw_ptr() };
    let [a, b, c, d] = fields.timeLow.to_be_bytes();
    let [e, f] = fields.timeMid.to_be_bytes();
    let [g, h] = fields.timeHiAndVersion.to_be_bytes();
    let [i, j, k, l, m, n, o, p] = fields.clockSeqAndNode;
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}
