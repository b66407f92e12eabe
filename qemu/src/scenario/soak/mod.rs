//! The long runs: power cuts at random instants, and many installations in a row.

mod cuts;
mod cycles;
mod random;

use anyhow::{Context, Result, bail};
use openssl::sha::sha256;
use otrp_tam::request::Application;

use crate::harness::guest::Guest;
use crate::scenario::deployment::SERVICE_PROVIDER;

pub use cuts::{Figures, cuts, cuts_on};
pub use cycles::{cycles, cycles_on};

/// What the guest's programs print if there is no such application.
const ITEM_NOT_FOUND: i32 = 4;
/// An application that no run opens: its image is only compared.
const NEIGHBOUR: (&str, &str) = ("com.example.neighbour", "11111111-2222-3333-4444-888888888888");

const fn application<'a>(domain: &'a str, taid: &'a str, image: &'a [u8]) -> Application<'a> {
    Application {
        spid: SERVICE_PROVIDER,
        domain,
        taid,
        certificate: None,
        image: Some(image),
        personalization: None,
    }
}

/// What the core's store contains of an application.
#[derive(Debug)]
struct Installed {
    version: u32,
    size: usize,
    digest: String,
}

impl Installed {
    fn is(&self, elf: &[u8]) -> bool {
        self.size == elf.len() && self.digest == hex::encode(sha256(elf))
    }
}

/// Lets the core read and authenticate an application of its store; `None` if there is none.
fn query(guest: &mut Guest, uuid: &str) -> Result<Option<Installed>> {
    let output = guest.run(&format!("otrp-lab query {uuid}"))?;
    if output.status == ITEM_NOT_FOUND {
        return Ok(None);
    }
    let text = output.success().context("the store is damaged")?.text();
    let words: Vec<_> = text.split(' ').collect();
    let [version, size, digest, _] = words[..] else { bail!("the lab says {text:?}") };
    let digest = digest.to_owned();
    Ok(Some(Installed { version: version.parse()?, size: size.parse()?, digest }))
}
