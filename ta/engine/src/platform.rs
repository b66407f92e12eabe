//! What the engine asks of the machine it runs on: one small trait a capability.
//!
//! The contract of each method is its documentation; `otrp-sim` and the conformance trusted
//! application run the same generic tests against every implementation.

use crate::secret::Seed;

/// A type that names one implementation of every port.
pub trait Platform {
    /// Persistent records.
    type Storage: Storage;
    /// The TEE core's database of installed trusted applications.
    type TaStore: TaStore;
    /// Long-term key pairs.
    type Keys: Keys;
    /// The normal world's clock.
    type Clock: Clock;
    /// Random bytes.
    type Rng: Rng;
    /// RSA arithmetic on public keys.
    type Rsa: RsaPublic;
}

/// One implementation of every port, as public fields so that they borrow separately.
#[derive(Debug)]
pub struct Ports<P: Platform> {
    /// Persistent records.
    pub storage: P::Storage,
    /// Installed trusted applications.
    pub ta_store: P::TaStore,
    /// Long-term key pairs.
    pub keys: P::Keys,
    /// The normal world's clock.
    pub clock: P::Clock,
    /// Random bytes.
    pub rng: P::Rng,
}

/// Why a port could not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortError {
    /// Storage, memory or the TA database is full; nothing changed.
    Full,
    /// What is stored is damaged, or is larger than the caller's bound.
    Corrupt,
    /// The TEE keeps this to itself: the UUID is one of its own applications; nothing changed.
    Denied,
    /// Anything else; whether the operation took effect is unknown.
    Failed,
}

/// The name of a stored object: a kind and a number, both chosen by the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// What the object is.
    pub kind: Kind,
    /// Which one of its kind; 0 for the only one.
    pub number: u32,
}

/// The kinds of stored objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The registry: every security domain and trusted application.
    Registry,
    /// The TEE's certificate chain.
    TeeChain,
    /// The certificates of one security domain's service provider.
    SpCertificates,
    /// The certificate chain of one TAM.
    TamChain,
    /// The personalization data of one trusted application.
    Personalization,
    /// The TEE's key pair.
    TeeKey,
    /// An SP's anonymous attestation key pair.
    Aik,
    /// The key pair in reserve.
    SpareKey,
}

impl Kind {
    /// Every kind, in the order of their letters' first use.
    pub const ALL: [Self; 8] = [
        Self::Registry,
        Self::TeeChain,
        Self::SpCertificates,
        Self::TamChain,
        Self::Personalization,
        Self::TeeKey,
        Self::Aik,
        Self::SpareKey,
    ];

    /// The letter that stands for this kind in an object's identifier; stable on disk.
    #[must_use]
    pub const fn letter(self) -> u8 {
        match self {
            Self::Registry => b'r',
            Self::TeeChain => b'c',
            Self::SpCertificates => b's',
            Self::TamChain => b't',
            Self::Personalization => b'p',
            Self::TeeKey => b'k',
            Self::Aik => b'a',
            Self::SpareKey => b'n',
        }
    }
}

impl Name {
    /// The object's identifier in storage: `otrp.`, the kind's letter, eight hexadecimal digits.
    #[must_use]
    pub fn identifier(self) -> [u8; 14] {
        let [a, b, c, d] = self.number.to_be_bytes();
        let mut text = *b"otrp.x00000000";
        let (_, tail) = text.split_at_mut(5);
        if let [kind, digits @ ..] = tail {
            *kind = self.kind.letter();
            for (pair, byte) in digits.chunks_exact_mut(2).zip([a, b, c, d]) {
                if let [high, low] = pair {
                    *high = hexadecimal(byte >> 4);
                    *low = hexadecimal(byte & 15);
                }
            }
        }
        text
    }
}

/// The lower-case digit of a value below 16.
const fn hexadecimal(nibble: u8) -> u8 {
    match nibble {
        0..=9 => b'0'.saturating_add(nibble),
        _ => b'a'.saturating_add(nibble.saturating_sub(10)),
    }
}

/// Confidential, authenticated, persistent records, each replaced as a whole.
pub trait Storage {
    /// Reads a record to the start of `buffer`; `None` if there is none.
    ///
    /// # Errors
    /// `Corrupt` if the record is damaged or longer than `buffer`.
    fn load<'b>(&mut self, name: Name, buffer: &'b mut [u8])
    -> Result<Option<&'b [u8]>, PortError>;

    /// Writes a record, creating it where there is none.
    ///
    /// Atomic: after an error or a power cut at any instant the record is the old or the new one.
    ///
    /// # Errors
    /// `Full` leaves the old record.
    fn replace(&mut self, name: Name, record: &[u8]) -> Result<(), PortError>;

    /// Removes a record; an absent one is success. Atomic and idempotent.
    ///
    /// # Errors
    /// `Failed`; the record may be there or not.
    fn remove(&mut self, name: Name) -> Result<(), PortError>;
}

/// A trusted application's identifier: the 16 octets of RFC 4122, in network order.
pub type UuidBytes = [u8; 16];

/// What the TA database knows of an installed trusted application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredTa {
    /// Version in the signed header of the image.
    pub version: u32,
    /// Size of the ELF in bytes.
    pub size: u32,
    /// SHA-256 of the ELF.
    pub digest: [u8; 32],
}

/// The TEE core's database of trusted applications that load by UUID.
///
/// One write transaction at a time. A dropped, aborted or cut transaction leaves no trace.
pub trait TaStore {
    /// Whether the core's loader runs 64-bit applications: no 32-bit build of OP-TEE does.
    const ELF64: bool;

    /// Begins to install or to replace `uuid`; aborts an open transaction first.
    ///
    /// # Errors
    /// `Full` where there is no room; `Denied` where the UUID belongs to a TA of the TEE's image.
    fn begin(&mut self, uuid: &UuidBytes, ta: &StoredTa) -> Result<(), PortError>;

    /// Appends bytes of the ELF.
    ///
    /// # Errors
    /// Any error ends the transaction without effect.
    fn write(&mut self, bytes: &[u8]) -> Result<(), PortError>;

    /// Makes what was written the trusted application that loads under the UUID.
    ///
    /// Atomic: the old entry or the new one. Refused unless size and digest are those announced.
    ///
    /// # Errors
    /// After `Failed` ask [`TaStore::query`] which one it is.
    fn commit(&mut self) -> Result<(), PortError>;

    /// Drops an open transaction; none is success.
    fn abort(&mut self);

    /// Removes a trusted application; an absent one is success. Atomic and idempotent.
    ///
    /// It is also removed when its UUID has since been taken by a TA of the TEE's image.
    ///
    /// # Errors
    /// `Failed`; it may be there or not.
    fn remove(&mut self, uuid: &UuidBytes) -> Result<(), PortError>;

    /// What is installed under `uuid`; the entry is authenticated as a whole.
    ///
    /// # Errors
    /// `Corrupt` if the entry was altered; `Failed` if the database cannot tell.
    fn query(&mut self, uuid: &UuidBytes) -> Result<Option<StoredTa>, PortError>;
}

/// An uncompressed P-256 point: 4, x, y (SEC 1, section 2.3.3).
pub type Point = [u8; 65];

/// The modulus of an RSA-2048 key: big-endian, odd, its top bit set.
pub type Modulus = [u8; 256];

/// The public exponent of this TEE's RSA key pairs, 65537, big-endian.
pub const RSA_EXPONENT: [u8; 3] = [1, 0, 1];

/// What kind of key pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyType {
    /// On the curve P-256.
    #[default]
    P256,
    /// RSA with a modulus of 2048 bits and the exponent [`RSA_EXPONENT`].
    Rsa2048,
}

/// The public half of a key pair of this TEE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnPublicKey {
    /// On the curve P-256.
    P256(Point),
    /// RSA with the exponent [`RSA_EXPONENT`].
    Rsa2048(Modulus),
}

impl OwnPublicKey {
    /// Its kind.
    #[must_use]
    pub const fn key_type(&self) -> KeyType {
        match self {
            Self::P256(_) => KeyType::P256,
            Self::Rsa2048(_) => KeyType::Rsa2048,
        }
    }
}

/// A key pair of this TEE, as the engine uses it.
#[derive(Clone, Copy, Debug)]
pub struct KeyPair<'k> {
    /// Its name at the port.
    pub name: Name,
    /// Its public half.
    pub public: &'k OwnPublicKey,
}

/// Key pairs that stay behind their names ([`Kind::TeeKey`], [`Kind::Aik`], [`Kind::SpareKey`]).
///
/// Which kind [`Keys::generate`] makes is the platform's choice, made when it is built; pairs of
/// the other kind that are there already stay usable.
pub trait Keys {
    /// The kind of key pair that [`Keys::generate`] makes.
    fn makes(&self) -> KeyType;

    /// Makes a key pair under `name`, replacing one that is there, and returns its public key.
    ///
    /// Atomic: after an error or a power cut there is the old key pair or the new one.
    ///
    /// # Errors
    /// `Full` leaves things as they were.
    fn generate(&mut self, name: Name) -> Result<OwnPublicKey, PortError>;

    /// The public key of `name`; `None` if there is no such key pair.
    ///
    /// # Errors
    /// `Corrupt` if it is damaged.
    fn public(&mut self, name: Name) -> Result<Option<OwnPublicKey>, PortError>;

    /// Signs a SHA-256 digest: ECDSA, r and s as 32 octets each (RFC 7518, section 3.4).
    ///
    /// # Errors
    /// `Failed` if there is no such P-256 key pair.
    fn sign(&mut self, name: Name, digest: &[u8; 32]) -> Result<[u8; 64], PortError>;

    /// The x coordinate that ECDH with `peer` gives (SP 800-56A, section 5.7.1.2).
    ///
    /// # Errors
    /// `Failed` if there is no such P-256 key pair or `peer` is not a point of the curve.
    fn agree(&mut self, name: Name, peer: &Point) -> Result<Seed, PortError>;

    /// RSA's private-key operation on `number`, big-endian, in place (RFC 8017, sections 5.1.2 and
    /// 5.2.1). Blinded, and what comes out is checked with the public key.
    ///
    /// # Errors
    /// `Failed` if there is no such RSA key pair or `number` is not below its modulus; `number` is
    /// then undefined.
    fn rsa(&mut self, name: Name, number: &mut Modulus) -> Result<(), PortError>;

    /// Gives a key pair another name, and returns its public key; `None` if there is no such pair.
    ///
    /// Atomic: after an error or a power cut the key pair has one of the names.
    ///
    /// # Errors
    /// `Failed`, also where there is a key pair under the new name; `Corrupt` if the key pair is
    /// damaged.
    fn rename(&mut self, name: Name, to: Name) -> Result<Option<OwnPublicKey>, PortError>;

    /// Destroys a key pair; an absent one is success. Atomic and idempotent.
    ///
    /// # Errors
    /// `Failed`; it may be there or not.
    fn destroy(&mut self, name: Name) -> Result<(), PortError>;
}

/// The normal world's clock: a hint from an attacker.
pub trait Clock {
    /// Seconds since 1970-01-01T00:00:00Z.
    fn now(&mut self) -> u64;
}

/// Cryptographic random bytes.
pub trait Rng {
    /// Fills `buffer`.
    ///
    /// # Errors
    /// `Failed`; then `buffer` must not be used.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), PortError>;
}

/// RSA's public-key operation. Public data only, so it needs no state.
pub trait RsaPublic {
    /// Raises `number` to `exponent` modulo `modulus`, in place; all are big-endian.
    ///
    /// `modulus` is odd, without leading zeros, of 256 to 512 octets; `exponent` is odd, without
    /// leading zeros, from 3 to 32 bits; `number` is as long as the modulus and below it.
    ///
    /// # Errors
    /// `Failed` for other numbers, or if the platform cannot compute; `number` is then undefined.
    fn raise(modulus: &[u8], exponent: &[u8], number: &mut [u8]) -> Result<(), PortError>;
}
