//! The whole flow of `make run`, as a test.
//!
//! Needs the images; run by `make test`, and alone by `make test-device`.

use otrp_qemu::harness::cache;
use otrp_qemu::harness::image::Builds;
use otrp_qemu::scenario::deployment::Suite;
use otrp_qemu::scenario::flow::STEPS;

fn all_steps_pass(suite: Suite) {
    let cache = cache();
    let mut lines = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    let report = &mut |line: &str| lines.push(line.to_owned());
    let outcome = otrp_qemu::scenario::flow::run(&Builds::new(cache), folder.path(), suite, report);
    outcome.unwrap_or_else(|error| panic!("{}\n{error:#}", lines.join("\n")));
    let last = lines.last().expect("a summary");
    assert!(last.starts_with(&format!("all {STEPS} steps passed")), "{last}");
}

#[test]
#[ignore = "needs the images: make test-device"]
fn a_tam_provisions_an_application_and_takes_it_away() {
    all_steps_pass(Suite::Elliptic);
}

#[test]
#[ignore = "needs the image: make rsa"]
fn a_tam_does_the_same_with_rsa_keys_on_both_sides() {
    all_steps_pass(Suite::Rsa);
}
