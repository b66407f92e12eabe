//! What the engine asks of the machine it runs on: one small trait a capability.
//!
//! The contract of each method is its documentation. `otrp-port-tests` holds every implementation to
//! it with the same generic tests: the simulator's and OP-TEE's.

use otrp_wire::copy::copy;

use crate::secret::{Scalar, Seed};

/// A type that names one implementation of every port.
pub trait Platform {
    /// What survives a power cut.
    type Store: Store;
    /// Operations with private keys.
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
    /// What survives a power cut.
    pub store: P::Store,
    /// Operations with private keys.
    pub keys: P::Keys,
    /// The normal world's clock.
    pub clock: P::Clock,
    /// Random bytes.
    pub rng: P::Rng,
}

/// A request in memory that its sender can change at any time.
pub trait Source {
    /// Octets of the request; the same each time.
    fn length(&self) -> usize;

    /// Copies the octets from `at` on to all of `buffer`. Each call may find other octets: whoever
    /// reads twice cannot trust that both are the same.
    ///
    /// # Errors
    /// `Failed` beyond the end, or if the memory cannot be read; `buffer` is then undefined.
    fn read(&mut self, at: usize, buffer: &mut [u8]) -> Result<(), PortError>;
}

/// A request that does not change.
impl Source for &[u8] {
    fn length(&self) -> usize {
        self.len()
    }

    fn read(&mut self, at: usize, buffer: &mut [u8]) -> Result<(), PortError> {
        let end = at.checked_add(buffer.len()).ok_or(PortError::Failed)?;
        let octets = self.get(at..end).ok_or(PortError::Failed)?;
        copy(buffer, octets).ok_or(PortError::Failed)
    }
}

/// Why a port could not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortError {
    /// Storage or memory is full; nothing changed.
    Full,
    /// What is stored is damaged, or is larger than the caller's bound.
    Corrupt,
    /// The TEE keeps this to itself: the UUID is one of its own applications; nothing changed.
    Denied,
    /// The UUID's last application still runs, or what it stored cannot be removed now; nothing
    /// changed.
    Busy,
    /// Anything else; whether the operation took effect is unknown.
    Failed,
}

/// A trusted application's identifier: the 16 octets of RFC 4122, in network order.
pub type UuidBytes = [u8; 16];

/// The names of blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Blob {
    /// The ELF of the trusted application that loads under a UUID.
    Image(UuidBytes),
    /// The personalization data of the application under a UUID.
    Personalization(UuidBytes),
    /// The service provider's certificates in the security domain of this number.
    SpCertificates(u32),
    /// The certificate chain of the TAM of this number.
    TamChain(u32),
}

impl Blob {
    /// Length of [`Blob::identifier`].
    pub const IDENTIFIER: usize = 17;

    /// The name as the store has it: the kind, 0 for an image, then 16 octets. Stable on disk.
    #[must_use]
    pub fn identifier(self) -> [u8; Self::IDENTIFIER] {
        let (kind, id) = match self {
            Self::Image(uuid) => (0, uuid),
            Self::Personalization(uuid) => (1, uuid),
            Self::SpCertificates(number) => (2, u128::from(number).to_be_bytes()),
            Self::TamChain(number) => (3, u128::from(number).to_be_bytes()),
        };
        let mut identifier = [kind; Self::IDENTIFIER];
        let (_, place) = identifier.split_at_mut(1);
        place.copy_from_slice(&id);
        identifier
    }
}

/// Who an application belongs to. It loads code of its own owner only.
pub type ImageOwner = [u8; 32];

/// What the store keeps of a blob besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Properties {
    /// Size in bytes; an image has at least one.
    pub size: u32,
    /// Version in the signed header of an image; 0 of anything else.
    pub version: u32,
    /// Whose image it is; zeros of anything else.
    pub owner: ImageOwner,
}

/// One record, and blobs that never change: confidential, authenticated, persistent.
///
/// What was sealed is *pending* until [`Store::commit`] makes it a part of what is stored, together
/// with a new record and without what is removed: all at once, and nothing else changes anything.
/// [`Store::load`], [`Store::abort`], a commit whatever its outcome, and a restart drop what is
/// pending.
pub trait Store {
    /// Whether the core's loader runs 64-bit applications: no 32-bit build of OP-TEE does.
    const ELF64: bool;

    /// Reads the record to the start of `buffer`; `None` if nothing was committed yet. Drops what is
    /// pending.
    ///
    /// # Errors
    /// `Corrupt` if what is stored is damaged, missing or from before, or longer than `buffer`.
    fn load<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, PortError>;

    /// Begins a blob; an open one is dropped first.
    ///
    /// # Errors
    /// For an image `Denied` where the UUID belongs to a TA of the TEE's image, and `Busy` while the
    /// UUID's removed application still runs. `Failed` while [`PENDING_LIMIT`] blobs are pending.
    fn begin(&mut self, blob: Blob, properties: &Properties) -> Result<(), PortError>;

    /// Appends bytes to the open blob.
    ///
    /// # Errors
    /// Any error drops it.
    fn write(&mut self, bytes: &[u8]) -> Result<(), PortError>;

    /// Makes the open blob a pending one; it replaces a pending one of its name.
    ///
    /// # Errors
    /// Any error drops it: `Failed` if it is shorter than announced.
    fn seal(&mut self) -> Result<(), PortError>;

    /// Drops what is open and pending; nothing is success.
    fn abort(&mut self);

    /// Replaces the record, adds what is pending and removes the blobs of these names; absent ones are
    /// passed over, and a pending one replaces that of its name.
    ///
    /// Atomic and durable: after an error or a power cut at any instant all is as before, or all is
    /// done. The running instances of an application whose image was replaced or removed take no new
    /// sessions from then on; with an image that is removed goes what its application stored.
    ///
    /// # Errors
    /// After `Full`, `Denied` and `Busy` all is as before; after any other [`Store::load`] tells. `Failed`
    /// also if what is stored is not what this port loaded or committed last.
    fn commit(&mut self, record: &[u8], removed: &[Blob]) -> Result<(), PortError>;

    /// Reads a blob that was committed to the start of `buffer`; `None` if there is none.
    ///
    /// # Errors
    /// `Corrupt` if it is damaged or longer than `buffer`, which is undefined then.
    fn read<'b>(&mut self, blob: Blob, buffer: &'b mut [u8])
    -> Result<Option<&'b [u8]>, PortError>;

    /// Makes `bytes` a pending blob, not an image.
    ///
    /// # Errors
    /// Those of [`Store::begin`], [`Store::write`] and [`Store::seal`].
    fn put(&mut self, blob: Blob, bytes: &[u8]) -> Result<(), PortError> {
        let size = bytes.len().try_into().map_err(|_| PortError::Full)?;
        self.begin(blob, &Properties { size, version: 0, owner: [0; 32] })?;
        self.write(bytes)?;
        self.seal()
    }
}

/// Most pending blobs: an installation has an image, personalization data and certificates.
pub const PENDING_LIMIT: usize = 4;

/// What the registry knows of an installed image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredTa {
    /// Version in the signed header of the image.
    pub version: u32,
    /// Size of the ELF in bytes.
    pub size: u32,
    /// SHA-256 of the ELF.
    pub digest: [u8; 32],
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

/// The name of an RSA key pair that the TEE core keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyName {
    /// The TEE's.
    Tee,
    /// The attestation key pair of this number.
    Aik(u32),
    /// The one in reserve.
    Spare,
}

impl KeyName {
    /// The identifier of its object: `otrp.`, a letter, eight hexadecimal digits. Stable on disk.
    #[must_use]
    pub fn identifier(self) -> [u8; 14] {
        let (letter, number) = match self {
            Self::Tee => (b'k', 0),
            Self::Aik(number) => (b'a', number),
            Self::Spare => (b'n', 0),
        };
        let mut text = *b"otrp.x00000000";
        let (_, tail) = text.split_at_mut(5);
        if let [kind, digits @ ..] = tail {
            *kind = letter;
            for (pair, byte) in digits.chunks_exact_mut(2).zip(number.to_be_bytes()) {
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

/// The private half of a key pair of this TEE.
#[derive(Debug)]
pub enum PrivateKey {
    /// On the curve P-256: the record holds it.
    P256(Scalar),
    /// The TEE core holds it, and never gives it out.
    Rsa2048(KeyName),
}

impl PrivateKey {
    /// Wipes a scalar where it is.
    pub const fn forget(&mut self) {
        self.fill(&[0; 32]);
    }

    /// Replaces a scalar where it is. One that is moved leaves a copy on the stack, which what is built
    /// there next carries off in the unused part of a buffer.
    pub const fn fill(&mut self, bytes: &[u8; 32]) {
        if let Self::P256(scalar) = self {
            scalar.fill(bytes);
        }
    }
}

/// A key pair of this TEE.
#[derive(Debug)]
pub struct KeyPair {
    /// Its public half.
    pub public: OwnPublicKey,
    /// Its private half.
    pub private: PrivateKey,
}

/// Operations with the private keys of this TEE.
///
/// Which kind [`Keys::generate`] makes is the platform's choice, made when it is built; pairs of
/// the other kind that are there already stay usable.
pub trait Keys {
    /// The kind of key pair that [`Keys::generate`] makes.
    fn makes(&self) -> KeyType;

    /// Makes a key pair. An RSA key pair is stored under `name`, in place of one that is there, and
    /// that is atomic: after an error or a power cut there is the old one or the new one. A P-256 key
    /// pair is not stored.
    ///
    /// # Errors
    /// `Full` leaves things as they were.
    fn generate(&mut self, name: KeyName) -> Result<KeyPair, PortError>;

    /// Signs a SHA-256 digest: ECDSA, r and s as 32 octets each (RFC 7518, section 3.4).
    ///
    /// # Errors
    /// `Failed` if `key` is no scalar of the curve.
    fn sign(&mut self, key: &Scalar, digest: &[u8; 32]) -> Result<[u8; 64], PortError>;

    /// The x coordinate that ECDH with `peer` gives (SP 800-56A, section 5.7.1.2).
    ///
    /// # Errors
    /// `Failed` if `key` is no scalar or `peer` is not a point of the curve.
    fn agree(&mut self, key: &Scalar, peer: &Point) -> Result<Seed, PortError>;

    /// RSA's private-key operation on `number`, big-endian, in place (RFC 8017, sections 5.1.2 and
    /// 5.2.1). Blinded, and what comes out is checked with the public key.
    ///
    /// # Errors
    /// `Failed` if there is no such key pair or `number` is not below its modulus; `number` is then
    /// undefined.
    fn rsa(&mut self, name: KeyName, number: &mut Modulus) -> Result<(), PortError>;

    /// The modulus of an RSA key pair; `None` if there is no such key pair.
    ///
    /// # Errors
    /// `Corrupt` if it is damaged.
    fn modulus(&mut self, name: KeyName) -> Result<Option<Modulus>, PortError>;

    /// Gives an RSA key pair another name, and returns its modulus; `None` if there is no such pair.
    ///
    /// Atomic: after an error or a power cut the key pair has one of the names.
    ///
    /// # Errors
    /// `Failed`, also where there is a key pair under the new name; `Corrupt` if the key pair is
    /// damaged.
    fn rename(&mut self, name: KeyName, to: KeyName) -> Result<Option<Modulus>, PortError>;

    /// Destroys an RSA key pair; an absent one is success. Atomic and idempotent.
    ///
    /// # Errors
    /// `Failed`; it may be there or not.
    fn destroy(&mut self, name: KeyName) -> Result<(), PortError>;
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
