//! The demonstration, step by step: a TAM installs, updates and deletes an application in OP-TEE.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::ecdsa::EcdsaSig;
use openssl::nid::Nid;

use crate::harness::device::Device;
use crate::harness::guest::Guest;
use crate::harness::image::{Builds, Image};
use crate::harness::machine::Machine;
use crate::scenario::deployment::{DOMAIN, Deployment, Desired, SERVICE_PROVIDER, SIGNER, Suite};
use crate::scenario::report::{Party, Report, Step};

/// The exit code of the client when there is no trusted application of that UUID.
const ITEM_NOT_FOUND: i32 = 4;
/// The exit code of the client when the service provider's limit is reached.
const USED_UP: i32 = 5;
/// What the service provider sends with the sample, and what it sends later.
const PERSONALIZATION: [&str; 2] =
    ["label=Example Bank, till 7\nuse-limit=2\n", "label=Example Bank, till 8\nuse-limit=3\n"];
/// SHA-256 of `abc` (FIPS 180-4, appendix B.1): something to sign.
const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// How many steps there are.
pub const STEPS: usize = 14;

/// Runs all steps on a new device in `device`.
///
/// # Errors
/// The first step that fails, with the ends of the logs.
pub fn run(builds: &Builds, device: &Path, suite: Suite, report: &mut dyn Report) -> Result<()> {
    let start = Instant::now();
    let device = Device::open_or_create(device)?;
    device.wipe()?;
    let folder = device.directory().join("tam");
    let _ = std::fs::remove_dir_all(&folder);
    let mut steps = Steps { report, count: 0 };

    let deployment =
        steps.step(Party::Tam, "TAM started, sample signed by its service provider", || {
            Ok((Deployment::start(builds, folder, suite)?, String::new()))
        })?;
    let image = || builds.image(suite.image());
    let outcome = drive(&mut steps, &deployment, device, &image);
    if outcome.is_err() {
        let log = deployment.tam_log();
        let lines: Vec<_> = log.lines().collect();
        steps.report.line("--- end of tam.log");
        for line in &lines[lines.len().saturating_sub(15)..] {
            steps.report.line(line);
        }
    }
    outcome?;
    steps.report.finished(steps.count, start.elapsed());
    Ok(())
}

fn drive(
    steps: &mut Steps<'_>,
    deployment: &Deployment,
    device: Device,
    image: &dyn Fn() -> Result<Image>,
) -> Result<()> {
    let mut guest = steps.step(Party::Tee, "OP-TEE and Linux booted on a new device", || {
        Ok((Machine::new(device, image()?).boot()?, String::new()))
    })?;
    let outcome = before_reboot(steps, deployment, &mut guest);
    with_logs(&guest, outcome)?;

    let device = guest.power_off()?;
    let mut guest = steps.step(Party::Tee, "rebooted", || {
        Ok((Machine::new(device, image()?).boot()?, String::new()))
    })?;
    let outcome = after_reboot(steps, deployment, &mut guest);
    with_logs(&guest, outcome)?;
    guest.power_off()?;
    Ok(())
}

fn before_reboot(steps: &mut Steps<'_>, deployment: &Deployment, guest: &mut Guest) -> Result<()> {
    steps.step(Party::Tee, "first start: the TEE made its key, nothing is certified", || {
        let status = guest.run("otrp-agent status")?.success()?.text();
        ensure!(status.contains("\"provisioned\":false"), "unexpected status {status}");
        ensure!(client(guest, "version")?.is_none(), "the sample is there before it is installed");
        Ok(((), status))
    })?;
    steps.step(
        Party::Tee,
        "certification request out, maker's CA certified it, chain in",
        || {
            deployment.provision(guest)?;
            let status = guest.run("otrp-agent status")?.success()?.text();
            ensure!(status.contains("\"provisioned\":true"), "unexpected status {status}");
            Ok(((), String::new()))
        },
    )?;
    steps.step(
        Party::Tam,
        "GetDeviceState, CreateSD, InstallTA with personalization data",
        || {
            deployment.desire(signer(1, Some(PERSONALIZATION[0])))?;
            let lines = deployment.converge(guest)?;
            expect_messages(&lines, &["GetDeviceState", "CreateSD", "InstallTA"])?;
            Ok(((), compact(&lines)))
        },
    )?;
    steps.step(
        Party::Tee,
        "client opened the sample by UUID: version 1, no file of it in Linux",
        || {
            ensure!(client(guest, "version")?.as_deref() == Some("1"), "version 1 does not answer");
            let files = guest.run("find / -xdev -name '*.ta' -o -xdev -iname '*7265664a*'")?;
            ensure!(files.text().is_empty(), "there is a file of it in Linux: {}", files.text());
            signature(guest)?;
            Ok(((), format!("made a key, signed with it; its label: {}", label(guest, 7)?)))
        },
    )?;
    steps.step(
        Party::Tam,
        "UpdateSD adds a signer, UpdateTA to version 2, and the client sees it",
        || {
            deployment.desire(signer(2, Some(PERSONALIZATION[0])))?;
            let lines = deployment.converge(guest)?;
            expect_messages(&lines, &["GetDeviceState", "UpdateSD", "UpdateTA"])?;
            ensure!(client(guest, "version")?.as_deref() == Some("2"), "version 2 does not answer");
            client(guest, "sign-message hello")?.context("version 2 does not sign messages")?;
            label(guest, 7)?;
            used_up(guest)?;
            Ok(((), compact(&lines)))
        },
    )?;
    steps.step(
        Party::Tam,
        "UpdateTA of the personalization data alone: another label, one more use",
        || {
            deployment.desire(signer(2, Some(PERSONALIZATION[1])))?;
            let lines = deployment.converge(guest)?;
            expect_messages(&lines, &["GetDeviceState", "UpdateTA"])?;
            let label = label(guest, 8)?;
            client(guest, &format!("sign {DIGEST}"))?.context("the sample is gone")?;
            used_up(guest)?;
            Ok(((), format!("{}; its label: {label}", compact(&lines))))
        },
    )?;
    steps.step(
        Party::Tee,
        "GetTAInformation, its signature verified with the provider's key",
        || ta_information(deployment, guest),
    )
}

fn after_reboot(steps: &mut Steps<'_>, deployment: &Deployment, guest: &mut Guest) -> Result<()> {
    steps.step(
        Party::Tee,
        "all is still there: certificate, sample, its key and counter",
        || {
            let status = guest.run("otrp-agent status")?.success()?.text();
            ensure!(status.contains("\"provisioned\":true"), "unexpected status {status}");
            ensure!(client(guest, "version")?.as_deref() == Some("2"), "version 2 does not answer");
            let counter = client(guest, "counter")?.context("the sample is gone")?;
            ensure!(counter == "3", "the counter of uses is {counter}, not 3");
            label(guest, 8)?;
            used_up(guest)?;
            ta_information(deployment, guest)
        },
    )?;
    steps.step(Party::Tam, "DeleteTA: the client's call finds nothing", || {
        deployment.desire(Desired::Domain)?;
        let lines = deployment.converge(guest)?;
        expect_messages(&lines, &["GetDeviceState", "DeleteTA"])?;
        ensure!(client(guest, "version")?.is_none(), "the sample still answers");
        Ok(((), compact(&lines)))
    })?;
    steps.step(
        Party::Tam,
        "InstallTA again, without data: the old data and its own key went with the old installation",
        || {
            deployment.desire(signer(2, None))?;
            let lines = deployment.converge(guest)?;
            expect_messages(&lines, &["GetDeviceState", "InstallTA"])?;
            let output = guest.run("otrp-signer-client label")?;
            ensure!(output.status == 1 && output.text().is_empty(), "there is a label: {output:?}");
            let output = guest.run(&format!("otrp-signer-client sign {DIGEST}"))?;
            ensure!(output.status == 1 && output.text().is_empty(), "it has a key: {output:?}");
            signature(guest)?;
            deployment.desire(Desired::Domain)?;
            expect_messages(&deployment.converge(guest)?, &["GetDeviceState", "DeleteTA"])?;
            Ok(((), compact(&lines)))
        },
    )?;
    steps.step(Party::Tam, "DeleteSD: the device is as it was", || {
        deployment.desire(Desired::Nothing)?;
        let lines = deployment.converge(guest)?;
        expect_messages(&lines, &["GetDeviceState", "DeleteSD"])?;
        let lines = deployment.converge(guest)?;
        expect_messages(&lines, &["GetDeviceState"])?;
        Ok(((), compact(&lines)))
    })
}

const fn signer(version: u32, personalization: Option<&'static str>) -> Desired {
    Desired::Signer { version, personalization }
}

/// The sample's label, which must be that of this till.
fn label(guest: &mut Guest, till: u32) -> Result<String> {
    let label = client(guest, "label")?.context("the sample is gone")?;
    ensure!(label == format!("Example Bank, till {till}"), "the label is {label:?}");
    Ok(label)
}

/// Checks that the sample refuses to sign again.
fn used_up(guest: &mut Guest) -> Result<()> {
    let output = guest.run(&format!("otrp-signer-client sign {DIGEST}"))?;
    ensure!(output.status == USED_UP && output.text().is_empty(), "it signs: {output:?}");
    Ok(())
}

/// The client's answer; `None` if there is no such trusted application.
fn client(guest: &mut Guest, arguments: &str) -> Result<Option<String>> {
    let output = guest.run(&format!("otrp-signer-client {arguments}"))?;
    if output.status == ITEM_NOT_FOUND {
        return Ok(None);
    }
    Ok(Some(output.success()?.text()))
}

/// Lets the sample generate a key and sign, and verifies the signature.
fn signature(guest: &mut Guest) -> Result<()> {
    let mut ask = |arguments: &str| client(guest, arguments)?.context("the sample is gone");
    ask("generate")?;
    let public = hex::decode(ask("public-key")?)?;
    let signature = hex::decode(ask(&format!("sign {DIGEST}"))?)?;
    ensure!(signature.len() == 64, "a signature of {} bytes", signature.len());
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let point = EcPoint::from_bytes(&group, &public, &mut *BigNumContext::new()?)?;
    let key = EcKey::from_public_key(&group, &point)?;
    let (r, s) = signature.split_at(32);
    let signature =
        EcdsaSig::from_private_components(BigNum::from_slice(r)?, BigNum::from_slice(s)?)?;
    ensure!(signature.verify(&hex::decode(DIGEST)?, &key)?, "the sample's signature is wrong");
    Ok(())
}

/// Verifies the TEE's statement about the sample with the TAM's program.
fn ta_information(deployment: &Deployment, guest: &mut Guest) -> Result<((), String)> {
    let message =
        guest.run(&format!("otrp-agent ta-info {SERVICE_PROVIDER} {SIGNER}"))?.success()?.stdout;
    let path = deployment.folder().join("ta-information.json");
    std::fs::write(&path, message)?;
    let text = deployment.open(&path)?;
    ensure!(text.contains(SIGNER) && text.contains(deployment.suite().tam_id()), "{text}");
    Ok(((), format!("{SIGNER} in {DOMAIN}")))
}

/// Checks that the agent's lines are about these messages, all of them passed.
pub fn expect_messages(lines: &[String], names: &[&str]) -> Result<()> {
    let matches = lines.len() == names.len()
        && lines.iter().zip(names).all(|(line, name)| line.contains(name) && line.contains("pass"));
    ensure!(matches, "expected {names:?} to pass, the agent says:\n{}", lines.join("\n"));
    Ok(())
}

/// The agent's lines, joined.
fn compact(lines: &[String]) -> String {
    let line = |line: &String| line.split_whitespace().collect::<Vec<_>>().join(" ");
    lines.iter().map(line).collect::<Vec<_>>().join(", ")
}

/// Adds the ends of the guest's logs to an error.
fn with_logs<T>(guest: &Guest, result: Result<T>) -> Result<T> {
    result.map_err(|error| {
        let mut report = format!("{error:#}");
        for (name, log) in [("console", guest.console_log()), ("secure world", guest.secure_log())]
        {
            let log = log.unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(15)..];
            let _ = write!(report, "\n--- end of the {name}'s log\n{}", tail.join("\n"));
        }
        anyhow::anyhow!(report)
    })
}

struct Steps<'r> {
    report: &'r mut dyn Report,
    count: usize,
}

impl Steps<'_> {
    /// Runs one step, which returns a value and a detail to show, and reports it.
    fn step<T>(
        &mut self,
        party: Party,
        what: &str,
        action: impl FnOnce() -> Result<(T, String)>,
    ) -> Result<T> {
        self.count += 1;
        let step = Step { number: self.count, total: STEPS, party, what };
        self.report.begin(&step);
        let start = Instant::now();
        let result = action();
        match &result {
            Ok((_, detail)) => self.report.passed(&step, start.elapsed(), detail),
            Err(_) => self.report.failed(&step, start.elapsed()),
        }
        let (value, _) = result.with_context(|| what.to_owned())?;
        Ok(value)
    }
}
