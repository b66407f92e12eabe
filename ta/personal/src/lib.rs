//! Fetches the personalization data of a trusted application from the broker.
//!
//! A service provider can send data with an image, in the same InstallTA or in an UpdateTA of
//! their own (OTrP draft, sections 9.3.1 and 9.3.2): settings, keys, anything specific to this
//! device or customer. They are encrypted for the TEE. The broker keeps them in its secure storage
//! and returns them only to the application that they were sent for, which OP-TEE's core identifies.
//!
//! Fetch the data where they are first needed, usually when a session is opened; after an update the
//! next call returns the new data. They are deleted with the application.
//!
//! ```no_run
//! use optee_utee::{ErrorKind, ParametersNone, Result, ta_open_session};
//!
//! #[ta_open_session]
//! fn open_session(_parameters: &mut ParametersNone) -> Result<()> {
//!     let mut room = [0; 256];
//!     match otrp_personal::fetch(&mut room)? {
//!         Some(data) => use_data(data).ok_or(ErrorKind::BadFormat.into()),
//!         // Installed without data: use the defaults.
//!         None => Ok(()),
//!     }
//! }
//! # fn use_data(_: &[u8]) -> Option<()> { None }
//! ```
//!
//! Having no data is normal and returns `None`. Failing to get them is an error, because the data may
//! restrict the application: use `?`, never `unwrap_or_default`.
//!
//! If the data are secret, wipe the buffer after use. A TAM may send the same data to all devices, so
//! whoever breaks one device may know them.
#![no_std]
#![forbid(unsafe_code)]

use core::fmt;

use optee_utee::{ErrorKind, ParamIndex, TaSession, TaSessionBuilder, TeeParams, Uuid};
use otrp_wire::command::{BROKER, PERSONALIZATION};

/// Why the data could not be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The data are longer than the buffer.
    TooShort {
        /// Their length in bytes.
        needed: usize,
    },
    /// There is no broker in this TEE.
    NoBroker,
    /// The broker did not install this application, or has deleted it while it runs.
    NotInstalled,
    /// Anything else, as the TEE's result code: the broker's storage is damaged, or the TEE is out
    /// of memory.
    Failed(u32),
}

impl Error {
    /// The error as an entry point of a trusted application can return it.
    #[must_use]
    pub fn kind(self) -> ErrorKind {
        match self {
            Self::TooShort { .. } => ErrorKind::ExcessData,
            Self::NoBroker => ErrorKind::ItemNotFound,
            Self::NotInstalled => ErrorKind::AccessDenied,
            Self::Failed(code) => ErrorKind::from(code),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { needed } => write!(formatter, "the data take {needed} bytes"),
            Self::NoBroker => formatter.write_str("there is no OTrP broker"),
            Self::NotInstalled => formatter.write_str("not installed by the OTrP broker"),
            Self::Failed(code) => write!(formatter, "the TEE failed with {code:#010x}"),
        }
    }
}

impl core::error::Error for Error {}

impl From<Error> for optee_utee::Error {
    fn from(error: Error) -> Self {
        error.kind().into()
    }
}

/// Fetches the calling application's personalization data to the start of `buffer`; `None` if it
/// was installed without, which is not the same as with data of length 0.
///
/// # Errors
/// [`Error`]; then the content of `buffer` means nothing.
pub fn fetch(buffer: &mut [u8]) -> Result<Option<&[u8]>, Error> {
    let mut broker = Broker::open()?;
    // A buffer of length 0 has no address that could be passed on.
    let fetched = if buffer.is_empty() { Answer::Longer } else { broker.data(buffer)? };
    match fetched {
        Answer::None => Ok(None),
        Answer::Data(length) => {
            buffer.get(..length).map(Some).ok_or(Error::TooShort { needed: length })
        }
        Answer::Longer => match broker.length()? {
            None => Ok(None),
            Some(0) => Ok(Some(&[])),
            Some(needed) => Err(Error::TooShort { needed }),
        },
    }
}

/// What the broker says to a question for the data.
enum Answer {
    None,
    Data(usize),
    Longer,
}

/// A session with the broker.
struct Broker(TaSession);

impl Broker {
    fn open() -> Result<Self, Error> {
        let session = TaSessionBuilder::new(Uuid::from_bytes(BROKER)).build();
        session.map(Self).map_err(|error| match error.kind() {
            ErrorKind::ItemNotFound => Error::NoBroker,
            _ => Error::Failed(error.raw_code()),
        })
    }

    fn data(&mut self, buffer: &mut [u8]) -> Result<Answer, Error> {
        let mut parameters = TeeParams::new().with_memref_out(ParamIndex::Arg0, buffer);
        match self.0.invoke_command(PERSONALIZATION, &mut parameters) {
            Ok(()) => {
                let written = parameters[ParamIndex::Arg0].written_slice();
                Ok(Answer::Data(written.unwrap_or_default().len()))
            }
            Err(error) if error.kind() == ErrorKind::NoData => Ok(Answer::None),
            Err(error) if error.kind() == ErrorKind::ShortBuffer => Ok(Answer::Longer),
            Err(error) => Err(refusal(&error)),
        }
    }

    /// The length of the data: of a short buffer, `optee-utee` does not pass on how short it is.
    fn length(&mut self) -> Result<Option<usize>, Error> {
        let mut parameters = TeeParams::new().with_value_out(ParamIndex::Arg0, 0, 0);
        match self.0.invoke_command(PERSONALIZATION, &mut parameters) {
            Ok(()) => {
                let (length, _) = parameters[ParamIndex::Arg0].output_value().unwrap_or_default();
                usize::try_from(length)
                    .map(Some)
                    .map_err(|_| Error::TooShort { needed: usize::MAX })
            }
            Err(error) if error.kind() == ErrorKind::NoData => Ok(None),
            Err(error) => Err(refusal(&error)),
        }
    }
}

fn refusal(error: &optee_utee::Error) -> Error {
    match error.kind() {
        ErrorKind::AccessDenied => Error::NotInstalled,
        _ => Error::Failed(error.raw_code()),
    }
}
