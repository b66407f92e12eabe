//! The whole flow of `make run`, as a test.
//!
//! Needs `make image`; run by `make test`.

use std::path::Path;

#[test]
#[ignore = "needs the image: make image"]
fn a_tam_provisions_an_application_and_takes_it_away() {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache");
    let mut lines = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    let outcome =
        otrp_qemu::flow::run(&cache, folder.path(), &mut |line| lines.push(line.to_owned()));
    outcome.unwrap_or_else(|error| panic!("{}\n{error:#}", lines.join("\n")));
    let last = lines.last().expect("a summary");
    assert!(last.starts_with("all 14 steps passed"), "{last}");
}
