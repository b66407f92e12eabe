//! Runs the port tests inside OP-TEE, installs TAs raw to be timed, and asks the broker
//! for what is not its own.
//!
//! It serves anybody in the normal world and may use the pseudo TA only in a core that was built
//! with `CFG_OTRP_STORE_TEST_CLIENT=y`: for the lab image alone.
#![no_std]
#![no_main]
#![expect(missing_docs, reason = "optee-utee's macros make entry points without documentation")]

extern crate alloc;

mod door;
mod oracle;
mod times;

use alloc::string::String;

use optee_utee::{
    ErrorKind, ParamIndex, ParameterAny, ParametersAny, ParametersNone, Result, TaSessionBuilder,
    TeeParams, Time, Uuid, ta_close_session, ta_create, ta_destroy, ta_invoke_command,
    ta_open_session,
};
use otrp_engine::platform::{KeyType, PortError, UuidBytes};
use otrp_port_tests::{Report, STORE_ROOM};
use otrp_ta::{
    clock::ReeClock,
    inbox,
    keys::TeeKeys,
    rng::TeeRng,
    rsa::TeeRsa,
    store::{PtaStore, STORE_UUID},
};

otrp_runtime::header!();

/// p0 output: the report. p1 value output: checks that held, checks that failed.
const RUN: u32 = 0;
/// p0 input: UUID, owner, ELF. p1 value inout: version; milliseconds it took.
const RAW_INSTALL: u32 = 1;
/// p0 input: UUID. p1 value output: milliseconds it took.
const RAW_REMOVE: u32 = 2;
/// p0 input: UUID. p1 output: SHA-256 of the ELF. p2 value output: size, version. p3 value output:
/// milliseconds it took.
const RAW_QUERY: u32 = 3;
/// p0 output: a line for each port operation, its name and microseconds.
const TIMES: u32 = 4;
/// p0 output: this application's personalization data. The broker did not install it.
const PERSONALIZATION: u32 = 5;
/// p0 value input: a command of the broker. p1 output: what the broker gives, if it gives anything.
const BROKER_COMMAND: u32 = 6;

/// p0 input: the UUID of an application that this one opens a session to, and closes it.
const OPEN: u32 = 7;
/// p0 value input: 0 to close the session, 1 to panic, in the middle of an installation.
const INTERRUPT: u32 = 8;
/// p0 input: the UUID of a library that this application loads as it runs, with `dlopen`.
const LOAD_LIBRARY: u32 = 9;

/// `PTA_SYSTEM_DLOPEN` of OP-TEE, which is what libdl calls, and its flags as `dlopen` wants them.
const SYSTEM_DLOPEN: u32 = 10;
const RTLD_NOW_GLOBAL_NODELETE: u32 = 2 | 0x100 | 0x1000;

/// What of an interrupted installation is written: more than the pseudo TA keeps in memory.
const INTERRUPTED: usize = 200 * 1024;
/// The code of the panic that [`INTERRUPT`] is asked for ("CUT!").
const INTERRUPTED_PANIC: u32 = 0x4355_5421;

/// UUID and owner before the ELF.
const HEAD: usize = 48;
const ELF_LIMIT: usize = 2 * 1024 * 1024;

/// Longest answer that is asked of the broker.
const ANSWER_LIMIT: usize = 64 * 1024;

const PORT_TESTS_UUID: UuidBytes = [
    0x7f, 0xc3, 0xb0, 0x3e, 0xd5, 0xb8, 0x45, 0xc5, 0x94, 0xcb, 0x5b, 0x36, 0xec, 0x23, 0xa5, 0xda,
];
/// `PTA_SYSTEM_UUID` of OP-TEE: a pseudo TA that is in every image.
const SYSTEM_PTA_UUID: UuidBytes = [
    0x3a, 0x2f, 0x89, 0x78, 0x5d, 0xc0, 0x11, 0xe8, 0x9c, 0x2d, 0xfa, 0x7a, 0xe0, 0x1b, 0xbe, 0xbc,
];

#[ta_create]
fn create() -> Result<()> {
    Ok(())
}

#[ta_open_session]
fn open_session(_parameters: &mut ParametersNone) -> Result<()> {
    Ok(())
}

#[ta_close_session]
fn close_session() {}

#[ta_destroy]
fn destroy() {}

#[ta_invoke_command]
fn invoke_command(command: u32, parameters: &mut ParametersAny<'_>) -> Result<()> {
    use ParameterAny::{MemrefInput, MemrefOutput, None, ValueInout, ValueInput, ValueOutput};
    use optee_utee::prelude::{ParameterValueRead as _, ParameterValueWrite as _};

    match (command, parameters) {
        (RUN, (MemrefOutput(output), ValueOutput(counts), None, None)) => {
            let mut text = String::new();
            let (passed, failed) = run(&mut text);
            counts.set_a(passed);
            counts.set_b(failed);
            inbox::send(output, text.as_bytes())
        }
        (RAW_INSTALL, (MemrefInput(input), ValueInout(value), None, None)) => {
            let request = inbox::receive(input, HEAD.saturating_add(ELF_LIMIT))?;
            let (uuid, rest) = request.split_first_chunk().ok_or(ErrorKind::BadFormat)?;
            let (owner, elf) = rest.split_first_chunk().ok_or(ErrorKind::BadFormat)?;
            let started = milliseconds();
            door::install(uuid, *owner, elf, value.get_a())?;
            value.set_a(elapsed(started));
            value.set_b(0);
            Ok(())
        }
        (RAW_REMOVE, (MemrefInput(input), ValueOutput(value), None, None)) => {
            let request = inbox::receive(input, size_of::<UuidBytes>())?;
            let uuid = request.as_slice().try_into().map_err(|_| ErrorKind::BadFormat)?;
            let started = milliseconds();
            door::remove(uuid)?;
            value.set_a(elapsed(started));
            value.set_b(0);
            Ok(())
        }
        (
            RAW_QUERY,
            (MemrefInput(input), MemrefOutput(output), ValueOutput(ta), ValueOutput(time)),
        ) => {
            let request = inbox::receive(input, size_of::<UuidBytes>())?;
            let uuid = request.as_slice().try_into().map_err(|_| ErrorKind::BadFormat)?;
            let started = milliseconds();
            let (size, version, digest) = door::query(uuid)?;
            ta.set_a(size);
            ta.set_b(version);
            time.set_a(elapsed(started));
            time.set_b(0);
            inbox::send(output, &digest)
        }
        (TIMES, (MemrefOutput(output), None, None, None)) => {
            let mut text = String::new();
            times::measure(&mut text).map_err(error_kind)?;
            inbox::send(output, text.as_bytes())
        }
        (PERSONALIZATION, (MemrefOutput(output), None, None, None)) => {
            let mut room = inbox::reserve(ANSWER_LIMIT)?;
            let data = otrp_personal::fetch(&mut room)?.ok_or(ErrorKind::NoData)?;
            inbox::send(output, data)
        }
        (BROKER_COMMAND, (ValueInput(command), MemrefOutput(output), None, None)) => {
            let mut room = inbox::reserve(ANSWER_LIMIT)?;
            let mut parameters = TeeParams::new().with_memref_out(ParamIndex::Arg0, &mut room);
            TaSessionBuilder::new(Uuid::from_bytes(otrp_wire::command::BROKER))
                .build()?
                .invoke_command(command.get_a(), &mut parameters)?;
            inbox::send(output, parameters[ParamIndex::Arg0].written_slice().unwrap_or_default())
        }
        (OPEN, (MemrefInput(input), None, None, None)) => {
            let request = inbox::receive(input, size_of::<UuidBytes>())?;
            let uuid: &UuidBytes =
                request.as_slice().try_into().map_err(|_| ErrorKind::BadFormat)?;
            TaSessionBuilder::new(Uuid::from_bytes(*uuid)).build().map(drop)
        }
        (INTERRUPT, (ValueInput(end), None, None, None)) => {
            let part = inbox::reserve(INTERRUPTED)?;
            let mut store = PtaStore::new();
            door::begin_and_write(&mut store, &part).map_err(error_kind)?;
            if end.get_a() != 0 {
                // SAFETY: ends this TA instance and has no precondition.
                unsafe { optee_utee::raw::TEE_Panic(INTERRUPTED_PANIC) };
            }
            Ok(())
        }
        (LOAD_LIBRARY, (MemrefInput(input), None, None, None)) => {
            let request = inbox::receive(input, size_of::<UuidBytes>())?;
            let uuid: UuidBytes =
                request.as_slice().try_into().map_err(|_| ErrorKind::BadFormat)?;
            // A structure here, with numbers of this machine's order.
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = uuid;
            let uuid = [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p];
            let mut parameters = TeeParams::new()
                .with_memref_in(ParamIndex::Arg0, &uuid)
                .with_value_in(ParamIndex::Arg1, RTLD_NOW_GLOBAL_NODELETE, 0);
            TaSessionBuilder::new(Uuid::from_bytes(SYSTEM_PTA_UUID))
                .build()?
                .invoke_command(SYSTEM_DLOPEN, &mut parameters)
        }
        (RUN..=LOAD_LIBRARY, _) => Err(ErrorKind::BadParameters.into()),
        _ => Err(ErrorKind::NotImplemented.into()),
    }
}

fn run(text: &mut String) -> (u32, u32) {
    let reserved = [otrp_wire::command::BROKER, PORT_TESTS_UUID, STORE_UUID, SYSTEM_PTA_UUID];
    let mut report = Report::new(text);
    timed(&mut report, |report| otrp_port_tests::rng(&mut TeeRng, report));
    timed(&mut report, |report| otrp_port_tests::clock(&mut ReeClock, report));
    for makes in [KeyType::P256, KeyType::Rsa2048] {
        timed(&mut report, |report| {
            otrp_port_tests::keys::<_, TeeRsa>(
                &mut TeeKeys::new(makes),
                oracle::verify_p256,
                report,
            );
        });
    }
    timed(&mut report, otrp_port_tests::rsa::<TeeRsa>);
    timed(&mut report, |report| {
        let Ok(mut room) = inbox::reserve(STORE_ROOM) else {
            return report.check("there is memory", false);
        };
        let [mut store, mut other] = [PtaStore::new(), PtaStore::new()];
        otrp_port_tests::store(&mut store, &mut other, &reserved, &mut room, report);
    });
    timed(&mut report, door::refusals);
    report.counts()
}

fn timed<'w>(report: &mut Report<'w>, test: impl FnOnce(&mut Report<'w>)) {
    let started = milliseconds();
    test(report);
    report.line(format_args!("  {} ms", elapsed(started)));
}

/// Milliseconds of the TEE's clock, which starts anywhere.
fn milliseconds() -> u32 {
    let mut time = Time::new();
    time.system_time();
    time.seconds.wrapping_mul(1000).wrapping_add(time.millis)
}

fn elapsed(started: u32) -> u32 {
    milliseconds().wrapping_sub(started)
}

fn error_kind(error: PortError) -> ErrorKind {
    match error {
        PortError::Full => ErrorKind::OutOfMemory,
        PortError::Corrupt => ErrorKind::CorruptObject,
        PortError::Denied => ErrorKind::AccessConflict,
        PortError::Busy => ErrorKind::Busy,
        PortError::Failed => ErrorKind::Generic,
    }
}
