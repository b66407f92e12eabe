//! Each target as a test: on its corpus, on what was once found, and on some thousand changes of
//! both, the same in each run.

use std::fs::{read, read_dir};
use std::path::Path;

use openssl::sha::sha256;
use otrp_fuzz::{TARGETS, mutated};

/// The inputs in a folder of the target, by their names.
fn inputs(folder: &str, target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(target);
    let Ok(files) = read_dir(folder) else { return Vec::new() };
    let files = files.map(|file| file.unwrap().path());
    let mut inputs: Vec<_> =
        files.map(|path| (path.display().to_string(), read(&path).unwrap())).collect();
    inputs.sort();
    inputs
}

fn run(target: &str, changes: u32) {
    let (_, judge) = TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let mut seeds = inputs("corpus", target);
    assert!(!seeds.is_empty(), "no corpus for {target}");
    seeds.extend(inputs("findings", target));
    for (name, seed) in &seeds {
        println!("{name}");
        judge(seed);
    }
    for number in 0..changes {
        let (name, seed) = &seeds[usize::try_from(number).unwrap() % seeds.len()];
        let choices: Vec<u8> = (0..2_u8)
            .flat_map(|part| sha256(&[&number.to_be_bytes()[..], &[part]].concat()))
            .collect();
        println!("change {number} of {name}");
        judge(&mutated(seed, &choices));
    }
}

macro_rules! smoke {
    ($($target:ident: $changes:literal)*) => {
        $(#[test]
        fn $target() {
            run(stringify!($target), $changes);
        })*

        #[test]
        fn every_target_is_run() {
            let run = [$(stringify!($target)),*];
            assert!(TARGETS.iter().map(|(name, _)| *name).eq(run));
            for target in run {
                let program = format!("targets/{target}.rs");
                assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(program).is_file(), "{target}");
            }
        }
    };
}

// The last two take milliseconds for each.
smoke! {
    envelope: 20000
    skeleton: 20000
    jose_header: 20000
    jwe: 20000
    tbs: 20000
    content: 20000
    ta_query: 20000
    string: 20000
    base64: 20000
    certificate: 20000
    path: 2000
    ocsp: 2000
    image: 2000
    lists: 20000
    record: 2000
    process: 500
    operations: 20
}
