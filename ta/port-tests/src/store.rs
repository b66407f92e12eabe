//! The store's contract, but for what only an application that runs can show.

use otrp_engine::platform::{Blob, PENDING_LIMIT, PortError, Properties, Store, UuidBytes};

use crate::report::Report;

/// UUIDs that [`store`] puts nothing runnable under and removes again.
pub const TEST_TAS: [UuidBytes; 2] = [
    [0x7f, 0x2d, 0x1b, 0x40, 0x11, 0x22, 0x43, 0x44, 0x85, 0x66, 1, 2, 3, 4, 5, 6],
    [0x7f, 0x2d, 0x1b, 0x40, 0x11, 0x22, 0x43, 0x44, 0x85, 0x66, 1, 2, 3, 4, 5, 7],
];

/// Octets that [`store`] needs for what it keeps, writes and reads.
pub const STORE_ROOM: usize = RECORD_LIMIT + PIECE_LIMIT + LARGEST + 1;

/// At least an engine's longest record.
const RECORD_LIMIT: usize = 64 * 1024;
/// More than any store takes at once.
const PIECE_LIMIT: usize = 70_000;
const LARGEST: usize = 1_000_000;

/// The names that the tests use; no engine numbers blobs that high.
const NUMBER: u32 = 0xffff_fff0;
const IMAGE: Blob = Blob::Image(TEST_TAS[0]);
const OTHER_IMAGE: Blob = Blob::Image(TEST_TAS[1]);
/// The identifier of the first image, and another kind.
const DATA: Blob = Blob::Personalization(TEST_TAS[0]);
const CERTIFICATES: [Blob; PENDING_LIMIT + 1] = [
    Blob::SpCertificates(NUMBER),
    Blob::SpCertificates(NUMBER + 1),
    Blob::SpCertificates(NUMBER + 2),
    Blob::SpCertificates(NUMBER + 3),
    Blob::SpCertificates(NUMBER + 4),
];
const CHAIN: Blob = Blob::TamChain(NUMBER);
const NAMES: [Blob; PENDING_LIMIT + 5] = [
    IMAGE,
    OTHER_IMAGE,
    DATA,
    CHAIN,
    CERTIFICATES[0],
    CERTIFICATES[1],
    CERTIFICATES[2],
    CERTIFICATES[3],
    CERTIFICATES[4],
];

/// What the tests work with.
struct Bench<'b, 'w, S> {
    store: &'b mut S,
    /// Another session.
    other: &'b mut S,
    /// What is written.
    piece: &'b mut [u8],
    /// Where it is read.
    place: &'b mut [u8],
    report: &'b mut Report<'w>,
}

/// One record and blobs, changed together: whole, at once, or not at all. `other` is another session
/// with the same store, `reserved` are UUIDs of the TEE's own applications, `room` has
/// [`STORE_ROOM`] octets.
///
/// A record that is there already is there again in the end; else there is one of the tests' own.
pub fn store<S: Store>(
    store: &mut S,
    other: &mut S,
    reserved: &[UuidBytes],
    room: &mut [u8],
    report: &mut Report<'_>,
) {
    let Some((kept, room)) = room.split_at_mut_checked(RECORD_LIMIT) else { return };
    let Some((piece, place)) = room.split_at_mut_checked(PIECE_LIMIT) else { return };
    report.check("a session that loaded nothing commits nothing", {
        other.commit(b"record", &[]) == Err(PortError::Failed)
    });
    let found = store.load(kept);
    report.check("what is stored can be loaded", found.is_ok());
    let Ok(found) = found else { return };

    let mut bench = Bench { store, other, piece, place, report };
    // What a run that was cut short has left.
    bench.commits("names of no blob can be removed", b"record", &NAMES);
    bench.records();
    bench.blobs();
    bench.what_is_pending();
    bench.several_at_once();
    bench.sizes();
    bench.images(reserved);
    bench.sessions();

    bench.commits("all is removed", found.unwrap_or(b"record"), &NAMES);
    for name in NAMES {
        bench.holds(name, None);
    }
    bench.record_is(found.unwrap_or(b"record"));
    bench.report.section("store");
}

impl<S: Store> Bench<'_, '_, S> {
    /// Loads, which drops what is pending, and compares.
    fn record_is(&mut self, expected: &[u8]) {
        let found = self.store.load(self.place);
        self.report.check("the record is the last one committed", found == Ok(Some(expected)));
    }

    fn holds(&mut self, name: Blob, expected: Option<&[u8]>) {
        let found = self.store.read(name, self.place);
        self.report.check("a blob is as it was committed", found == Ok(expected));
    }

    fn puts(&mut self, name: Blob, bytes: &[u8]) {
        self.report.equal("a blob is sealed", self.store.put(name, bytes), Ok(()));
    }

    fn commits(&mut self, claim: &str, record: &[u8], removed: &[Blob]) {
        self.report.equal(claim, self.store.commit(record, removed), Ok(()));
    }

    /// Replaced whole, bounded on load, never empty.
    fn records(&mut self) {
        self.commits("a record is replaced", b"first", &[]);
        self.record_is(b"first");
        self.commits("a second one follows", b"second", &[]);
        self.commits("a third one follows without a load", b"3", &[]);
        self.record_is(b"3");
        for length in [4095, 4096, 9000, 60_000] {
            fill(self.piece, 0);
            let record = self.piece.get(..length).unwrap_or_default();
            self.report.equal("a record grows", self.store.commit(record, &[]), Ok(()));
            let found = self.place.get_mut(..length).map(|place| self.store.load(place));
            self.report
                .check("it is loaded to a buffer of its length", found == Some(Ok(Some(record))));
            let short = self.place.get_mut(1..length).map(|place| self.store.load(place));
            self.report.check(
                "a longer record than the buffer is refused",
                short == Some(Err(PortError::Corrupt)),
            );
            self.report.equal(
                "then it is not known what is stored",
                self.store.commit(b"unknown", &[]),
                Err(PortError::Failed),
            );
            let found = self.store.load(self.place);
            self.report.check("which is what it was", found == Ok(Some(record)));
        }
        self.commits("a record shrinks", b"2", &[]);
        self.record_is(b"2");
        self.report.check("no record is empty", self.store.commit(b"", &[]).is_err());
        self.record_is(b"2");
    }

    /// One at a time: added, replaced, removed.
    fn blobs(&mut self) {
        for name in [IMAGE, DATA, CHAIN] {
            self.holds(name, None);
        }
        self.puts(DATA, b"data");
        self.holds(DATA, None);
        self.commits("a blob is committed", b"with data", &[]);
        self.holds(DATA, Some(b"data"));
        // Names differ by kind and by identifier.
        self.holds(IMAGE, None);
        self.holds(Blob::Personalization(TEST_TAS[1]), None);
        self.commits("a blob outlives other commits", b"still", &[CHAIN]);
        self.holds(DATA, Some(b"data"));
        self.puts(DATA, b"other data");
        self.holds(DATA, Some(b"data"));
        self.commits("a blob is replaced", b"others", &[]);
        self.holds(DATA, Some(b"other data"));
        self.commits("a blob is removed", b"none", &[DATA]);
        self.holds(DATA, None);
        self.commits("a blob that does not exist is removed", b"none still", &[DATA, DATA]);
        self.record_is(b"none still");
    }

    /// What is not committed leaves nothing.
    fn what_is_pending(&mut self) {
        self.puts(DATA, b"old");
        self.commits("a blob is committed", b"with data", &[]);

        self.puts(DATA, b"loaded");
        self.record_is(b"with data");
        self.commits("a load drops what is pending", b"load", &[]);
        self.holds(DATA, Some(b"old"));

        self.puts(DATA, b"aborted");
        self.store.abort();
        self.commits("an abort drops what is pending", b"abort", &[]);
        self.holds(DATA, Some(b"old"));
        self.store.abort();

        self.puts(DATA, b"failed");
        self.report.check("a commit fails", self.store.commit(b"", &[]).is_err());
        self.record_is(b"abort");
        self.commits("a commit that fails drops what is pending", b"fail", &[]);
        self.holds(DATA, Some(b"old"));

        let three = Properties { size: 3, version: 0, owner: [0; 32] };
        let begin = |bench: &mut Self| {
            bench.report.equal("a blob begins", bench.store.begin(DATA, &three), Ok(()));
        };
        begin(self);
        self.report.equal("octets are written", self.store.write(b"new"), Ok(()));
        self.commits("a commit drops what is open", b"open", &[]);
        self.report.check("nothing is open", self.store.seal().is_err());
        self.holds(DATA, Some(b"old"));

        begin(self);
        self.report.equal("octets are written", self.store.write(b"ne"), Ok(()));
        self.report.equal("too few are refused", self.store.seal(), Err(PortError::Failed));
        self.report.check("and dropped", self.store.write(b"w").is_err());
        begin(self);
        self.report.check("too many are refused", self.store.write(b"news").is_err());
        self.report.check("and dropped", self.store.seal().is_err());
        begin(self);
        self.report.equal("octets are written", self.store.write(b"new"), Ok(()));
        self.report.equal("none are written", self.store.write(b""), Ok(()));
        self.report.check("one too many is refused", self.store.write(b"s").is_err());
        self.report.check("and all are dropped", self.store.seal().is_err());
        begin(self);
        self.report.equal("octets are written", self.store.write(b"ne"), Ok(()));
        begin(self);
        self.report.equal("octets are written", self.store.write(b"w"), Ok(()));
        self.report.equal(
            "a beginning drops what is open",
            self.store.seal(),
            Err(PortError::Failed),
        );
        self.commits("nothing of all that is committed", b"nothing", &[]);
        self.holds(DATA, Some(b"old"));

        self.puts(DATA, b"one");
        self.puts(DATA, b"another");
        self.commits("of two with a name the later one is committed", b"later", &[]);
        self.holds(DATA, Some(b"another"));
        self.commits("it is removed", b"none", &[DATA]);
    }

    /// All that is pending at once, and what is removed with it.
    fn several_at_once(&mut self) {
        let [names @ .., too_many] = CERTIFICATES;
        for name in names {
            self.puts(name, b"certificates");
        }
        self.report.check("there is no room for more", self.store.put(too_many, b"more").is_err());
        let again = self.store.put(names[0], b"again");
        self.report.check("nor for one of a name that is pending", again.is_err());
        self.holds(names[0], None);
        self.commits("as many as there is room for are committed", b"several", &[]);
        for name in names {
            self.holds(name, Some(b"certificates"));
        }
        self.holds(too_many, None);

        self.puts(names[0], b"new");
        self.puts(too_many, b"more");
        self.commits(
            "what is pending replaces what is removed",
            b"both",
            &[names[0], names[1], too_many, CHAIN],
        );
        self.holds(names[0], Some(b"new"));
        self.holds(names[1], None);
        self.holds(names[2], Some(b"certificates"));
        self.holds(too_many, Some(b"more"));
        self.record_is(b"both");
        self.commits("all are removed", b"none", &CERTIFICATES);
        for name in CERTIFICATES {
            self.holds(name, None);
        }
    }

    /// Written in pieces of any length, read to buffers of theirs.
    fn sizes(&mut self) {
        for size in [0, 1, 4095, 4096, 65_535, 65_536, 65_537, LARGEST] {
            self.write_in_pieces(DATA, size);
            self.commits("a blob of any size is committed", b"size", &[]);
            self.holds_pattern(DATA, size);
            if let Some(short) = size.checked_sub(1).and_then(|short| self.place.get_mut(..short)) {
                let found = self.store.read(DATA, short);
                self.report.check(
                    "a longer blob than the buffer is refused",
                    found == Err(PortError::Corrupt),
                );
                self.holds_pattern(DATA, size);
            }
        }
        self.commits("it is removed", b"none", &[DATA]);
    }

    fn write_in_pieces(&mut self, name: Blob, size: usize) {
        let announced = u32::try_from(size).unwrap_or(u32::MAX);
        let properties = Properties { size: announced, version: 3, owner: [0; 32] };
        self.report.equal("a blob begins", self.store.begin(name, &properties), Ok(()));
        let mut written: usize = 0;
        for length in [1, 4095, 4096, 4097, 65_535, 65_536, 69_999].into_iter().cycle() {
            let length = size.saturating_sub(written).min(length);
            let Some(piece) = self.piece.get_mut(..length).filter(|piece| !piece.is_empty()) else {
                break;
            };
            fill(piece, written);
            if let Err(error) = self.store.write(piece) {
                self.report.equal("any number of octets is written", Err(error), Ok(()));
                break;
            }
            written = written.saturating_add(length);
        }
        self.report.equal("a blob is sealed", self.store.seal(), Ok(()));
    }

    fn holds_pattern(&mut self, name: Blob, size: usize) {
        let found = self.place.get_mut(..size).map(|place| self.store.read(name, place));
        let whole = match found {
            Some(Ok(Some(bytes))) => {
                bytes.len() == size && (0..).zip(bytes).all(|(at, byte)| *byte == pattern(at))
            }
            _ => false,
        };
        self.report.check("it is read whole to a buffer of its length", whole);
    }

    /// Images have UUIDs of which some are not to be had.
    fn images(&mut self, reserved: &[UuidBytes]) {
        let abc = Properties { size: 3, version: 7, owner: [0x5a; 32] };
        let put = |bench: &mut Self, image, properties: &Properties, bytes| {
            bench.report.equal("an image begins", bench.store.begin(image, properties), Ok(()));
            bench.report.equal("octets are written", bench.store.write(bytes), Ok(()));
            bench.report.equal("an image is sealed", bench.store.seal(), Ok(()));
        };
        put(self, IMAGE, &abc, b"abc");
        self.puts(DATA, b"data");
        self.holds(IMAGE, None);
        self.commits("an image and data are committed", b"image", &[]);
        self.holds(IMAGE, Some(b"abc"));
        self.holds(DATA, Some(b"data"));
        put(self, OTHER_IMAGE, &abc, b"xyz");
        put(self, IMAGE, &Properties { size: 4, version: 8, ..abc }, b"abcd");
        self.holds(IMAGE, Some(b"abc"));
        self.commits("an image is replaced", b"images", &[]);
        self.holds(IMAGE, Some(b"abcd"));
        self.holds(OTHER_IMAGE, Some(b"xyz"));

        let empty = Properties { size: 0, ..abc };
        self.report.check("no image is empty", self.store.begin(IMAGE, &empty).is_err());
        self.report.check("none is open then", self.store.seal().is_err());
        let nil = Blob::Image([0; 16]);
        self.report.check("none has the nil UUID", self.store.begin(nil, &abc).is_err());
        self.report.check("none is open then", self.store.write(b"abc").is_err());
        for uuid in reserved {
            let image = Blob::Image(*uuid);
            self.report.equal(
                "a UUID of the TEE is refused",
                self.store.begin(image, &abc),
                Err(PortError::Denied),
            );
            self.report.check("none is open then", self.store.write(b"abc").is_err());
            // What was there before the TEE took the UUID must not be in the way.
            self.commits("but can be removed", b"images", &[image]);
            self.puts(Blob::Personalization(*uuid), b"data");
            self.store.abort();
        }

        self.commits("an image is removed", b"one", &[IMAGE]);
        self.holds(IMAGE, None);
        self.holds(DATA, Some(b"data"));
        self.holds(OTHER_IMAGE, Some(b"xyz"));
        put(self, IMAGE, &abc, b"new");
        self.commits("and can be there again", b"two", &[OTHER_IMAGE]);
        self.holds(IMAGE, Some(b"new"));
        self.holds(OTHER_IMAGE, None);
        self.commits("all are removed", b"none", &[IMAGE, OTHER_IMAGE, DATA]);
        self.holds(IMAGE, None);
    }

    /// A session does not change what it does not know.
    fn sessions(&mut self) {
        self.record_is(b"none");
        let found = self.other.load(self.place);
        self.report.check("another session sees the same", found == Ok(Some(b"none")));
        self.puts(DATA, b"one session's");
        let put = self.other.put(CHAIN, b"another's");
        self.report.equal("both have something pending", put, Ok(()));
        self.report.check("neither sees it", {
            self.other.read(DATA, self.place) == Ok(None)
                && self.store.read(CHAIN, self.place) == Ok(None)
        });
        self.commits("one of them commits", b"one", &[]);
        self.report.equal(
            "the other one cannot then",
            self.other.commit(b"other", &[DATA]),
            Err(PortError::Failed),
        );
        self.holds(DATA, Some(b"one session's"));
        self.holds(CHAIN, None);
        self.record_is(b"one");

        let found = self.other.load(self.place);
        self.report.check("until it has loaded", found == Ok(Some(b"one")));
        let committed = self.other.commit(b"other", &[DATA]);
        self.report.equal("it commits nothing from before", committed, Ok(()));
        self.holds(DATA, None);
        self.holds(CHAIN, None);
        self.report.equal(
            "now the first one cannot",
            self.store.commit(b"one again", &[]),
            Err(PortError::Failed),
        );
        self.report.equal(
            "nor at the second attempt",
            self.store.commit(b"one again", &[]),
            Err(PortError::Failed),
        );
        self.record_is(b"other");
    }
}

/// The octet at a place; those of a block and of its neighbours differ.
fn pattern(at: u32) -> u8 {
    let [first, ..] = at.wrapping_mul(0x9e37_79b1).to_be_bytes();
    first
}

/// Fills a part of a blob that begins at a place.
fn fill(part: &mut [u8], at: usize) {
    let at = u32::try_from(at).unwrap_or_default();
    for (at, byte) in (at..).zip(part) {
        *byte = pattern(at);
    }
}
