//! The broker in OP-TEE, reached through libteec.

use optee_teec::{
    Context, Error, ErrorKind, ErrorOrigin, Operation, ParamNone, ParamTmpRef, Session, Uuid,
};
use otrp_wire::command::{
    BROKER_TEXT, EXPORT_CSR, IMPORT_CERTIFICATES, PREPARE, PROCESS, STATUS, TA_INFORMATION,
};
use otrp_wire::limits::REPLY_LIMIT;

use crate::message::{TaName, ta_query};
use crate::tee::{Presence, Tee, TeeError};

/// The longest reply that this agent allocates a buffer for. A broker that was built for more than the
/// usual [`REPLY_LIMIT`] returns the length that it needs.
const LONGEST_REPLY: usize = 1024 * 1024;

/// `TEE_ERROR_CORRUPT_OBJECT` and its second form, which libteec has no names for.
const CORRUPT_OBJECT: [u32; 2] = [0xf010_0001, 0xf010_0002];
/// `TEE_ERROR_STORAGE_NO_SPACE`.
const NO_SPACE: u32 = 0xffff_3041;

/// A session with the broker.
pub struct Optee {
    session: Session,
    context: Context,
}

impl Optee {
    /// Opens a session with the broker.
    ///
    /// # Errors
    /// `NoDevice` or `NoBroker` where there is none.
    pub fn open() -> Result<Self, TeeError> {
        let mut context = Context::new().map_err(|_| TeeError::NoDevice)?;
        let broker = Uuid::parse_str(BROKER_TEXT).map_err(|_| TeeError::Uuid)?;
        let session = context.open_session(broker).map_err(|error| match error.kind() {
            ErrorKind::ItemNotFound => TeeError::NoBroker,
            _ => failure(&error),
        })?;
        Ok(Self { session, context })
    }

    /// Runs a command with an input and an output buffer.
    fn exchange(&mut self, command: u32, input: &[u8]) -> Result<Vec<u8>, TeeError> {
        let mut room = REPLY_LIMIT;
        loop {
            let mut output = vec![0; room];
            let mut operation = Operation::new(
                0,
                ParamTmpRef::new_input(input),
                ParamTmpRef::new_output(&mut output),
                ParamNone,
                ParamNone,
            );
            let result = self.session.invoke_command(command, &mut operation);
            let length = operation.parameters().1.updated_size();
            match result {
                Ok(()) if length <= room => {
                    output.truncate(length);
                    return Ok(output);
                }
                // The broker checks the buffer before it begins, so the same request is still valid.
                Err(error) if error.kind() == ErrorKind::ShortBuffer && length > room => {
                    if length > LONGEST_REPLY {
                        return Err(TeeError::ReplyTooLong);
                    }
                    room = length;
                }
                Ok(()) => return Err(TeeError::ReplyTooLong),
                Err(error) => return Err(failure(&error)),
            }
        }
    }

    /// Runs a command with an output buffer.
    fn output(&mut self, command: u32) -> Result<Vec<u8>, TeeError> {
        let mut output = vec![0; REPLY_LIMIT];
        let mut operation = Operation::new(
            0,
            ParamTmpRef::new_output(&mut output),
            ParamNone,
            ParamNone,
            ParamNone,
        );
        self.session.invoke_command(command, &mut operation).map_err(|error| failure(&error))?;
        let length = operation.parameters().0.updated_size();
        output.truncate(length);
        Ok(output)
    }
}

impl Tee for Optee {
    fn process(&mut self, request: &[u8]) -> Result<Vec<u8>, TeeError> {
        self.exchange(PROCESS, request)
    }

    fn ta_information(&mut self, name: TaName<'_>) -> Result<Vec<u8>, TeeError> {
        self.exchange(TA_INFORMATION, &ta_query(name))
    }

    fn certification_request(&mut self) -> Result<Vec<u8>, TeeError> {
        self.output(EXPORT_CSR)
    }

    fn import_certificates(&mut self, chain: &[u8]) -> Result<(), TeeError> {
        let mut operation =
            Operation::new(0, ParamTmpRef::new_input(chain), ParamNone, ParamNone, ParamNone);
        self.session.invoke_command(IMPORT_CERTIFICATES, &mut operation).map_err(
            |error| match error.kind() {
                ErrorKind::AccessDenied | ErrorKind::Security => TeeError::Refused,
                _ => failure(&error),
            },
        )
    }

    fn prepare(&mut self) -> Result<(), TeeError> {
        let mut operation = Operation::new(0, ParamNone, ParamNone, ParamNone, ParamNone);
        self.session.invoke_command(PREPARE, &mut operation).map_err(|error| failure(&error))
    }

    fn status(&mut self) -> Result<Vec<u8>, TeeError> {
        self.output(STATUS)
    }

    fn application(&mut self, uuid: &str) -> Result<Presence, TeeError> {
        let uuid = Uuid::parse_str(uuid).map_err(|_| TeeError::Uuid)?;
        match self.context.open_session(uuid) {
            Ok(_session) => Ok(Presence::Opens),
            // An application that refuses this caller is installed.
            Err(error) if error.origin() == Some(ErrorOrigin::TA) => Ok(Presence::Opens),
            Err(error) if error.kind() == ErrorKind::ItemNotFound => Ok(Presence::Absent),
            Err(error) if failure(&error).is_temporary() => Err(failure(&error)),
            // The loader's result, which is about the application.
            Err(error) if error.origin() == Some(ErrorOrigin::TEE) => {
                Ok(Presence::Unloadable(error.raw_code()))
            }
            Err(error) => Err(failure(&error)),
        }
    }
}

fn failure(error: &Error) -> TeeError {
    match error.kind() {
        ErrorKind::Busy => TeeError::Busy,
        ErrorKind::OutOfMemory => TeeError::OutOfMemory,
        ErrorKind::TargetDead => TeeError::Crashed,
        ErrorKind::BadFormat => TeeError::NotOtrp,
        ErrorKind::ExcessData => TeeError::TooLong,
        ErrorKind::ItemNotFound => TeeError::NotFound,
        ErrorKind::BadState => TeeError::Ambiguous,
        ErrorKind::Unknown(code) if CORRUPT_OBJECT.contains(&code) => TeeError::Damaged,
        ErrorKind::Unknown(NO_SPACE) => TeeError::Full,
        _ => TeeError::Other(error.raw_code()),
    }
}
