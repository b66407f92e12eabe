//! Calls that a hostile program of the normal world can make.
//!
//! Uses libteec's C interface, because the Rust bindings prevent wrong calls: a buffer that another
//! thread writes at the same time, parts of buffers that overlap or exceed them, no buffer at all, any
//! number as a type.
#![expect(unsafe_code, reason = "libteec's interface is C, and being wrong is the purpose")]

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use optee_teec::{Uuid, raw};
use otrp_wire::command::{
    BROKER_TEXT, EXPORT_CSR, IMPORT_CERTIFICATES, PERSONALIZATION, PREPARE, PROCESS, STATUS,
    TA_INFORMATION,
};

/// Commands that the broker has, with the numbers between and behind, and some far away.
const COMMANDS: [u32; 13] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x100, 0x8000_0000, u32::MAX];

/// The types of a parameter that reach the TEE; memory is a part of a shared block.
const TYPES: [u32; 7] = [
    raw::TEEC_NONE,
    raw::TEEC_VALUE_INPUT,
    raw::TEEC_VALUE_OUTPUT,
    raw::TEEC_VALUE_INOUT,
    INPUT,
    OUTPUT,
    raw::TEEC_MEMREF_PARTIAL_INOUT,
];
const INPUT: u32 = raw::TEEC_MEMREF_PARTIAL_INPUT;
const OUTPUT: u32 = raw::TEEC_MEMREF_PARTIAL_OUTPUT;
const TEMPORARY_INPUT: u32 = raw::TEEC_MEMREF_TEMP_INPUT;
const TEMPORARY_OUTPUT: u32 = raw::TEEC_MEMREF_TEMP_OUTPUT;

/// More than the broker takes or gives.
const BLOCK: usize = 5 << 20;
/// As much as the broker asks for, or more.
const ROOM: usize = crate::REPORT_LIMIT;

/// A session with the broker.
struct Client {
    // Both are referred to by address.
    session: Box<raw::TEEC_Session>,
    context: Box<raw::TEEC_Context>,
}

impl Client {
    fn open() -> Result<Self> {
        // SAFETY: a structure of scalars, for which zeros are valid.
        let mut context: Box<raw::TEEC_Context> = Box::new(unsafe { std::mem::zeroed() });
        // SAFETY: the context is writable; no name is the default one.
        let code = unsafe { raw::TEEC_InitializeContext(ptr::null(), &mut *context) };
        ensure!(code == raw::TEEC_SUCCESS, "no TEE: {code:#010x}");
        // SAFETY: a structure of scalars and a pointer, for which zeros are valid.
        let mut session: Box<raw::TEEC_Session> = Box::new(unsafe { std::mem::zeroed() });
        let uuid = Uuid::parse_str(BROKER_TEXT).ok().context("no UUID")?;
        // SAFETY: all pointers are those of live values, or null where that is allowed.
        let code = unsafe {
            raw::TEEC_OpenSession(
                &mut *context,
                &mut *session,
                uuid.as_raw_ptr(),
                raw::TEEC_LOGIN_PUBLIC,
                ptr::null(),
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        ensure!(code == raw::TEEC_SUCCESS, "no session with the broker: {code:#010x}");
        Ok(Self { session, context })
    }

    /// The TEE's result, and the parameters as it left them.
    fn invoke(&mut self, command: u32, parameters: [Parameter; 4]) -> (u32, [usize; 4]) {
        // SAFETY: a structure of scalars and pointers, for which zeros are valid.
        let mut operation: raw::TEEC_Operation = unsafe { std::mem::zeroed() };
        operation.paramTypes = parameters.iter().rev().fold(0, |types, p| types << 4 | p.kind);
        operation.params = parameters.map(|parameter| parameter.value);
        // SAFETY: session and operation are live; what the parameters refer to is either memory that
        // outlives the call or, on purpose, refused before anybody looks at it.
        let code = unsafe {
            raw::TEEC_InvokeCommand(&mut *self.session, command, &mut operation, ptr::null_mut())
        };
        let mut index = 0;
        let sizes = operation.params.map(|value| {
            let kind = parameters[index].kind;
            index += 1;
            // SAFETY: all variants are scalars and pointers, so that either may be read.
            unsafe {
                if matches!(kind, TEMPORARY_INPUT | TEMPORARY_OUTPUT) {
                    value.tmpref.size
                } else {
                    value.memref.size
                }
            }
        });
        (code, sizes)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: it is open, and closed nowhere else.
        unsafe { raw::TEEC_CloseSession(&mut *self.session) };
        // SAFETY: it is initialized, and finalized nowhere else.
        unsafe { raw::TEEC_FinalizeContext(&mut *self.context) };
    }
}

/// Memory that the TEE reads and writes in place.
struct Shared {
    memory: NonNull<raw::TEEC_SharedMemory>,
    start: *const AtomicU8,
    size: usize,
}

impl Shared {
    fn allocate(client: &mut Client, size: usize) -> Result<Self> {
        // SAFETY: a structure of scalars and pointers, for which zeros are valid.
        let mut memory: Box<raw::TEEC_SharedMemory> = Box::new(unsafe { std::mem::zeroed() });
        memory.size = size;
        memory.flags = raw::TEEC_MEM_INPUT | raw::TEEC_MEM_OUTPUT;
        // SAFETY: both are live, and the block is released before its context ends.
        let code = unsafe { raw::TEEC_AllocateSharedMemory(&mut *client.context, &mut *memory) };
        ensure!(code == raw::TEEC_SUCCESS, "no shared memory: {code:#010x}");
        let start = memory.buffer.cast_const().cast();
        Ok(Self { memory: NonNull::from(Box::leak(memory)), start, size })
    }

    /// The block; anybody may change it at any time.
    fn bytes(&self) -> &[AtomicU8] {
        // SAFETY: libteec has mapped so many bytes there until the block is released, and every
        // access in this process is atomic.
        unsafe { slice::from_raw_parts(self.start, self.size) }
    }

    fn fill(&self, at: usize, content: &[u8]) {
        for (place, byte) in self.bytes()[at..].iter().zip(content) {
            place.store(*byte, Ordering::Relaxed);
        }
    }

    /// A part of it as a parameter; it need not lie inside.
    fn part(&self, kind: u32, offset: usize, size: usize) -> Parameter {
        let parent = self.memory.as_ptr();
        let memref = raw::TEEC_RegisteredMemoryReference { parent, size, offset };
        Parameter { kind, value: raw::TEEC_Parameter { memref } }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: it is allocated, and released nowhere else.
        unsafe { raw::TEEC_ReleaseSharedMemory(self.memory.as_ptr()) };
        // SAFETY: it was a box, and is used no more.
        drop(unsafe { Box::from_raw(self.memory.as_ptr()) });
    }
}

#[derive(Clone, Copy)]
struct Parameter {
    kind: u32,
    value: raw::TEEC_Parameter,
}

impl Parameter {
    const fn none() -> Self {
        Self::value(raw::TEEC_NONE)
    }

    const fn value(kind: u32) -> Self {
        let value = raw::TEEC_Value { a: u32::MAX, b: 0x8000_0000 };
        Self { kind, value: raw::TEEC_Parameter { value } }
    }

    const fn temporary(kind: u32, buffer: *mut c_void, size: usize) -> Self {
        let tmpref = raw::TEEC_TempMemoryReference { buffer, size };
        Self { kind, value: raw::TEEC_Parameter { tmpref } }
    }
}

/// Counts calls, and records those with an unexpected result.
#[derive(Default)]
struct Tally {
    calls: u32,
    wrong: Vec<String>,
}

impl Tally {
    fn expect(&mut self, what: &str, code: u32, expected: &[u32]) {
        self.calls += 1;
        let refused = code != raw::TEEC_SUCCESS && code != raw::TEEC_ERROR_TARGET_DEAD;
        if !refused || !(expected.is_empty() || expected.contains(&code)) {
            self.wrong.push(format!("{what}: {code:#010x}"));
        }
    }
}

/// Calls the broker with wrong types and wrong memory; whether each call was refused and the broker
/// still lives. `all` gives the commands that there are every combination of four types.
pub fn abuse(all: bool) -> Result<bool> {
    let mut client = Client::open()?;
    let block = Shared::allocate(&mut client, BLOCK)?;
    let mut tally = Tally::default();
    for command in COMMANDS {
        types(&mut client, &block, command, all, &mut tally);
    }
    for command in [PROCESS, TA_INFORMATION, EXPORT_CSR, IMPORT_CERTIFICATES, STATUS] {
        memory(&mut client, &block, command, &mut tally);
    }
    // Wrong types in a row must not have used anything up: the right ones are still good.
    let status =
        [block.part(OUTPUT, 1, ROOM), Parameter::none(), Parameter::none(), Parameter::none()];
    let (code, sizes) = client.invoke(STATUS, status);
    if code != raw::TEEC_SUCCESS || sizes[0] == 0 {
        tally.wrong.push(format!("the broker does not tell its status any more: {code:#010x}"));
    }
    for line in &tally.wrong {
        println!("{line}");
    }
    println!("{} calls, {} not refused as they must", tally.calls, tally.wrong.len());
    Ok(tally.wrong.is_empty())
}

/// The types that a command takes.
const fn right(command: u32) -> [u32; 4] {
    match command {
        PROCESS | TA_INFORMATION => [INPUT, OUTPUT, 0, 0],
        IMPORT_CERTIFICATES => [INPUT, 0, 0, 0],
        PREPARE => [0; 4],
        _ => [OUTPUT, 0, 0, 0],
    }
}

/// Combinations of types other than the right one.
fn types(client: &mut Client, block: &Shared, command: u32, all: bool, tally: &mut Tally) {
    let right = right(command);
    let expected = match command {
        ..=PREPARE => raw::TEEC_ERROR_BAD_PARAMETERS,
        PERSONALIZATION => raw::TEEC_ERROR_ACCESS_DENIED,
        _ => raw::TEEC_ERROR_NOT_IMPLEMENTED,
    };
    for number in 0..TYPES.len().pow(4) {
        let kinds = [1, 7, 49, 343].map(|power| TYPES[number / power % TYPES.len()]);
        // What no command is has no types that could be nearly right.
        let known = command <= PERSONALIZATION;
        let few = if known {
            kinds[2..] == [0, 0] || kinds[..2] == right[..2]
        } else {
            kinds[1..] == [0, 0, 0]
        };
        if (kinds == right && command <= PREPARE) || !(few || (all && known)) {
            continue;
        }
        let parameters = kinds.map(|kind| match kind {
            INPUT | OUTPUT | raw::TEEC_MEMREF_PARTIAL_INOUT => block.part(kind, 3, ROOM),
            kind => Parameter::value(kind),
        });
        let (code, _) = client.invoke(command, parameters);
        tally.expect(&format!("command {command} with types {kinds:x?}"), code, &[expected]);
    }
}

/// The right types with wrong memory, which contains neither a message nor a certificate.
fn memory(client: &mut Client, block: &Shared, command: u32, tally: &mut Tally) {
    let right = right(command);
    let takes = right[0] == INPUT;
    let gives = right.contains(&OUTPUT);
    let garbage = vec![b'{'; BLOCK];
    let mut call = |client: &mut Client, what: &str, input: Parameter, output: Parameter| {
        let none = Parameter::none();
        let parameters = match (takes, gives) {
            (true, true) => [input, output, none, none],
            (true, false) => [input, none, none, none],
            _ => [output, none, none, none],
        };
        let (code, _) = client.invoke(command, parameters);
        tally.expect(&format!("command {command}, {what}"), code, &[]);
    };
    block.fill(0, &garbage);
    let places = [(0, 0), (0, 1), (1, 1), (1, 4095), (4095, 2), (4097, 8191), (3, 100_001)];
    if takes {
        for (offset, size) in places {
            let what = format!("{size} bytes at {offset}");
            let (input, output) =
                (block.part(INPUT, offset, size), block.part(OUTPUT, 1 << 20, ROOM));
            call(client, &what, input, output);
        }
        // Everything that there is, and the answer in its middle, on it, and one byte beside it.
        for (offset, size, answer) in [
            (0, BLOCK, 1 << 20),
            (0, 2 << 20, 1 << 20),
            (0, BLOCK, 0),
            (1, 2 << 20, 0),
            (0, 2 << 20, 1),
            (7, ROOM, 7),
        ] {
            let what = format!("{size} bytes at {offset}, answer at {answer}");
            let (input, output) =
                (block.part(INPUT, offset, size), block.part(OUTPUT, answer, ROOM));
            call(client, &what, input, output);
        }
        for size in [0, 1, 4096] {
            let input = Parameter::temporary(TEMPORARY_INPUT, ptr::null_mut(), size);
            let output = block.part(OUTPUT, 0, ROOM);
            call(client, &format!("no memory of {size} bytes"), input, output);
        }
        for (offset, size) in outside() {
            let (input, output) = (block.part(INPUT, offset, size), block.part(OUTPUT, 0, ROOM));
            call(client, &format!("{size} bytes outside at {offset}"), input, output);
        }
    }
    if gives {
        for (offset, size) in places.into_iter().filter(|(_, size)| *size < 256) {
            let (input, output) = (block.part(INPUT, 0, 64), block.part(OUTPUT, offset, size));
            call(client, &format!("room for {size} bytes at {offset}"), input, output);
        }
        for size in [0, 1, ROOM] {
            let input = block.part(INPUT, 0, 64);
            let output = Parameter::temporary(TEMPORARY_OUTPUT, ptr::null_mut(), size);
            call(client, &format!("no room of {size} bytes"), input, output);
        }
        for (offset, size) in outside() {
            let (input, output) = (block.part(INPUT, 0, 64), block.part(OUTPUT, offset, size));
            call(client, &format!("room for {size} bytes outside at {offset}"), input, output);
        }
    }
}

/// Parts that do not lie in the block, each with its offset and size.
const fn outside() -> [(usize, usize); 6] {
    [
        (BLOCK, 1),
        (BLOCK - 1, 2),
        (0, BLOCK + 1),
        (1, usize::MAX),
        (usize::MAX, 1),
        (usize::MAX - 15, 16),
    ]
}

/// Sends `message` to the broker repeatedly while another thread rewrites it, its surroundings and the
/// answer; prints how the calls ended.
///
/// In every fourth run the answer's memory lies over the message.
pub fn race(message: &[u8], runs: u32) -> Result<bool> {
    let mut client = Client::open()?;
    let block = Shared::allocate(&mut client, BLOCK)?;
    let Some(answer) = message.len().checked_next_multiple_of(4096).filter(|at| at + ROOM < BLOCK)
    else {
        bail!("the message is too long")
    };
    let ended = AtomicBool::new(false);
    let mut outcomes = BTreeMap::<(u32, usize), u32>::new();
    block.fill(0, message);
    let bytes = block.bytes();
    std::thread::scope(|scope| {
        scope.spawn(|| rewrite(&bytes[..answer + ROOM], message, &ended));
        for run in 0..runs {
            let at = if run % 4 == 3 { 1 } else { answer };
            let parameters = [
                block.part(INPUT, 0, message.len()),
                block.part(OUTPUT, at, ROOM),
                Parameter::none(),
                Parameter::none(),
            ];
            let (code, sizes) = client.invoke(PROCESS, parameters);
            *outcomes.entry((code, sizes[1])).or_default() += 1;
            if at == 1 {
                block.fill(0, message);
            }
        }
        ended.store(true, Ordering::Relaxed);
    });
    for ((code, length), count) in &outcomes {
        println!("{code:#010x} {length} {count}");
    }
    Ok(!outcomes.keys().any(|(code, _)| *code == raw::TEEC_ERROR_TARGET_DEAD))
}

/// Until `ended`: spoils a byte of the message, waits a little, and puts it right again; and spoils
/// a byte behind the message, where the answer comes.
fn rewrite(bytes: &[AtomicU8], message: &[u8], ended: &AtomicBool) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 1).unwrap_or_default() % below
    };
    while !ended.load(Ordering::Relaxed) {
        let at = random(message.len());
        bytes[at].fetch_xor(1 << random(8), Ordering::Relaxed);
        bytes[message.len() + random(bytes.len() - message.len())].store(0, Ordering::Relaxed);
        for _ in 0..random(5000) {
            std::hint::spin_loop();
        }
        bytes[at].store(message[at], Ordering::Relaxed);
        for _ in 0..random(5000) {
            std::hint::spin_loop();
        }
    }
}
