//! A TAM's operator at the device: single messages, created by the TAM's library and carried by the
//! agent, so that each can be modified.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use otrp_keys::certificate::{self, Identity as KeyPair, Purpose, Template, Validity};
use otrp_keys::device::Authority;
use otrp_keys::ocsp::{Period, Statement, Status};
use otrp_keys::{development, file};
use otrp_tam::certificate::TeeRoots;
use otrp_tam::dsi::DeviceState;
use otrp_tam::identity::Identity;
use otrp_tam::request::{Builder, Command, Exchange, Request, Target};
use otrp_tam::response::{Outcome, Passed, Reply, StateAnswer};
use serde_json::Value;

use crate::harness::guest::{COMMAND_TIMEOUT, Guest, Output};

/// Validity of the OCSP responses for a run: longer than any run takes.
pub const OCSP_HOURS: u16 = 24;

/// One TAM, by its keys.
pub struct Operator {
    /// Who signs.
    pub identity: Identity,
    roots: TeeRoots,
}

/// What the agent returned for one message.
#[derive(Debug)]
pub struct Carried {
    /// The answer.
    pub answer: Vec<u8>,
    /// How the agent ended.
    pub status: i32,
    /// From handing the message to the guest to having the answer.
    pub elapsed: Duration,
}

impl Operator {
    /// The TAM `name` of the development keys, with new OCSP responses.
    pub fn read(keys: &Path, name: &str) -> Result<Self> {
        let path = |suffix: &str| keys.join(format!("{name}{suffix}"));
        let root = file::read_certificates(&keys.join("tee-root.pem"))?;
        let identity = Identity::read(&path(".key.pem"), &path(".chain.pem"), None)?;
        // The rogue TAM's root has no responder, and no device asks for it.
        let responses = match name {
            "rogue-tam" => Vec::new(),
            _ => development::responses(keys, name, Period::hours(OCSP_HOURS))?.into(),
        };
        Ok(Self { identity: identity.staple(responses), roots: TeeRoots::new(root)? })
    }

    /// A new TAM under the development root with one more authority in between, so that its chain
    /// is three certificates and the root, and each of the three has a delegated responder's answer.
    pub fn below_two_authorities(keys: &Path) -> Result<Self> {
        let period = Period::hours(OCSP_HOURS);
        let mut issuer = KeyPair {
            key: file::read_key(&keys.join("tam-root.key.pem"))?,
            certificate: file::read_certificates(&keys.join("tam-root.pem"))?.remove(0),
        };
        let mut chain = vec![issuer.certificate.clone()];
        let mut responses = Vec::new();
        for (common_name, purpose, uri) in [
            ("OTrP development TAM policy CA", Purpose::Authority, None),
            ("OTrP development TAM lower CA", Purpose::IssuingAuthority, None),
            ("OTrP development TAM far down", Purpose::Party, Some("https://deep.tam.example")),
        ] {
            let below = issued(common_name, purpose, uri, &issuer)?;
            let responder = issued("OTrP development OCSP", Purpose::OcspResponder, None, &issuer)?;
            let (certificate, above) = (&below.certificate, &issuer.certificate);
            let good = Statement { certificate, issuer: above, status: Status::Good, period };
            responses.insert(0, good.sign(&responder)?);
            chain.insert(0, below.certificate.clone());
            issuer = below;
        }
        let identity = Identity::new(issuer.key, chain, None)?.staple(responses);
        let root = file::read_certificates(&keys.join("tee-root.pem"))?;
        Ok(Self { identity, roots: TeeRoots::new(root)? })
    }

    /// A new TAM of this identifier, with the development TAMs' authority.
    pub fn issued(keys: &Path, uri: &str) -> Result<Self> {
        let period = Period::hours(OCSP_HOURS);
        let root = KeyPair {
            key: file::read_key(&keys.join("tam-root.key.pem"))?,
            certificate: file::read_certificates(&keys.join("tam-root.pem"))?.remove(0),
        };
        let tam = issued("OTrP development TAM", Purpose::Party, Some(uri), &root)?;
        let responder = issued("OTrP development OCSP", Purpose::OcspResponder, None, &root)?;
        let (certificate, issuer) = (&tam.certificate, &root.certificate);
        let good = Statement { certificate, issuer, status: Status::Good, period };
        let chain = vec![tam.certificate.clone(), root.certificate.clone()];
        let identity = Identity::new(tam.key, chain, None)?.staple(vec![good.sign(&responder)?]);
        let tee_root = file::read_certificates(&keys.join("tee-root.pem"))?;
        Ok(Self { identity, roots: TeeRoots::new(tee_root)? })
    }

    /// The device's state for this TAM, verified.
    pub fn state(&self, guest: &mut Guest) -> Result<DeviceState> {
        let request = Builder::device_state(&self.identity).build()?;
        let reply = carry(guest, &request.message)?;
        self.read_state(&reply.answer, &request.exchange)
    }

    /// The state in `answer`, verified.
    pub fn read_state(&self, answer: &[u8], exchange: &Exchange) -> Result<DeviceState> {
        let Reply::Answer(answer) = Reply::read(answer)? else { bail!("an agent's error") };
        let claimed = match answer.claimed_refusal() {
            Some(refusal) => format!("an answer that claims {refusal:?}"),
            None => "an answer that claims success".to_owned(),
        };
        let judged = answer.device_state(Some(exchange), &self.identity, &self.roots);
        match judged.context(claimed)? {
            StateAnswer::State { state, .. } => Ok(*state),
            StateAnswer::Refused(refusal) => bail!("refused: {refusal:?}"),
        }
    }

    /// The outcome of a command, verified.
    pub fn send(&self, guest: &mut Guest, request: &Request, target: &Target) -> Result<Outcome> {
        let reply = carry(guest, &request.message)?;
        self.read_outcome(&reply.answer, &request.exchange, target)
    }

    /// The outcome in `answer`, verified.
    pub fn read_outcome(
        &self,
        answer: &[u8],
        exchange: &Exchange,
        target: &Target,
    ) -> Result<Outcome> {
        let Reply::Answer(answer) = Reply::read(answer)? else { bail!("an agent's error") };
        Ok(answer.outcome(Some(exchange), &self.identity, &target.certificate)?)
    }

    /// Asks for the state, and sends a command that must pass.
    pub fn carry_out(&self, guest: &mut Guest, command: Command<'_>) -> Result<Passed> {
        let target = Target::from(&self.state(guest)?);
        let request = Builder::command(&self.identity, &target, command).build()?;
        match self.send(guest, &request, &target)? {
            Outcome::Pass(passed) => Ok(*passed),
            Outcome::Fail(refusal) => bail!("refused: {refusal:?}"),
        }
    }
}

/// A new P-256 key and its certificate by `issuer`.
fn issued(
    common_name: &str,
    purpose: Purpose,
    uri: Option<&str>,
    issuer: &KeyPair,
) -> Result<KeyPair> {
    let key = certificate::generate_p256()?;
    let validity = Validity::years(1);
    let template =
        Template { organization: "OTrP development", common_name, purpose, validity, uri };
    let certificate = template.issue(&key, issuer)?;
    Ok(KeyPair { key, certificate })
}

/// Provisions the device's TEE: request out, certified by the maker, chain in.
pub fn provision(guest: &mut Guest, keys: &Path) -> Result<()> {
    let request = guest.run("otrp-agent csr")?.success()?.stdout;
    let chain = Authority::read(&keys.join("tee-ca"))?.certify(&request)?;
    guest.put("/tmp/tee.chain.pem", &file::chain_pem(&chain)?)?;
    guest.run("otrp-agent import-cert /tmp/tee.chain.pem")?.success()?;
    Ok(())
}

/// Hands a message to the agent in the guest.
pub fn carry(guest: &mut Guest, message: &[u8]) -> Result<Carried> {
    // A timer in the guest, so that the way of the message into it is not counted.
    let script = "cat >/tmp/message; read start rest </proc/uptime; \
                  otrp-agent process </tmp/message; status=$?; \
                  read end rest </proc/uptime; echo $start $end >&2; exit $status";
    let output = guest.run_with(script, message, COMMAND_TIMEOUT)?;
    let elapsed = guest_time(&output).context("the guest's clock is missing")?;
    ensure!(matches!(output.status, 0 | 1 | 75), "the agent ended with status {}", output.status);
    Ok(Carried { answer: output.stdout, status: output.status, elapsed })
}

/// The time between the two readings of the guest's uptime on the last line.
fn guest_time(output: &Output) -> Option<Duration> {
    let text = output.error_text();
    let (start, end) = text.lines().last()?.split_once(' ')?;
    Duration::try_from_secs_f64(end.parse::<f64>().ok()? - start.parse::<f64>().ok()?).ok()
}

/// The error code of a refusal that is signed but not encrypted, or the agent's.
pub fn plain_error(answer: &[u8]) -> Result<String> {
    use base64::Engine as _;
    let outer: Value = serde_json::from_slice(answer).context("the answer is no JSON")?;
    let (name, value) = outer.as_object().and_then(|map| map.iter().next()).context("empty")?;
    if name == "OTrPBrokerError" {
        return Ok(value["errcode"].as_str().unwrap_or_default().to_owned());
    }
    let value = if name == "GetDeviceStateResponse" {
        &value[0]["GetDeviceTEEStateResponse"]
    } else {
        value
    };
    let payload = value["payload"].as_str().context("no payload")?;
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload)?;
    let inner: Value = serde_json::from_slice(&payload)?;
    let tbs = inner.as_object().and_then(|map| map.values().next()).context("empty")?;
    ensure!(tbs["status"] == "fail", "it passed: {tbs}");
    ensure!(tbs.get("content").is_none(), "the refusal has a content");
    Ok(tbs["reason"]["error-code"].as_str().unwrap_or_default().to_owned())
}
