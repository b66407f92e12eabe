//! The pseudo TA `otrp_ta_store` called as its contract forbids: numbers, types, sizes, order.

use optee_utee::{Error, ErrorKind, ParamIndex, TaSession, TaSessionBuilder, TeeParams, Uuid};
use otrp_conformance::{Report, TEST_TAS};
use otrp_engine::platform::{StoredTa, TaStore as _};
use otrp_ta::ta_store::{PtaStore, TA_STORE_UUID};

const BEGIN: u32 = 0;
const WRITE: u32 = 1;
const COMMIT: u32 = 2;
const ABORT: u32 = 3;
const DELETE: u32 = 4;
const QUERY: u32 = 5;

/// What the core adds to an application in its file: the digest.
const PROPERTIES: u32 = 32;
/// SHA-256 of `abc` (FIPS 180-4, example).
const ABC: [u8; 32] = [
    0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
    0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
];

/// Shows that each wrong call is refused with its code and leaves nothing installed.
pub fn refusals(report: &mut Report<'_>) {
    let store = TaSessionBuilder::new(Uuid::from_bytes(TA_STORE_UUID)).build();
    report.check("the pseudo TA serves this application", store.is_ok());
    let Ok(mut store) = store else { return };

    unknown_commands(&mut store, report);
    wrong_types(&mut store, report);
    wrong_sizes(&mut store, report);
    wrong_order(&mut store, report);

    let with_parameters = TaSessionBuilder::new(Uuid::from_bytes(TA_STORE_UUID))
        .with_params(TeeParams::new().with_value_in(ParamIndex::Arg0, 0, 0))
        .build();
    report.equal(
        "a session takes no parameters",
        with_parameters.err().map(|error| error.kind()),
        Some(ErrorKind::BadParameters),
    );
    for uuid in &TEST_TAS {
        report.equal("nothing was installed", PtaStore::new().query(uuid), Ok(None));
    }
    report.section("wrong calls of the pseudo TA");
}

/// The kind of a call's failure; `None` where it did not fail.
fn outcome(
    store: &mut TaSession,
    command: u32,
    mut parameters: TeeParams<'_>,
) -> Option<ErrorKind> {
    store.invoke_command(command, &mut parameters).err().map(|error: Error| error.kind())
}

/// UUID, then digest.
fn name() -> [u8; 48] {
    let mut name = [0; 48];
    let (uuid, digest) = name.split_at_mut(16);
    uuid.copy_from_slice(&TEST_TAS[0]);
    digest.copy_from_slice(&ABC);
    name
}

/// Begins to install `abc`.
fn begin(store: &mut TaSession, report: &mut Report<'_>) {
    let name = name();
    let parameters = TeeParams::new()
        .with_value_in(ParamIndex::Arg0, 3, 1)
        .with_memref_in(ParamIndex::Arg1, &name);
    report.equal("a transaction begins", outcome(store, BEGIN, parameters), None);
}

fn unknown_commands(store: &mut TaSession, report: &mut Report<'_>) {
    for command in [7, 8, 9, 0x100, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        report.equal(
            "an unknown command is refused",
            outcome(store, command, TeeParams::new()),
            Some(ErrorKind::NotImplemented),
        );
    }
}

/// Every command with each type of a first parameter, and with one parameter too many.
fn wrong_types(store: &mut TaSession, report: &mut Report<'_>) {
    for command in [BEGIN, WRITE, COMMIT, ABORT, DELETE, QUERY] {
        for kind in 0..7 {
            // What these two have no parameters for; these two do take a buffer.
            let right = matches!((command, kind), (COMMIT | ABORT, 0) | (WRITE | DELETE, 4));
            if right {
                continue;
            }
            begin(store, report);
            let mut buffer = name();
            let some = TeeParams::new();
            let parameters = match kind {
                0 => some,
                1 => some.with_value_in(ParamIndex::Arg0, 3, 1),
                2 => some.with_value_out(ParamIndex::Arg0, 3, 1),
                3 => some.with_value_inout(ParamIndex::Arg0, 3, 1),
                4 => some.with_memref_in(ParamIndex::Arg0, &buffer),
                5 => some.with_memref_out(ParamIndex::Arg0, &mut buffer),
                _ => some.with_memref_inout(ParamIndex::Arg0, &mut buffer),
            };
            report.equal(
                "wrong types are refused",
                outcome(store, command, parameters),
                Some(ErrorKind::BadParameters),
            );
        }
        let mut buffer = name();
        let (first, second) = buffer.split_at_mut(16);
        let crowded = TeeParams::new()
            .with_memref_in(ParamIndex::Arg0, first)
            .with_memref_out(ParamIndex::Arg1, second)
            .with_value_out(ParamIndex::Arg2, 0, 0)
            .with_value_in(ParamIndex::Arg3, 0, 0);
        begin(store, report);
        report.equal(
            "a parameter too many is refused",
            outcome(store, command, crowded),
            Some(ErrorKind::BadParameters),
        );
    }
    report.equal("an abort needs nothing", outcome(store, ABORT, TeeParams::new()), None);
}

fn wrong_sizes(store: &mut TaSession, report: &mut Report<'_>) {
    let name = name();
    for size in [0, u32::MAX, u32::MAX.wrapping_sub(PROPERTIES).wrapping_add(1)] {
        let parameters = TeeParams::new()
            .with_value_in(ParamIndex::Arg0, size, 1)
            .with_memref_in(ParamIndex::Arg1, &name);
        report.equal(
            "an impossible size is refused",
            outcome(store, BEGIN, parameters),
            Some(ErrorKind::BadParameters),
        );
    }
    let long = [0x7f; 64];
    for length in [0, 1, 16, 47, 49, 64] {
        let parameters = TeeParams::new()
            .with_value_in(ParamIndex::Arg0, 3, 1)
            .with_memref_in(ParamIndex::Arg1, long.get(..length).unwrap_or_default());
        report.equal(
            "a name of another length is refused",
            outcome(store, BEGIN, parameters),
            Some(ErrorKind::BadParameters),
        );
    }
    for length in [0, 1, 15, 17, 48] {
        let uuid = long.get(..length).unwrap_or_default();
        report.equal(
            "a UUID of another length is refused",
            outcome(store, DELETE, TeeParams::new().with_memref_in(ParamIndex::Arg0, uuid)),
            Some(ErrorKind::BadParameters),
        );
    }
    let mut digest = [0; 32];
    for (uuid, length, expected) in [
        (&long[..15], 32, ErrorKind::BadParameters),
        (&[0; 16][..], 32, ErrorKind::BadParameters),
        (&TEST_TAS[0][..], 0, ErrorKind::ShortBuffer),
        (&TEST_TAS[0][..], 31, ErrorKind::ShortBuffer),
        (&TEST_TAS[0][..], 32, ErrorKind::ItemNotFound),
    ] {
        let parameters = TeeParams::new()
            .with_memref_in(ParamIndex::Arg0, uuid)
            .with_memref_out(ParamIndex::Arg1, digest.get_mut(..length).unwrap_or_default())
            .with_value_out(ParamIndex::Arg2, 0, 0);
        report.equal(
            "a query that cannot be answered says why",
            outcome(store, QUERY, parameters),
            Some(expected),
        );
    }
    let mut nil = name;
    if let Some(uuid) = nil.get_mut(..16) {
        uuid.fill(0);
    }
    let parameters = TeeParams::new()
        .with_value_in(ParamIndex::Arg0, 3, 1)
        .with_memref_in(ParamIndex::Arg1, &nil);
    report.equal(
        "the nil UUID is refused",
        outcome(store, BEGIN, parameters),
        Some(ErrorKind::BadParameters),
    );
}

/// Writes and commits where there is nothing to write to, and after a write that failed.
fn wrong_order(store: &mut TaSession, report: &mut Report<'_>) {
    let write = |bytes| TeeParams::new().with_memref_in(ParamIndex::Arg0, bytes);
    report.equal(
        "without a transaction nothing is written",
        outcome(store, WRITE, write(b"abc")),
        Some(ErrorKind::BadState),
    );
    report.equal(
        "without a transaction nothing is committed",
        outcome(store, COMMIT, TeeParams::new()),
        Some(ErrorKind::BadState),
    );
    for (bytes, expected) in
        [(&b""[..], ErrorKind::BadParameters), (b"abcd", ErrorKind::ExcessData)]
    {
        begin(store, report);
        report.equal(
            "such a write is refused",
            outcome(store, WRITE, write(bytes)),
            Some(expected),
        );
        report.equal(
            "and ends the transaction",
            outcome(store, COMMIT, TeeParams::new()),
            Some(ErrorKind::BadState),
        );
    }
    begin(store, report);
    report.equal("two bytes are written", outcome(store, WRITE, write(b"ab")), None);
    report.equal(
        "a commit before the last byte is refused",
        outcome(store, COMMIT, TeeParams::new()),
        Some(ErrorKind::BadState),
    );
    begin(store, report);
    report.equal("other bytes are written", outcome(store, WRITE, write(b"abd")), None);
    report.equal(
        "a commit of other bytes than announced is refused",
        outcome(store, COMMIT, TeeParams::new()),
        Some(ErrorKind::Security),
    );
    // A second beginning drops the first, also where it fails itself.
    begin(store, report);
    report.equal("all bytes are written", outcome(store, WRITE, write(b"abc")), None);
    let empty = TeeParams::new()
        .with_value_in(ParamIndex::Arg0, 0, 1)
        .with_memref_in(ParamIndex::Arg1, b"");
    report.equal(
        "a second beginning is refused",
        outcome(store, BEGIN, empty),
        Some(ErrorKind::BadParameters),
    );
    report.equal(
        "and has dropped the first",
        outcome(store, COMMIT, TeeParams::new()),
        Some(ErrorKind::BadState),
    );
}

/// Opens a transaction and writes a part of it; what becomes of it is the caller's.
pub fn begin_and_write(
    store: &mut PtaStore,
    part: &[u8],
) -> Result<(), otrp_engine::platform::PortError> {
    let size = u32::try_from(part.len()).unwrap_or(u32::MAX).saturating_add(1);
    store.begin(&TEST_TAS[0], &StoredTa { version: 1, size, digest: ABC })?;
    store.write(part)
}
