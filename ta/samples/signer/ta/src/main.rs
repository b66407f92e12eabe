//! A P-256 signing key that never leaves the TEE, and a counter of its uses.
//!
//! | command | parameters | |
//! |---|---|---|
//! | 0 GENERATE | p0 out: public key | generates a key, replacing the old one; the counter starts at 0 |
//! | 1 PUBLIC_KEY | p0 out: public key | 65 octets: 4, x, y |
//! | 2 SIGN | p0 in: SHA-256 digest, p1 out: signature | ECDSA, 64 octets: r, s |
//! | 3 COUNTER | p0 value out: low, high half | signatures made with this key |
//! | 4 SIGN_MESSAGE | p0 in: message, p1 out: signature | since version 2: hashes in the TEE |
//! | 5 STATUS | p0 value out: version, 0 | |
//! | 6 LABEL | p0 out: label | UTF-8, 64 octets at most; empty if the provider set none |
//!
//! Without a key the answer is `TEE_ERROR_NO_DATA`; once the service provider's limit of uses is
//! reached, `TEE_ERROR_BAD_STATE`.
//!
//! Label and limit are personalization data, see [`settings`]. They are fetched when a session is
//! opened, so an update takes effect in the next session. A session is refused if they cannot be fetched
//! or parsed, because the limit would be unknown.
#![no_std]
#![no_main]
#![expect(missing_docs, reason = "optee-utee's macros make entry points without documentation")]

extern crate alloc;

mod key;
mod settings;

use optee_utee::{
    ErrorKind, ParameterAny, ParameterMemref as _, ParameterMemrefInput, ParameterMemrefOutput,
    ParameterMemrefRead as _, ParameterMemrefWrite as _, ParameterValueWrite as _, ParametersAny,
    ParametersNone, Result, ta_close_session, ta_create, ta_destroy, ta_invoke_command,
    ta_open_session,
};

use key::SigningRecord;
use settings::Settings;

otrp_runtime::header!();

const GENERATE: u32 = 0;
const PUBLIC_KEY: u32 = 1;
const SIGN: u32 = 2;
const COUNTER: u32 = 3;
#[cfg(feature = "v2")]
const SIGN_MESSAGE: u32 = 4;
const STATUS: u32 = 5;
const LABEL: u32 = 6;

const VERSION: u32 = if cfg!(feature = "v2") { 2 } else { 1 };

#[ta_create]
fn create() -> Result<()> {
    Ok(())
}

#[ta_open_session]
fn open_session(_parameters: &mut ParametersNone, settings: &mut Settings) -> Result<()> {
    let mut room = [0; Settings::DATA_LIMIT];
    if let Some(data) = otrp_personal::fetch(&mut room)? {
        *settings = Settings::read(data).ok_or(ErrorKind::BadFormat)?;
    }
    Ok(())
}

#[ta_close_session]
fn close_session(_settings: &mut Settings) {}

#[ta_destroy]
fn destroy() {}

#[ta_invoke_command]
fn invoke_command(
    settings: &mut Settings,
    command: u32,
    parameters: &mut ParametersAny<'_>,
) -> Result<()> {
    use ParameterAny::{MemrefInput, MemrefOutput, None, ValueOutput};

    match (command, parameters) {
        (GENERATE, (MemrefOutput(public_key), None, None, None)) => {
            require(public_key, key::PUBLIC_KEY_LENGTH)?;
            let record = SigningRecord::generate()?;
            public_key.set_output(record.public_key())
        }
        (PUBLIC_KEY, (MemrefOutput(public_key), None, None, None)) => {
            require(public_key, key::PUBLIC_KEY_LENGTH)?;
            public_key.set_output(SigningRecord::load()?.public_key())
        }
        (SIGN, (MemrefInput(input), MemrefOutput(signature), None, None)) => {
            require(signature, key::SIGNATURE_LENGTH)?;
            let key = SigningRecord::load()?.within(settings.use_limit)?;
            signature.set_output(key.sign(&digest(input)?)?)
        }
        (COUNTER, (ValueOutput(counter), None, None, None)) => {
            let uses = SigningRecord::load()?.uses();
            let [a, b, c, d, e, f, g, h] = uses.to_le_bytes();
            counter.set_a(u32::from_le_bytes([a, b, c, d]));
            counter.set_b(u32::from_le_bytes([e, f, g, h]));
            Ok(())
        }
        #[cfg(feature = "v2")]
        (SIGN_MESSAGE, (MemrefInput(input), MemrefOutput(signature), None, None)) => {
            require(signature, key::SIGNATURE_LENGTH)?;
            let key = SigningRecord::load()?.within(settings.use_limit)?;
            signature.set_output(key.sign(&hash(input)?)?)
        }
        (STATUS, (ValueOutput(status), None, None, None)) => {
            status.set_a(VERSION);
            status.set_b(0);
            Ok(())
        }
        (LABEL, (MemrefOutput(output), None, None, None)) => {
            let label = settings.label.as_deref().unwrap_or_default();
            require(output, label.len())?;
            output.set_output(label)
        }
        (GENERATE..=COUNTER | STATUS | LABEL, _) => Err(ErrorKind::BadParameters.into()),
        #[cfg(feature = "v2")]
        (SIGN_MESSAGE, _) => Err(ErrorKind::BadParameters.into()),
        _ => Err(ErrorKind::NotImplemented.into()),
    }
}

/// Checks the client's buffer before anything happens; if it is too short, reports the length needed.
fn require(output: &mut ParameterMemrefOutput<'_>, length: usize) -> Result<()> {
    if output.buffer_len() < length {
        // SAFETY: the size is only reported; with `ShortBuffer` nobody reads the buffer by it.
        unsafe { output.set_updated_size_unchecked(length) };
        return Err(ErrorKind::ShortBuffer.into());
    }
    Ok(())
}

fn digest(input: &ParameterMemrefInput<'_>) -> Result<[u8; 32]> {
    let mut digest = [0; 32];
    if input.buffer_len() != digest.len() {
        return Err(ErrorKind::BadParameters.into());
    }
    input.read_at(0, &mut digest)?;
    Ok(digest)
}

/// Hashes a client's message of any length, block by block: each octet is read once.
#[cfg(feature = "v2")]
fn hash(input: &ParameterMemrefInput<'_>) -> Result<[u8; 32]> {
    use sha2::{Digest as _, Sha256};

    let mut hasher = Sha256::new();
    let mut block = [0; 4096];
    let mut offset = 0;
    loop {
        let count = input.read_at(offset, &mut block)?;
        if count == 0 {
            return Ok(hasher.finalize().into());
        }
        hasher.update(block.get(..count).ok_or(ErrorKind::Generic)?);
        offset = offset.saturating_add(count);
    }
}
