//! Drives the port tests' TA of the lab image, and attacks the broker.
//!
//! Exit codes: 0 success, 1 failure, 2 usage, 4 no such trusted application.

mod hostile;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use optee_teec::{
    ConnectionMethods, Context, Error, ErrorKind, Operation, Param, ParamNone, ParamTmpRef,
    ParamType, ParamValue, Uuid,
};
use otrp_wire::command::BROKER_TEXT;

const PORT_TESTS: &str = "7fc3b03e-d5b8-45c5-94cb-5b36ec23a5da";

/// `LAB_MEMORY_UUID` of qemu/optee/lab_memory.c, in the lab's core alone.
const MEMORY: &str = "3a0dcf3c-8e0c-4f7b-9a0b-2d6b1c52771e";
/// `LAB_MEMORY_PEAK`.
const STACK_PEAK: u32 = 0;
/// `LAB_MEMORY_READ`.
const MEMORY_READ: u32 = 1;
/// `STATS_UUID` of OP-TEE.
const STATISTICS: &str = "d96a5b40-e2c7-b1af-8794-1002a5d5c61b";
/// `STATS_CMD_ALLOC_STATS`, and the number of the core's heap there.
const CORE_STATISTICS: u32 = 1;
const CORE_HEAP: u32 = 1;
/// Octets of a `struct pta_stats_alloc`, and where in it the octets are that are in use.
const CORE_STATISTICS_LENGTH: usize = 64;
const CORE_NOW: usize = 32 + 8;
/// `STATS_CMD_TA_STATS`.
const TA_STATISTICS: u32 = 3;
/// Octets of a `struct pta_stats_ta`, and where in it the heap's numbers are.
const TA_STATISTICS_LENGTH: usize = 88;
const HEAP_NOW: usize = 24 + 32 + 8;
const HEAP_PEAK: usize = HEAP_NOW + 4;
const HEAP_SIZE: usize = HEAP_PEAK + 4;

const RUN: u32 = 0;
const RAW_INSTALL: u32 = 1;
const RAW_REMOVE: u32 = 2;
const RAW_QUERY: u32 = 3;
const TIMES: u32 = 4;
const PERSONALIZATION: u32 = 5;
const BROKER_COMMAND: u32 = 6;
const OPEN: u32 = 7;
const INTERRUPT: u32 = 8;
const LOAD_LIBRARY: u32 = 9;

/// Size of the buffer for a report in which everything failed, and for the broker's answers.
const REPORT_LIMIT: usize = 64 * 1024;

const USAGE: &str = "usage: otrp-lab COMMAND
  run                         run the port tests in the TEE
  install UUID VERSION ELF [OWNER]
                              install a TA through the pseudo TA, without OTrP, with so many times
                              the octet OWNER for an owner; print milliseconds
  remove UUID                 remove it; print milliseconds
  query UUID                  print version, size, SHA-256 and milliseconds
  open UUID                   open a session and close it: is there such an application?
  hold UUID COMMAND           open a session; for each line of standard input give the command, which
                              returns a number, and print that; close the session at the end
  times                       print what port operations cost, in microseconds
  memory UUID                 print the peak and the size of its stack and its heap, in bytes, and
                              what of its heap and of the core's is in use
  dump UUID                   write out all memory that it can write to
  open-from-ta CALLER UUID    let an application with the code of the port tests open a session
  dlopen-from-ta CALLER UUID  let it load a library
  interrupt close|panic       begin an installation, write a part, and end the session
  abuse [all]                 call the broker with wrong types and memory; print how often
  race FILE RUNS              let the broker process the message while another thread rewrites it
  personalization             let the application ask for its personalization data
  broker-from-ta COMMAND      let the application give the broker a command
  broker LOGIN COMMAND        give it from here, logged in with that method
open-from-ta, dlopen-from-ta, interrupt and the last three print the TEE's result, 0x00000000 for success.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            let kind = error.downcast_ref::<Error>().map(Error::kind);
            ExitCode::from(if kind == Some(ErrorKind::ItemNotFound) { 4 } else { 1 })
        }
    }
}

fn run(arguments: &[&str]) -> Result<bool> {
    match arguments {
        ["run"] => port_tests(),
        ["install", uuid, version, elf] => install(uuid, version, elf, "0"),
        ["install", uuid, version, elf, owner] => install(uuid, version, elf, owner),
        ["remove", uuid] => {
            let uuid = octets(uuid)?;
            let p1 = ParamValue::new(0, 0, ParamType::ValueOutput);
            let mut operation =
                Operation::new(0, ParamTmpRef::new_input(&uuid), p1, ParamNone, ParamNone);
            invoke(RAW_REMOVE, &mut operation)?;
            println!("{}", operation.parameters().1.a());
            Ok(true)
        }
        ["query", uuid] => query(uuid),
        ["open", uuid] => {
            let uuid = Uuid::parse_str(uuid).ok().context("no UUID")?;
            Context::new()?.open_session(uuid)?;
            Ok(true)
        }
        ["hold", uuid, command] => hold(uuid, command.parse().context("the command")?),
        ["times"] => {
            let mut text = vec![0; REPORT_LIMIT];
            let p0 = ParamTmpRef::new_output(&mut text);
            let mut operation = Operation::new(0, p0, ParamNone, ParamNone, ParamNone);
            invoke(TIMES, &mut operation)?;
            let length = operation.parameters().0.updated_size();
            print!("{}", String::from_utf8_lossy(&text[..length]));
            Ok(true)
        }
        ["memory", uuid] => memory(uuid),
        ["dump", uuid] => dump(uuid),
        ["open-from-ta", caller, uuid] => from_ta(caller, OPEN, uuid),
        ["dlopen-from-ta", caller, uuid] => from_ta(caller, LOAD_LIBRARY, uuid),
        ["interrupt", end @ ("close" | "panic")] => {
            let p0 = ParamValue::new(u32::from(*end == "panic"), 0, ParamType::ValueInput);
            let mut operation = Operation::new(0, p0, ParamNone, ParamNone, ParamNone);
            print_result(invoke(INTERRUPT, &mut operation))
        }
        ["abuse"] => hostile::abuse(false),
        ["abuse", "all"] => hostile::abuse(true),
        ["race", message, runs] => {
            let message = std::fs::read(message).with_context(|| format!("no {message}"))?;
            hostile::race(&message, runs.parse().context("the number of runs")?)
        }
        ["personalization"] => {
            let mut answer = vec![0; REPORT_LIMIT];
            let p0 = ParamTmpRef::new_output(&mut answer);
            let mut operation = Operation::new(0, p0, ParamNone, ParamNone, ParamNone);
            print_result(invoke(PERSONALIZATION, &mut operation))
        }
        ["broker-from-ta", command] => {
            let mut answer = vec![0; REPORT_LIMIT];
            let p0 = ParamValue::new(command.parse()?, 0, ParamType::ValueInput);
            let p1 = ParamTmpRef::new_output(&mut answer);
            let mut operation = Operation::new(0, p0, p1, ParamNone, ParamNone);
            print_result(invoke(BROKER_COMMAND, &mut operation))
        }
        ["broker", login, command] => {
            let login = ConnectionMethods::from(login.parse::<u32>()?);
            print_result(broker(login, command.parse()?))
        }
        _ => bail!(USAGE),
    }
}

/// Keeps a session open, and asks in it as often as standard input has a line.
fn hold(uuid: &str, command: u32) -> Result<bool> {
    let uuid = Uuid::parse_str(uuid).ok().context("no UUID")?;
    let mut context = Context::new()?;
    let mut session = context.open_session(uuid)?;
    println!("open");
    for line in std::io::stdin().lines() {
        line?;
        let p0 = ParamValue::new(0, 0, ParamType::ValueOutput);
        let mut operation = Operation::new(0, p0, ParamNone, ParamNone, ParamNone);
        session.invoke_command(command, &mut operation)?;
        println!("{}", operation.parameters().0.a());
    }
    Ok(true)
}

/// Gives the broker a command that asks for bytes.
fn broker(login: ConnectionMethods, command: u32) -> Result<()> {
    let mut answer = vec![0; REPORT_LIMIT];
    let p0 = ParamTmpRef::new_output(&mut answer);
    let mut operation = Operation::new(0, p0, ParamNone, ParamNone, ParamNone);
    let uuid = Uuid::parse_str(BROKER_TEXT).ok().context("no UUID")?;
    let mut session = Context::new()?.open_session_with_login(uuid, login).context("no session")?;
    Ok(session.invoke_command(command, &mut operation)?)
}

/// Prints how the TEE ended a command. What ended it before is an error here, too.
fn print_result(result: Result<()>) -> Result<bool> {
    let code = match result {
        Ok(()) => 0,
        Err(error) => match error.downcast_ref::<Error>() {
            Some(failure) if error.chain().count() == 1 => failure.raw_code(),
            _ => return Err(error),
        },
    };
    println!("{code:#010x}");
    Ok(true)
}

/// Runs the tests and prints their report; whether all checks held.
fn port_tests() -> Result<bool> {
    let mut text = vec![0; REPORT_LIMIT];
    let p0 = ParamTmpRef::new_output(&mut text);
    let p1 = ParamValue::new(0, 0, ParamType::ValueOutput);
    let mut operation = Operation::new(0, p0, p1, ParamNone, ParamNone);
    invoke(RUN, &mut operation)?;
    let (report, counts, _, _) = operation.parameters();
    let (length, passed, failed) = (report.updated_size(), counts.a(), counts.b());
    print!("{}", String::from_utf8_lossy(&text[..length]));
    println!("{passed} checks held, {failed} did not");
    Ok(failed == 0 && passed > 0)
}

fn install(uuid: &str, version: &str, elf: &str, owner: &str) -> Result<bool> {
    let version = version.parse().context("the version is no number")?;
    let owner: u8 = owner.parse().context("the owner is no octet")?;
    let mut request = octets(uuid)?.to_vec();
    request.extend([owner; 32]);
    request.extend(std::fs::read(elf).with_context(|| format!("cannot read {elf}"))?);
    let p0 = ParamTmpRef::new_input(&request);
    let p1 = ParamValue::new(version, 0, ParamType::ValueInout);
    let mut operation = Operation::new(0, p0, p1, ParamNone, ParamNone);
    invoke(RAW_INSTALL, &mut operation)?;
    println!("{}", operation.parameters().1.a());
    Ok(true)
}

/// Has the application `caller` do something with a UUID, and prints the result.
fn from_ta(caller: &str, command: u32, uuid: &str) -> Result<bool> {
    let uuid = octets(uuid)?;
    let p0 = ParamTmpRef::new_input(&uuid);
    let mut operation = Operation::new(0, p0, ParamNone, ParamNone, ParamNone);
    print_result(invoke_in(caller, command, &mut operation))
}

fn query(uuid: &str) -> Result<bool> {
    let uuid = octets(uuid)?;
    let mut digest = [0; 32];
    let p0 = ParamTmpRef::new_input(&uuid);
    let p1 = ParamTmpRef::new_output(&mut digest);
    let p2 = ParamValue::new(0, 0, ParamType::ValueOutput);
    let p3 = ParamValue::new(0, 0, ParamType::ValueOutput);
    let mut operation = Operation::new(0, p0, p1, p2, p3);
    invoke(RAW_QUERY, &mut operation)?;
    let (_, _, ta, time) = operation.parameters();
    let (size, version, milliseconds) = (ta.a(), ta.b(), time.a());
    println!("{version} {size} {} {milliseconds}", hex::encode(digest));
    Ok(true)
}

/// Prints how much stack and heap a trusted application has used since it was loaded.
fn memory(uuid: &str) -> Result<bool> {
    let octets = octets(uuid)?;
    // OP-TEE asks an application for its heap in one of its sessions.
    let mut context = Context::new()?;
    let _session = context.open_session(Uuid::parse_str(uuid).ok().context("no UUID")?)?;
    let p0 = ParamTmpRef::new_input(&octets);
    let p1 = ParamValue::new(0, 0, ParamType::ValueOutput);
    let mut operation = Operation::new(0, p0, p1, ParamNone, ParamNone);
    invoke_in(MEMORY, STACK_PEAK, &mut operation)?;
    let (_, stack, _, _) = operation.parameters();
    println!("stack {} {}", stack.a(), stack.b());

    let mut table = vec![0; 16 * TA_STATISTICS_LENGTH];
    let p0 = ParamTmpRef::new_output(&mut table);
    let mut operation = Operation::new(0, p0, ParamNone, ParamNone, ParamNone);
    invoke_in(STATISTICS, TA_STATISTICS, &mut operation)?;
    let length = operation.parameters().0.updated_size();
    // A UUID is a structure there, with numbers of this machine's order.
    let mut wanted = octets;
    wanted[..4].reverse();
    wanted[4..6].reverse();
    wanted[6..8].reverse();
    let mut rows = table[..length].chunks_exact(TA_STATISTICS_LENGTH);
    let row = rows.find(|row| row.starts_with(&wanted)).context("it is not loaded")?;
    let number = |at: usize| u32::from_le_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]]);
    println!("heap {} {}", number(HEAP_PEAK), number(HEAP_SIZE));
    println!("heap-in-use {} {}", number(HEAP_NOW), number(HEAP_SIZE));

    let mut table = vec![0; CORE_STATISTICS_LENGTH];
    let p0 = ParamValue::new(CORE_HEAP, 0, ParamType::ValueInput);
    let p1 = ParamTmpRef::new_output(&mut table);
    let mut operation = Operation::new(0, p0, p1, ParamNone, ParamNone);
    invoke_in(STATISTICS, CORE_STATISTICS, &mut operation)?;
    let number =
        |at: usize| u32::from_le_bytes([table[at], table[at + 1], table[at + 2], table[at + 3]]);
    println!("core-heap-in-use {} {}", number(CORE_NOW), number(CORE_NOW + 8));
    Ok(true)
}

/// Writes out what a trusted application has in the memory that it can write to, region by region.
fn dump(uuid: &str) -> Result<bool> {
    let uuid = octets(uuid)?;
    let mut part = vec![0; 1 << 20];
    let mut from = 0;
    loop {
        let p0 = ParamTmpRef::new_input(&uuid);
        let p1 = ParamValue::new(from, 0, ParamType::ValueInput);
        let p2 = ParamTmpRef::new_output(&mut part);
        let p3 = ParamValue::new(0, 0, ParamType::ValueOutput);
        let mut operation = Operation::new(0, p0, p1, p2, p3);
        invoke_in(MEMORY, MEMORY_READ, &mut operation)?;
        let (_, _, read, total) = operation.parameters();
        let (length, total) = (read.updated_size(), total.a());
        std::io::stdout().write_all(&part[..length])?;
        from += u32::try_from(length)?;
        if from >= total {
            return Ok(true);
        }
        if length == 0 {
            bail!("{from} octets of {total}");
        }
    }
}

fn invoke<A: Param, B: Param, C: Param, D: Param>(
    command: u32,
    operation: &mut Operation<A, B, C, D>,
) -> Result<()> {
    invoke_in(PORT_TESTS, command, operation)
}

fn invoke_in<A: Param, B: Param, C: Param, D: Param>(
    uuid: &str,
    command: u32,
    operation: &mut Operation<A, B, C, D>,
) -> Result<()> {
    let uuid = Uuid::parse_str(uuid).ok().context("no UUID")?;
    let mut session = Context::new()?.open_session(uuid)?;
    Ok(session.invoke_command(command, operation)?)
}

/// The octets of a UUID in text order.
fn octets(uuid: &str) -> Result<[u8; 16]> {
    let mut octets = [0; 16];
    hex::decode_to_slice(uuid.replace('-', ""), &mut octets).context("no UUID")?;
    Ok(octets)
}
