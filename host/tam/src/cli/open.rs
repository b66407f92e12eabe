//! `otrp-tam open`: an answer or a TAInformation, verified and decrypted.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, ensure};
use clap::Args;
use openssl::pkey::{PKey, Public};
use otrp_tam::desired::TamSettings;
use otrp_tam::dsi::{AttestationKey, DeviceState};
use otrp_tam::encoding::Single;
use otrp_tam::foreign::{self, Foreign};
use otrp_tam::identity::Identity;
use otrp_tam::jose::{Jws, NotOpened};
use otrp_tam::response::{Answer, Outcome, Refused, Reply, StateAnswer};
use otrp_tam::ta_information::TaInformation;
use otrp_wire::RequestName;
use serde_json::{Map, Value, json};

use super::device::DeviceArguments;

#[derive(Args)]
pub struct OpenArguments {
    /// File with the message; `-` is standard input.
    file: PathBuf,
    /// Configuration whose `[tam]` the message is for.
    #[arg(long)]
    config: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArguments,
    /// Transaction that the message must belong to.
    #[arg(long)]
    tid: Option<String>,
    /// Request that the message must answer.
    #[arg(long)]
    rid: Option<String>,
    /// File to save the device state to.
    #[arg(long)]
    dsi_out: Option<PathBuf>,
}

impl OpenArguments {
    pub fn run(&self) -> anyhow::Result<()> {
        let mut message = Vec::new();
        if self.file == Path::new("-") {
            std::io::stdin().read_to_end(&mut message)?;
        } else {
            message = std::fs::read(&self.file)
                .with_context(|| format!("cannot read {}", self.file.display()))?;
        }
        let opened = match serde_json::from_slice::<Single<Value>>(&message) {
            Ok(outer) if outer.name == "TAInformation" => self.ta_information(&message)?,
            _ => self.reply(&message)?,
        };
        writeln!(std::io::stdout(), "{}", foreign::json(&opened)?)?;
        Ok(())
    }

    fn reply(&self, message: &[u8]) -> anyhow::Result<Value> {
        let answer = match Reply::read(message)? {
            Reply::AgentError { code, rid, tid } => {
                return Ok(json!({ "agent-error": code, "rid": rid, "tid": tid }));
            }
            Reply::Answer(answer) => answer,
        };
        let wanted = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        let (tid, rid) = (Foreign::new(answer.tid()), Foreign::new(answer.rid()));
        ensure!(wanted(&self.tid, answer.tid()), "an answer of the transaction {tid:?}");
        ensure!(wanted(&self.rid, answer.rid()), "an answer to the request {rid:?}");
        let config = self.config.as_ref().context("for which TAM is it? Give --config")?;
        let settings = TamSettings::read(config)?;
        let mut opened = Map::new();
        opened.insert("message".into(), answer.name().response().into());
        opened.insert("rid".into(), answer.rid().into());
        opened.insert("tid".into(), answer.tid().into());
        match answer.name() {
            RequestName::GetDeviceState => {
                self.add_device_state(&answer, &settings, &mut opened)?
            }
            _ => self.add_outcome(&answer, &settings, &mut opened)?,
        }
        Ok(Value::Object(opened))
    }

    fn add_device_state(
        &self,
        answer: &Answer,
        settings: &TamSettings,
        opened: &mut Map<String, Value>,
    ) -> anyhow::Result<()> {
        let open = |identity: &Identity| answer.device_state(None, identity, &settings.tee_roots);
        match open_as_any(settings, open)? {
            StateAnswer::Refused(refusal) => {
                opened.insert("status".into(), "fail".into());
                opened.insert("verified".into(), false.into());
                opened.insert("reason".into(), serde_json::to_value(refusal)?);
            }
            StateAnswer::State { state, signer_required, .. } => {
                opened.insert("status".into(), "pass".into());
                opened.insert("verified".into(), true.into());
                opened.insert("signerreq".into(), signer_required.into());
                self.add_state(&state, opened)?;
            }
        }
        Ok(())
    }

    fn add_outcome(
        &self,
        answer: &Answer,
        settings: &TamSettings,
        opened: &mut Map<String, Value>,
    ) -> anyhow::Result<()> {
        let certificate = self.device.target()?.certificate;
        let open = |identity: &Identity| answer.outcome(None, identity, &certificate);
        let outcome = open_as_any(settings, open)?;
        opened.insert("verified".into(), true.into());
        match outcome {
            Outcome::Fail(refusal) => {
                opened.insert("status".into(), "fail".into());
                opened.insert("reason".into(), serde_json::to_value(refusal)?);
            }
            Outcome::Pass(passed) => {
                opened.insert("status".into(), "pass".into());
                if let Some(name) = &passed.sd_name {
                    opened.insert("sdname".into(), name.as_str().into());
                }
                if let Some(key) = &passed.attestation_key {
                    opened.insert("teespaik".into(), key.as_str().into());
                }
                if let Some(state) = &passed.state {
                    self.add_state(state, opened)?;
                }
            }
        }
        Ok(())
    }

    fn add_state(
        &self,
        state: &DeviceState,
        opened: &mut Map<String, Value>,
    ) -> anyhow::Result<()> {
        if let Some(path) = &self.dsi_out {
            std::fs::write(path, &state.document)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        opened.insert("did".into(), state.device_id.as_str().into());
        opened.insert("dsihash".into(), state.hash.as_str().into());
        opened.insert("dsi".into(), serde_json::to_value(&state.dsi)?);
        Ok(())
    }

    fn ta_information(&self, message: &[u8]) -> anyhow::Result<Value> {
        let key = match self.device.attestation_key()? {
            Some(key) => key,
            None => self.known_attestation_key(message)?,
        };
        Ok(json!({
            "message": "TAInformation",
            "verified": true,
            "information": TaInformation::verify(message, &key)?,
        }))
    }

    /// The attestation key, known to be on the device, of the SP that the message names.
    fn known_attestation_key(&self, message: &[u8]) -> anyhow::Result<PKey<Public>> {
        // serde's errors quote the message.
        let unread = |error: serde_json::Error| anyhow!("{:?}", Foreign::new(error.to_string()));
        let jws: Single<Jws> = serde_json::from_slice(message).map_err(unread)?;
        let claimed: Single<TaInformation> =
            serde_json::from_slice(&jws.value.unverified_payload()?).map_err(unread)?;
        let spid = claimed.value.spid;
        let target = self.device.target()?;
        target
            .attestation_keys
            .iter()
            .find(|key| key.spid == spid)
            .and_then(AttestationKey::public_key)
            .with_context(|| {
                format!("the device has no attestation key of {:?}", Foreign::new(spid))
            })
    }
}

/// Opens an answer with the first of the TAM's keys, or with the other one if it was encrypted for
/// that.
fn open_as_any<T>(
    settings: &TamSettings,
    open: impl Fn(&Identity) -> Result<T, Refused>,
) -> Result<T, Refused> {
    let unfit = |refused: &Refused| {
        matches!(refused, Refused::Jose(NotOpened::Algorithm | NotOpened::Decryption))
    };
    match (open(&settings.identity), &settings.alternative) {
        (Err(refused), Some(alternative)) if unfit(&refused) => open(alternative),
        (opened, _) => opened,
    }
}
