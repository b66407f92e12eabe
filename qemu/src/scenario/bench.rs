//! What an installation costs in OP-TEE: time, two ways on the same device, and memory.
//!
//! *OTrP*: a signed and encrypted InstallTA through the agent and the broker. *Raw*: the same ELF
//! through the broker's pseudo TA, by the port tests' TA in the lab image. Each time is the guest's
//! for a whole process, from its start to its end; a round does all of them, and the median of the
//! rounds is shown. Under emulation only the ratios mean something. The RSA suite, RS256 and
//! RSA-OAEP-256 on both sides, is timed on the RSA image, beside the raw installations of before.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use otrp_check::fixture;
use otrp_keys::{Uuid, file, image};
use otrp_tam::request::{Application, Builder, Command, SdChanges, TaEncryption, Target};
use otrp_tam::response::{Outcome, Reply};
use otrp_wire::command::BROKER_TEXT;

use crate::harness::device::Device;
use crate::harness::guest::{Guest, Output};
use crate::harness::image::Image;
use crate::harness::machine::Machine;
use crate::scenario::operator::{Operator, carry, provision};

const SIZES: [(usize, &str); 3] =
    [(64 << 10, "64 KiB"), (512 << 10, "512 KiB"), (2 << 20, "2 MiB")];
const ROUNDS: usize = 5;
const RSA_ROUNDS: usize = 3;
const SP: &str = "com.example";
const SD: &str = "com.example.bench";
const UUID: &str = "11111111-2222-3333-4444-555555555555";

/// What the broker does in one installation beside the raw part, by the names of the lab's report.
const FIXED_PARTS: [(&str, u32, &str); 4] = [
    ("agree", 2, "agrees on a key: content, image"),
    ("read", 1, "reads the service provider's certificates"),
    ("commit", 1, "commits record and image"),
    ("sign", 1, "signs the answer"),
];

/// Times installations and reports a line for each size, and for each part that all have.
pub fn run(cache: &Path, report: &mut dyn FnMut(&str)) -> Result<()> {
    let mut lab = Lab::boot(cache, "lab", |keys| Operator::read(keys, "tam"))?;
    let mut raws = Vec::new();
    report("InstallTA of an ELF, median of 5 rounds, milliseconds in the guest");
    report("size      OTrP CBC  OTrP GCM  GCM, RSA    raw   CBC/raw  GCM/raw");
    for (size, name) in SIZES {
        let mut rounds = Vec::new();
        for round in 0..ROUNDS {
            eprintln!("{name}: round {} of {ROUNDS}", round + 1);
            rounds.push(lab.round(size, round)?);
        }
        let median = |pick: fn(&Round) -> Duration| {
            let mut times: Vec<_> = rounds.iter().map(pick).collect();
            times.sort();
            times[times.len() / 2].as_secs_f64() * 1000.0
        };
        let (cbc, gcm) = (median(|round| round.cbc), median(|round| round.gcm));
        let (raw, rsa) = (median(|round| round.raw), median(|round| round.rsa));
        raws.push(raw);
        report(&format!(
            "{name:8} {cbc:9.0} {gcm:9.0} {rsa:9.0} {raw:6.0} {:9.2} {:8.2}",
            cbc / raw,
            gcm / raw
        ));
    }
    report("OTrP's part that does not grow with the image, milliseconds inside the TEE");
    let costs = lab.port_costs()?;
    for (name, count, what) in FIXED_PARTS {
        let cost = costs.get(name).with_context(|| format!("the lab does not time {name}"))?;
        let each = f64::from(*cost) / 1000.0;
        report(&format!("  {:6.0} = {count} x {each:4.1}  {what}", each * f64::from(count)));
    }
    lab.guest.power_off()?;

    let mut lab = Lab::boot(cache, "rsa", |keys| Operator::read(keys, "tam-rsa"))?;
    report("the same with the RSA suite, an image that an RSA key signed, median of 3 rounds");
    report("size       OTrP GCM   GCM/raw");
    for ((size, name), raw) in SIZES.into_iter().zip(raws) {
        let mut times = Vec::new();
        for round in 0..RSA_ROUNDS {
            eprintln!("RSA, {name}: round {} of {RSA_ROUNDS}", round + 1);
            times.push(lab.otrp(&elf(size, round)?, 1, "sp-rsa", TaEncryption::A256Gcm)?.0);
        }
        times.sort();
        let time = times[times.len() / 2].as_secs_f64() * 1000.0;
        report(&format!("{name:8} {time:10.0} {:9.2}", time / raw));
    }
    lab.guest.power_off()?;
    Ok(())
}

/// Reports how much stack and heap the broker has used after an installation of 6 MiB, by a TAM whose
/// chain is three certificates below the root, with an OCSP response for each.
pub fn memory(cache: &Path, report: &mut dyn FnMut(&str)) -> Result<()> {
    let mut lab = Lab::boot(cache, "lab", Operator::below_two_authorities)?;
    let elf = elf(6 << 20, 0)?;
    let (_, message) = lab.otrp(&elf, 1, "sp-rsa", TaEncryption::AesCbc)?;
    let peaks = lab.guest.run(&format!("otrp-lab memory {BROKER_TEXT}"))?.success()?.text();
    report(&format!("after an InstallTA of 6 MiB, a message of {message} bytes:"));
    for line in peaks.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let [name, peak, size] = words[..] else { bail!("the lab says {line:?}") };
        report(&format!("  {:32} {peak:>8} of {size}", format!("{name} (bytes)")));
    }
    lab.guest.power_off()?;
    Ok(())
}

struct Round {
    cbc: Duration,
    gcm: Duration,
    rsa: Duration,
    raw: Duration,
}

/// An image on a device that is certified and has a security domain.
struct Lab {
    guest: Guest,
    keys: std::path::PathBuf,
    tam: Operator,
}

impl Lab {
    fn boot(cache: &Path, image: &str, tam: impl Fn(&Path) -> Result<Operator>) -> Result<Self> {
        let keys = cache.join("keys/dev");
        let device = Device::open_or_create(cache.join("devices/bench"))?;
        device.wipe()?;
        let mut guest =
            Machine::new(device, Image::open(cache.join("image").join(image))?).boot()?;
        provision(&mut guest, &keys)?;
        let tam = tam(&keys)?;
        let certificate = |name: &str| std::fs::read(keys.join(name));
        let (ec, rsa) = (certificate("sp-ec.der")?, certificate("sp-rsa.der")?);
        tam.carry_out(&mut guest, Command::CreateSd { spid: SP, name: SD, certificate: &ec })?;
        let added = SdChanges { add: vec![&rsa], ..SdChanges::default() };
        tam.carry_out(&mut guest, Command::UpdateSd { spid: SP, name: SD, changes: added })?;
        Ok(Self { guest, keys, tam })
    }

    fn round(&mut self, size: usize, round: usize) -> Result<Round> {
        let elf = elf(size, round)?;
        self.guest.put("/tmp/elf", &elf)?;
        // What is deleted may come back in the same version, and not in a lower one.
        let version = 1;
        let raw = self.timed(&format!("otrp-lab install {UUID} {version} /tmp/elf"))?;
        self.guest.run(&format!("otrp-lab remove {UUID}"))?.success()?;

        let (cbc, _) = self.otrp(&elf, version, "sp-ec", TaEncryption::AesCbc)?;
        let (gcm, _) = self.otrp(&elf, version, "sp-ec", TaEncryption::A256Gcm)?;
        let (rsa, _) = self.otrp(&elf, version, "sp-rsa", TaEncryption::A256Gcm)?;
        Ok(Round { cbc, gcm, rsa, raw })
    }

    /// Installs through OTrP and deletes again; the time of the installation and the length of its
    /// message.
    fn otrp(
        &mut self,
        elf: &[u8],
        version: u32,
        signer: &str,
        encryption: TaEncryption,
    ) -> Result<(Duration, usize)> {
        let Self { guest, keys, tam } = self;
        let signer = file::read_key(&keys.join(format!("{signer}.key.pem")))?;
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
        let Reply::Answer(answer) = Reply::read(&carried.answer)? else {
            bail!("an agent's error")
        };
        match answer.outcome(Some(&request.exchange), &tam.identity, &target.certificate)? {
            Outcome::Pass(_) => {}
            Outcome::Fail(refusal) => bail!("InstallTA is refused: {refusal:?}"),
        }
        tam.carry_out(guest, Command::DeleteTa { spid: None, name: SD, taid: "bench" })?;
        Ok((carried.elapsed, request.message.len()))
    }

    fn timed(&mut self, command: &str) -> Result<Duration> {
        let script = format!(
            "read start rest </proc/uptime; {command}; status=$?; read end rest </proc/uptime; \
             echo $start $end; exit $status"
        );
        let before = Instant::now();
        let output: Output = self.guest.run(&script)?.success().context(command.to_owned())?;
        let text = output.text();
        let last = text.lines().last().and_then(|line| line.split_once(' '));
        let (start, end) = last.context("the guest's clock is missing")?;
        let time = end.parse::<f64>()? - start.parse::<f64>()?;
        Ok(Duration::try_from_secs_f64(time).unwrap_or_else(|_| before.elapsed()))
    }

    /// What one operation of each port costs in this TEE, in microseconds.
    fn port_costs(&mut self) -> Result<BTreeMap<String, u32>> {
        let text = self.guest.run("otrp-lab times")?.success()?.text();
        text.lines()
            .map(|line| {
                let (name, cost) = line.split_once(' ').context("no cost")?;
                Ok((name.to_owned(), cost.parse()?))
            })
            .collect()
    }
}

/// A program that does not compress.
fn elf(size: usize, seed: usize) -> Result<Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ seed as u64;
    let mut contents = Vec::with_capacity(size);
    while contents.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        contents.extend(state.to_le_bytes());
    }
    contents.truncate(size - fixture::SMALLEST);
    Ok(fixture::application(UUID.parse::<Uuid>()?.0, &contents))
}
