//! The pseudo TA `otrp_store` called as its contract forbids: numbers, types, sizes, order; and what
//! the lab does there without the broker.

use alloc::vec::Vec;

use optee_utee::{
    Error, ErrorKind, ParamIndex, Result, TaSession, TaSessionBuilder, TeeParams, Uuid,
};
use otrp_engine::platform::{Blob, ImageOwner, PortError, Properties, Store as _, UuidBytes};
use otrp_port_tests::{Report, TEST_TAS};
use otrp_ta::{
    inbox,
    store::{PtaStore, STORE_UUID},
};
use zeroize::Zeroizing;

use crate::error_kind;

const LOAD: u32 = 0;
const BEGIN: u32 = 1;
const WRITE: u32 = 2;
const SEAL: u32 = 3;
const ABORT: u32 = 4;
const COMMIT: u32 = 5;
const READ: u32 = 6;
const QUERY: u32 = 7;

const NAME: usize = Blob::IDENTIFIER;
/// Name and owner.
const HEAD: usize = NAME + size_of::<ImageOwner>();
const PENDING_MAX: usize = 4;
const RECORD_MAX: usize = 128 * 1024;

/// No engine numbers TAMs that high.
const CHAINS: u32 = 0xffff_fff0;
const IMAGE: Blob = Blob::Image(TEST_TAS[0]);

/// Shows that each wrong call is refused with its code and changes nothing. There must be a record.
pub fn refusals(report: &mut Report<'_>) {
    let store = TaSessionBuilder::new(Uuid::from_bytes(STORE_UUID)).build();
    report.check("the pseudo TA serves this application", store.is_ok());
    let Ok(mut store) = store else { return };
    let kept = record(&mut PtaStore::new());
    report.check("there is a record", kept.is_ok());
    let Ok(record) = kept else { return };
    let record = record.as_slice();

    unknown_commands(&mut store, report);
    wrong_types(&mut store, report);
    wrong_names(&mut store, report);
    wrong_sizes(&mut store, report);
    wrong_order(&mut store, record, report);
    longest_record(&mut store, record, report);

    let with_parameters = TaSessionBuilder::new(Uuid::from_bytes(STORE_UUID))
        .with_params(TeeParams::new().with_value_in(ParamIndex::Arg0, 0, 0))
        .build();
    report.equal(
        "a session takes no parameters",
        with_parameters.err().map(|error| error.kind()),
        Some(ErrorKind::BadParameters),
    );
    for uuid in &TEST_TAS {
        let found = query(uuid).err().map(|error| error.kind());
        report.equal("nothing was installed", found, Some(ErrorKind::ItemNotFound));
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

/// A name, then an owner.
fn head(blob: Blob) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    let (name, _) = head.split_at_mut(NAME);
    name.copy_from_slice(&blob.identifier());
    head
}

fn beginning(head: &[u8], size: u32) -> TeeParams<'_> {
    TeeParams::new().with_memref_in(ParamIndex::Arg0, head).with_value_in(ParamIndex::Arg1, size, 1)
}

/// Begins to write `abc`.
fn begin(store: &mut TaSession, report: &mut Report<'_>) {
    let head = head(IMAGE);
    report.equal("a blob begins", outcome(store, BEGIN, beginning(&head, 3)), None);
}

fn write(store: &mut TaSession, bytes: &[u8]) -> Option<ErrorKind> {
    outcome(store, WRITE, TeeParams::new().with_memref_in(ParamIndex::Arg0, bytes))
}

fn seal(store: &mut TaSession) -> Option<ErrorKind> {
    outcome(store, SEAL, TeeParams::new())
}

fn commit(store: &mut TaSession, record: &[u8], names: &[u8]) -> Option<ErrorKind> {
    let parameters = TeeParams::new()
        .with_memref_in(ParamIndex::Arg0, record)
        .with_memref_in(ParamIndex::Arg1, names);
    outcome(store, COMMIT, parameters)
}

fn load(store: &mut TaSession, place: &mut [u8]) -> Option<ErrorKind> {
    outcome(store, LOAD, TeeParams::new().with_memref_out(ParamIndex::Arg0, place))
}

fn unknown_commands(store: &mut TaSession, report: &mut Report<'_>) {
    for command in [8, 9, 0x100, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        report.equal(
            "an unknown command is refused",
            outcome(store, command, TeeParams::new()),
            Some(ErrorKind::NotImplemented),
        );
    }
}

/// Every command with each type of a first parameter, and with one parameter too many.
fn wrong_types(store: &mut TaSession, report: &mut Report<'_>) {
    for command in [LOAD, BEGIN, WRITE, SEAL, ABORT, COMMIT, READ, QUERY] {
        for kind in 0..7 {
            // What these take.
            if matches!((command, kind), (SEAL | ABORT, 0) | (WRITE, 4) | (LOAD, 5)) {
                continue;
            }
            begin(store, report);
            let mut buffer = head(IMAGE);
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
        let mut buffer = head(IMAGE);
        let (first, second) = buffer.split_at_mut(NAME);
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

/// Names, and owners, that no blob has.
fn wrong_names(store: &mut TaSession, report: &mut Report<'_>) {
    let good = head(IMAGE);
    let nil = head(Blob::Image([0; 16]));
    let (mut unknown, mut highest) = (good, good);
    unknown[0] = 0x80;
    highest[0] = 0xff;
    let mut owned = head(Blob::Personalization(TEST_TAS[0]));
    owned[HEAD - 1] = 1;
    let long = [1; 64];
    let part = |length: usize| long.get(..length).unwrap_or_default();
    for wrong in [
        &nil[..],
        &unknown,
        &highest,
        &owned,
        part(0),
        part(1),
        part(17),
        part(48),
        part(50),
        &long,
    ] {
        report.equal(
            "such a blob does not begin",
            outcome(store, BEGIN, beginning(wrong, 3)),
            Some(ErrorKind::BadParameters),
        );
    }
    let [nil, unknown, highest] =
        [&nil, &unknown, &highest].map(|head| head.get(..NAME).unwrap_or_default());
    for wrong in [nil, unknown, highest, part(0), part(1), part(16), part(18), part(34)] {
        let mut place = [0; 64];
        for command in [READ, QUERY] {
            let mut parameters = TeeParams::new()
                .with_memref_in(ParamIndex::Arg0, wrong)
                .with_memref_out(ParamIndex::Arg1, &mut place);
            if command == QUERY {
                parameters.set_value_out(ParamIndex::Arg2, 0, 0);
            }
            report.equal(
                "such a name is not looked up",
                outcome(store, command, parameters),
                Some(ErrorKind::BadParameters),
            );
        }
    }
    for wrong in [nil, unknown, highest, part(1), part(16), part(18), part(33)] {
        report.equal(
            "nor removed",
            commit(store, b"record", wrong),
            Some(ErrorKind::BadParameters),
        );
    }
}

fn wrong_sizes(store: &mut TaSession, report: &mut Report<'_>) {
    let image = head(IMAGE);
    let data = head(Blob::Personalization(TEST_TAS[0]));
    for (head, size) in
        [(image, 0), (image, 0x8000_0000), (image, u32::MAX), (data, 0x8000_0000), (data, u32::MAX)]
    {
        report.equal(
            "an impossible size is refused",
            outcome(store, BEGIN, beginning(&head, size)),
            Some(ErrorKind::BadParameters),
        );
    }
    let mut digest = [0; 32];
    for (length, expected) in
        [(0, ErrorKind::ShortBuffer), (31, ErrorKind::ShortBuffer), (32, ErrorKind::ItemNotFound)]
    {
        let parameters = TeeParams::new()
            .with_memref_in(ParamIndex::Arg0, image.get(..NAME).unwrap_or_default())
            .with_memref_out(ParamIndex::Arg1, digest.get_mut(..length).unwrap_or_default())
            .with_value_out(ParamIndex::Arg2, 0, 0);
        report.equal(
            "a query that cannot be answered says why",
            outcome(store, QUERY, parameters),
            Some(expected),
        );
    }
    let parameters = TeeParams::new()
        .with_memref_in(ParamIndex::Arg0, image.get(..NAME).unwrap_or_default())
        .with_memref_out(ParamIndex::Arg1, &mut digest);
    report.equal(
        "nor is there an image to read",
        outcome(store, READ, parameters),
        Some(ErrorKind::ItemNotFound),
    );
    report.equal(
        "a record is longer than nothing",
        load(store, &mut []),
        Some(ErrorKind::ShortBuffer),
    );
}

/// Writes and seals where there is nothing to write to, after a write that failed, and commits
/// without having loaded.
fn wrong_order(store: &mut TaSession, record: &[u8], report: &mut Report<'_>) {
    let bad_state = Some(ErrorKind::BadState);
    report.equal("nothing is written that has not begun", write(store, b"abc"), bad_state);
    report.equal("nor sealed", seal(store), bad_state);
    report.equal("what is not known is not replaced", commit(store, record, &[]), bad_state);
    for (bytes, expected) in
        [(&b""[..], ErrorKind::BadParameters), (b"abcd", ErrorKind::ExcessData)]
    {
        begin(store, report);
        report.equal("such a write is refused", write(store, bytes), Some(expected));
        report.equal("and drops the blob", seal(store), bad_state);
    }
    begin(store, report);
    report.equal("two octets are written", write(store, b"ab"), None);
    report.equal("fewer than announced are not sealed", seal(store), bad_state);
    report.equal("but dropped", write(store, b"c"), bad_state);
    // A second beginning drops the first, also where it fails itself.
    for wrong in [head(Blob::Image(STORE_UUID)), head(Blob::Image([0; 16]))] {
        begin(store, report);
        report.equal("all octets are written", write(store, b"abc"), None);
        report.check("a second beginning is refused", {
            outcome(store, BEGIN, beginning(&wrong, 3)).is_some()
        });
        report.equal("and has dropped the first", seal(store), bad_state);
    }
    for number in 0..PENDING_MAX {
        report.equal("a blob begins", begin_chain(store, number), None);
        report.equal("and is sealed", seal(store), None);
    }
    report.equal("one too many is refused", begin_chain(store, PENDING_MAX), bad_state);
    report.equal("all are dropped", outcome(store, ABORT, TeeParams::new()), None);
    report.equal("there is room again", begin_chain(store, PENDING_MAX), None);
    report.equal("all are dropped", outcome(store, ABORT, TeeParams::new()), None);
}

/// Begins an empty blob of its own name.
fn begin_chain(store: &mut TaSession, number: usize) -> Option<ErrorKind> {
    let number = u32::try_from(number).unwrap_or_default().wrapping_add(CHAINS);
    outcome(store, BEGIN, beginning(&head(Blob::TamChain(number)), 0))
}

/// A record of the greatest length, and a longer one.
fn longest_record(store: &mut TaSession, record: &[u8], report: &mut Report<'_>) {
    let Ok(mut long) = inbox::reserve(RECORD_MAX + 1) else {
        report.check("there is memory", false);
        return;
    };
    let wrong = Some(ErrorKind::BadParameters);
    report.equal("the record is loaded", load(store, &mut long), None);
    report.equal("no record is empty", commit(store, b"", &[]), wrong);
    report.equal("nor longer than it may be", commit(store, &long, &[]), wrong);
    long.fill(0x5a);
    let longest = long.get(..RECORD_MAX).unwrap_or_default();
    report.equal("as long as it may be it is", commit(store, longest, &[]), None);
    long.fill(0);
    let place = long.get_mut(..RECORD_MAX).unwrap_or_default();
    report.equal("and is loaded again", load(store, place), None);
    report.check("as it was", place.iter().all(|octet| *octet == 0x5a));
    report.equal("the record from before is put back", commit(store, record, &[]), None);
}

/// Size, version and SHA-256 of an image.
pub fn query(uuid: &UuidBytes) -> Result<(u32, u32, [u8; 32])> {
    let name = Blob::Image(*uuid).identifier();
    let mut digest = [0; 32];
    let mut parameters = TeeParams::new()
        .with_memref_in(ParamIndex::Arg0, &name)
        .with_memref_out(ParamIndex::Arg1, &mut digest)
        .with_value_out(ParamIndex::Arg2, 0, 0);
    TaSessionBuilder::new(Uuid::from_bytes(STORE_UUID))
        .build()?
        .invoke_command(QUERY, &mut parameters)?;
    let (size, version) = parameters[ParamIndex::Arg2].output_value().ok_or(ErrorKind::Generic)?;
    Ok((size, version, digest))
}

/// The broker's record, which is in a device that has been asked for anything.
pub fn record(store: &mut PtaStore) -> Result<Zeroizing<Vec<u8>>> {
    let mut buffer = inbox::reserve(RECORD_MAX)?;
    let length = match store.load(&mut buffer).map_err(error_kind)? {
        Some(record) => record.len(),
        None => return Err(ErrorKind::ItemNotFound.into()),
    };
    buffer.truncate(length);
    Ok(buffer)
}

/// Commits what `change` makes pending, without what is `removed`, beside the broker's record as it
/// is. The broker, which did not do that, then fails once.
fn change(
    change: impl FnOnce(&mut PtaStore) -> core::result::Result<(), PortError>,
    removed: &[Blob],
) -> Result<()> {
    let mut store = PtaStore::new();
    let record = record(&mut store)?;
    change(&mut store).map_err(error_kind)?;
    Ok(store.commit(&record, removed).map_err(error_kind)?)
}

/// Installs an image.
pub fn install(uuid: &UuidBytes, owner: ImageOwner, elf: &[u8], version: u32) -> Result<()> {
    let size = u32::try_from(elf.len()).map_err(|_| ErrorKind::Overflow)?;
    let put = |store: &mut PtaStore| {
        store.begin(Blob::Image(*uuid), &Properties { size, version, owner })?;
        store.write(elf)?;
        store.seal()
    };
    change(put, &[])
}

/// Removes an image.
pub fn remove(uuid: &UuidBytes) -> Result<()> {
    change(|_| Ok(()), &[Blob::Image(*uuid)])
}

/// Leaves a blob pending and another one open, with a part of it; what becomes of them is the
/// caller's.
pub fn begin_and_write(store: &mut PtaStore, part: &[u8]) -> core::result::Result<(), PortError> {
    store.put(Blob::Personalization(TEST_TAS[0]), part)?;
    let size = u32::try_from(part.len()).unwrap_or(u32::MAX).saturating_add(1);
    store.begin(IMAGE, &Properties { size, version: 1, owner: [0; 32] })?;
    store.write(part)
}
