//! Fuzz targets of the broker: what anybody can send it, and what can happen to it.
//!
//! A target is a function of bytes that panics if the broker violates a property. `targets/` has a
//! program for libFuzzer for each (`make fuzz`); `tests/smoke.rs` runs each briefly, as ordinary tests.

mod corpus;
mod credulous;
mod image;
mod lists;
mod model;
mod mutate;
mod operations;
mod pki;
mod process;
mod record;
mod stage;
mod wire;

use arbitrary::Unstructured;

pub use corpus::{Input, corpus};
pub use image::image;
pub use lists::lists;
pub use operations::operations;
pub use pki::{certificate, ocsp, path};
pub use process::process;
pub use record::record;
pub use wire::{base64, content, envelope, jose_header, jwe, skeleton, string, ta_query, tbs};

/// Checks the broker with an input; panics if it violates a property.
pub type Target = fn(&[u8]);

/// Every target, by the name of its program and of its folder in `corpus/`.
pub const TARGETS: [(&str, Target); 17] = [
    ("envelope", envelope),
    ("skeleton", skeleton),
    ("jose_header", jose_header),
    ("jwe", jwe),
    ("tbs", tbs),
    ("content", content),
    ("ta_query", ta_query),
    ("string", string),
    ("base64", base64),
    ("certificate", certificate),
    ("path", path),
    ("ocsp", ocsp),
    ("image", image),
    ("lists", lists),
    ("record", record),
    ("process", process),
    ("operations", operations),
];

/// A change of `seed` that `choices` chooses.
#[must_use]
pub fn mutated(seed: &[u8], choices: &[u8]) -> Vec<u8> {
    let mut changed = seed.to_vec();
    // Bytes never run out: then they are zeros.
    let _ = mutate::bytes(&mut Unstructured::new(choices), &mut changed);
    changed
}
