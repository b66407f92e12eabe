//! Client of the sample signer: prints the answers of the trusted application.
//!
//! Exit codes: 0 answered, 1 refused or failed, 2 usage, 4 there is no such trusted application,
//! 5 the limit of uses of the key is reached.

use std::io::{self, Write as _};
use std::process::ExitCode;

use optee_teec::{
    Context, Error, ErrorKind, Operation, Param, ParamNone, ParamTmpRef, ParamValue, Session, Uuid,
};

const SIGNER: &str = "7265664a-f108-4bd7-af1c-86d044babbac";

const GENERATE: u32 = 0;
const PUBLIC_KEY: u32 = 1;
const SIGN: u32 = 2;
const COUNTER: u32 = 3;
const SIGN_MESSAGE: u32 = 4;
const STATUS: u32 = 5;
const LABEL: u32 = 6;

/// The longest label, in bytes.
const LABEL_LIMIT: usize = 64;

const USAGE: &str = "usage: otrp-signer-client COMMAND
  generate             make a new key and print its public key
  public-key           print the public key: 4, x, y
  sign DIGEST          sign a SHA-256 digest (64 hexadecimal digits); print r, s
  sign-message TEXT    let the TEE hash and sign (since version 2)
  counter              print how often the key was used
  label                print what the service provider calls this device
  version              print the application's version";

/// Why the program ends without an answer.
enum Failure {
    Usage,
    Digest,
    NoLabel,
    Tee(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Tee(error)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (message, code) = match run(&arguments) {
        Ok(line) => {
            // Whoever would read it may have gone; what was asked for is done.
            let _ = writeln!(io::stdout(), "{line}");
            return ExitCode::SUCCESS;
        }
        Err(Failure::Usage) => (USAGE.to_owned(), 2),
        Err(Failure::Digest) => ("a digest has 64 hexadecimal digits".to_owned(), 2),
        Err(Failure::NoLabel) => ("the service provider gave no label".to_owned(), 1),
        Err(Failure::Tee(error)) => explain(&error),
    };
    let _ = writeln!(io::stderr(), "{message}");
    ExitCode::from(code)
}

fn run(arguments: &[&str]) -> Result<String, Failure> {
    match arguments {
        ["generate"] => Ok(hex::encode(bytes_out::<65>(GENERATE)?)),
        ["public-key"] => Ok(hex::encode(bytes_out::<65>(PUBLIC_KEY)?)),
        ["sign", digest] => {
            let mut bytes = [0; 32];
            hex::decode_to_slice(digest, &mut bytes).map_err(|_| Failure::Digest)?;
            Ok(hex::encode(signature(SIGN, &bytes)?))
        }
        ["sign-message", text] => Ok(hex::encode(signature(SIGN_MESSAGE, text.as_bytes())?)),
        ["counter"] => {
            let (low, high) = value_out(COUNTER)?;
            Ok((u64::from(high) << 32 | u64::from(low)).to_string())
        }
        ["label"] => match label()? {
            label if label.is_empty() => Err(Failure::NoLabel),
            label => Ok(label),
        },
        ["version"] => Ok(value_out(STATUS)?.0.to_string()),
        _ => Err(Failure::Usage),
    }
}

fn bytes_out<const N: usize>(command: u32) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    let p0 = ParamTmpRef::new_output(&mut bytes);
    invoke(command, &mut Operation::new(0, p0, ParamNone, ParamNone, ParamNone))?;
    Ok(bytes)
}

fn signature(command: u32, input: &[u8]) -> Result<[u8; 64], Error> {
    let mut bytes = [0; 64];
    let p0 = ParamTmpRef::new_input(input);
    let p1 = ParamTmpRef::new_output(&mut bytes);
    invoke(command, &mut Operation::new(0, p0, p1, ParamNone, ParamNone))?;
    Ok(bytes)
}

/// The label; empty if there is none.
fn label() -> Result<String, Error> {
    let mut bytes = [0; LABEL_LIMIT];
    let p0 = ParamTmpRef::new_output(&mut bytes);
    let mut operation = Operation::new(0, p0, ParamNone, ParamNone, ParamNone);
    invoke(LABEL, &mut operation)?;
    let length = operation.parameters().0.updated_size();
    Ok(String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned())
}

fn value_out(command: u32) -> Result<(u32, u32), Error> {
    let p0 = ParamValue::new(0, 0, optee_teec::ParamType::ValueOutput);
    let mut operation = Operation::new(0, p0, ParamNone, ParamNone, ParamNone);
    invoke(command, &mut operation)?;
    let (value, _, _, _) = operation.parameters();
    Ok((value.a(), value.b()))
}

fn invoke<A: Param, B: Param, C: Param, D: Param>(
    command: u32,
    operation: &mut Operation<A, B, C, D>,
) -> Result<(), Error> {
    let mut context = Context::new().map_err(|error| note(error, "no TEE"))?;
    let uuid = Uuid::parse_str(SIGNER).map_err(|_| ErrorKind::BadParameters)?;
    let mut session: Session = context.open_session(uuid)?;
    session.invoke_command(command, operation)
}

/// Explains the TEE's error on stderr.
fn note(error: Error, what: &str) -> Error {
    eprintln!("{what}");
    error
}

fn explain(error: &Error) -> (String, u8) {
    match error.kind() {
        ErrorKind::ItemNotFound => ("item not found: the signer is not installed".to_owned(), 4),
        ErrorKind::NoData => ("there is no key yet: generate one".to_owned(), 1),
        ErrorKind::BadState => ("the key has been used as often as it may".to_owned(), 5),
        ErrorKind::NotImplemented => ("this version does not do that".to_owned(), 1),
        _ => (format!("the TEE refused: {error}"), 1),
    }
}
