//! How long an installation takes in OP-TEE, three ways on the same device in the same run.
//!
//! *OTrP*: a signed and encrypted InstallTA through the agent and the broker. *Raw*: the same ELF
//! through the broker's pseudo TA, by the lab image's conformance application. *Stock*: the same
//! ELF, signed by the image's own key, through the core's `secstor_ta_mgmt`. Each time is the guest's
//! for a whole process, from its start to its end; a round does all three, and the median of the
//! rounds is shown. Under emulation only the ratios mean something.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use otrp_keys::{file, image};
use otrp_tam::message::{Application, Builder, Command, TaEncryption, Target};
use otrp_tam::response::{Outcome, Reply};

use crate::device::Device;
use crate::guest::{Guest, Output};
use crate::image::Image;
use crate::machine::Machine;
use crate::operator::{Operator, carry};

const SIZES: [(usize, &str); 3] =
    [(64 << 10, "64 KiB"), (512 << 10, "512 KiB"), (2 << 20, "2 MiB")];
const ROUNDS: usize = 5;
const SP: &str = "com.example";
const SD: &str = "com.example.bench";
const UUID: &str = "11111111-2222-3333-4444-555555555555";
const STOCK_UUID: &str = "11111111-2222-3333-4444-666666666666";

/// Times installations and reports a line for each size.
pub fn run(cache: &Path, report: &mut dyn FnMut(&str)) -> Result<()> {
    let keys = cache.join("keys/dev");
    let device = Device::open_or_create(cache.join("devices/bench"))?;
    device.wipe()?;
    let mut guest = Machine::new(device, Image::open(cache.join("image/lab"))?).boot()?;
    let request = guest.run("otrp-agent csr")?.success()?.stdout;
    let authority = otrp_keys::device::Authority::read(&keys.join("tee-ca"))?;
    guest.put("/tmp/chain.pem", &file::chain_pem(&authority.certify(&request)?)?)?;
    guest.run("otrp-agent import-cert /tmp/chain.pem")?.success()?;
    let tam = Operator::read(&keys, "tam")?;
    let certificate = std::fs::read(keys.join("sp-ec.der"))?;
    tam.carry_out(&mut guest, Command::CreateSd { spid: SP, name: SD, certificate: &certificate })?;

    report("InstallTA of an ELF, median of 5 rounds, milliseconds in the guest");
    report("size       OTrP CBC   OTrP GCM        raw      stock   CBC/raw   GCM/raw  CBC/stock");
    for (size, name) in SIZES {
        let mut rounds = Vec::new();
        for round in 0..ROUNDS {
            let progress = format!("{name}: round {} of {ROUNDS}", round + 1);
            eprintln!("{progress}");
            rounds.push(self::round(&mut guest, &keys, &tam, size, round)?);
        }
        let median = |pick: fn(&Round) -> Duration| {
            let mut times: Vec<_> = rounds.iter().map(pick).collect();
            times.sort();
            times[times.len() / 2].as_secs_f64() * 1000.0
        };
        let (cbc, gcm) = (median(|round| round.cbc), median(|round| round.gcm));
        let (raw, stock) = (median(|round| round.raw), median(|round| round.stock));
        report(&format!(
            "{name:8} {cbc:10.0} {gcm:10.0} {raw:10.0} {stock:10.0} {:9.2} {:9.2} {:10.2}",
            cbc / raw,
            gcm / raw,
            cbc / stock
        ));
    }
    guest.power_off()?;
    Ok(())
}

struct Round {
    cbc: Duration,
    gcm: Duration,
    raw: Duration,
    stock: Duration,
}

fn round(
    guest: &mut Guest,
    keys: &Path,
    tam: &Operator,
    size: usize,
    round: usize,
) -> Result<Round> {
    let elf = elf(size, round);
    guest.put("/tmp/elf", &elf)?;
    // What is deleted may come back in the same version, and not in a lower one.
    let version = 1;
    let raw = timed(guest, &format!("otrp-lab install {UUID} {version} /tmp/elf"))?;
    guest.run(&format!("otrp-lab remove {UUID}"))?.success()?;

    let signing = file::read_key(&keys.join("ta-signing.key.pem"))?;
    let stock = image::sign(&signing, None, STOCK_UUID.parse()?, version, &elf)?;
    guest.put("/tmp/stock.ta", &stock)?;
    let stock = timed(guest, "otrp-lab stock-install /tmp/stock.ta")?;
    guest.run(&format!("otrp-lab remove {STOCK_UUID}"))?.success()?;

    let cbc = otrp(guest, keys, tam, &elf, version, TaEncryption::AesCbc)?;
    let gcm = otrp(guest, keys, tam, &elf, version, TaEncryption::A256Gcm)?;
    Ok(Round { cbc, gcm, raw, stock })
}

/// Installs through OTrP and deletes again; the time of the installation.
fn otrp(
    guest: &mut Guest,
    keys: &Path,
    tam: &Operator,
    elf: &[u8],
    version: u32,
    encryption: TaEncryption,
) -> Result<Duration> {
    let signer = file::read_key(&keys.join("sp-ec.key.pem"))?;
    let image = image::sign(&signer, None, UUID.parse()?, version, elf)?;
    let target = Target::from(&tam.state(guest)?);
    let install = Command::InstallTa(Application {
        spid: SP,
        domain: SD,
        taid: "bench",
        certificate: None,
        image: Some(&image),
        personalization: None,
    });
    let request =
        Builder::command(&tam.identity, &target, install).ta_encryption(encryption).build()?;
    let carried = carry(guest, &request.message)?;
    let Reply::Answer(answer) = Reply::read(&carried.answer)? else { bail!("an agent's error") };
    match answer.outcome(Some(&request.exchange), &tam.identity, &target.certificate)? {
        Outcome::Pass(_) => {}
        Outcome::Fail(refusal) => bail!("InstallTA is refused: {refusal:?}"),
    }
    tam.carry_out(guest, Command::DeleteTa { spid: None, name: SD, taid: "bench" })?;
    Ok(carried.elapsed)
}

fn timed(guest: &mut Guest, command: &str) -> Result<Duration> {
    let script = format!(
        "read start rest </proc/uptime; {command}; status=$?; read end rest </proc/uptime; \
         echo $start $end; exit $status"
    );
    let before = Instant::now();
    let output: Output = guest.run(&script)?.success().context(command.to_owned())?;
    let text = output.text();
    let last = text.lines().last().and_then(|line| line.split_once(' '));
    let (start, end) = last.context("the guest's clock is missing")?;
    let time = end.parse::<f64>()? - start.parse::<f64>()?;
    Ok(Duration::try_from_secs_f64(time).unwrap_or_else(|_| before.elapsed()))
}

/// What looks like a program and does not compress.
fn elf(size: usize, seed: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ seed as u64;
    let mut elf = b"\x7fELF".to_vec();
    while elf.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        elf.extend(state.to_le_bytes());
    }
    elf.truncate(size);
    elf
}
