//! Lives of a device: commands of two TAMs, power cuts, errors, restarts, replays and a clock that
//! jumps, against a model.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use arbitrary::{Result, Unstructured};
use otrp_engine::platform::{Blob, PortError};
use otrp_sim::{Cut, Fault, Moment};
use otrp_tam::dsi::DeviceState;
use otrp_tam::request::{self, Builder, Command, SdChanges, Target};

use crate::model::{Model, Operation};
use crate::mutate::once_in;
use crate::stage::{Device, STAPLED_HOURS, program, stage};

const PROVIDERS: [&str; 2] = ["first-sp.example", "second-sp.example"];
const DOMAINS: [&str; 2] = ["payments", "vouchers"];
const APPLICATIONS: [&str; 2] = ["wallet", "points"];
const UUIDS: u8 = 3;
const VERSIONS: u32 = 3;
/// Commands of one life; each takes some milliseconds.
const LONGEST_LIFE: usize = 12;
/// More port operations than any command has.
const MOST_PORT_OPERATIONS: usize = 40;

/// Lives the life that the bytes choose.
pub fn operations(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let mut life = Life {
        device: Device::provisioned(),
        model: Model::default(),
        seen: None,
        sent: Vec::new(),
    };
    for _ in 0..LONGEST_LIFE {
        if u.is_empty() || life.step(&mut u).is_err() {
            break;
        }
    }
    for tam in 0..=1 {
        life.look(tam);
    }
}

struct Life {
    device: Device,
    model: Model,
    /// The state that a TAM saw last, if nothing has changed since.
    seen: Option<(u8, DeviceState)>,
    /// Commands that were carried out; none is ever again.
    sent: Vec<(u8, request::Request)>,
}

impl Life {
    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        match u.int_in_range(0..=11)? {
            0 => self.device.reboot(),
            1 => self.set_clock(u)?,
            2 => self.replay(u)?,
            _ => self.command(u)?,
        }
        Ok(())
    }

    /// Until the responses end, whatever the clock shows does no harm; later nothing is accepted.
    fn set_clock(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let (now, hours) = (stage().now, u64::from(STAPLED_HOURS));
        let clocks = [now, 0, now / 2, now + hours * 3600 - 1, now + hours * 3600, u64::MAX];
        let clock = *u.choose(&clocks)?;
        *self.device.world.clock.borrow_mut() = clock;
        if clock >= now + hours * 3600 {
            let tam = usize::from(u.arbitrary::<bool>()?);
            let refusal = self.device.state(&stage().tams[tam]).map(|_| ());
            assert_eq!(refusal, Err("ERR_TAM_NOT_TRUSTED".into()));
            *self.device.world.clock.borrow_mut() = now;
        }
        Ok(())
    }

    fn replay(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if self.sent.is_empty() {
            return Ok(());
        }
        let (tam, request) = u.choose(&self.sent)?;
        let before = self.device.world.snapshot();
        let outcome = self.device.send(&stage().tams[usize::from(*tam)], request);
        assert!(outcome.is_err(), "accepted twice");
        assert!(self.device.world.snapshot() == before, "a replay changed something");
        Ok(())
    }

    /// Sends a command, perhaps with a fault on its way.
    fn command(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let tam = u.int_in_range(0..=1)?;
        let operation = choose(u)?;
        let next_dsi = u.arbitrary()?;
        let fault = match u.int_in_range(0..=5)? {
            4 => Some(Fault::Cut),
            5 => Some(Fault::Error(*u.choose(&[
                PortError::Full,
                PortError::Corrupt,
                PortError::Denied,
                PortError::Failed,
            ])?)),
            _ => None,
        };
        let place = u.int_in_range(0..=MOST_PORT_OPERATIONS)?;
        let moment = *u.choose(&[Moment::Before, Moment::After])?;
        let both = once_in(u, 4)?;

        let state = match self.seen.take() {
            Some((owner, state)) if owner == tam => state,
            _ => self.look(tam),
        };
        let Some(request) = build(tam, operation, next_dsi, &Target::from(&state)) else {
            return Ok(());
        };
        let expected = self.model.after(tam, operation);
        if let Some(fault) = fault {
            self.device.world.faults.plan(place, moment, fault);
        }
        let sent = self.send(tam, &request);
        self.device.world.faults.clear();
        match (&sent, &expected, fault) {
            (Ok(()), Ok(next), _) => {
                self.model = next.clone();
                self.sent.push((tam, request));
            }
            (Err(code), Err(wanted), None) => assert_eq!(code, wanted, "{operation:?}"),
            (_, Ok(next), Some(_)) => self.find_side(next.clone(), tam),
            (Err(_), Err(_), Some(_)) => {}
            other => panic!("{operation:?}: {other:?}"),
        }
        if both {
            self.look(1 - tam);
        }
        self.seen = Some((tam, self.look(tam)));
        Ok(())
    }

    fn send(&mut self, tam: u8, request: &request::Request) -> core::result::Result<(), String> {
        let tam = &stage().tams[usize::from(tam)];
        match catch_unwind(AssertUnwindSafe(|| self.device.send(tam, request))) {
            Ok(outcome) => outcome,
            Err(panic) if panic.is::<Cut>() => {
                self.device.reboot();
                Err("the power was cut".into())
            }
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Finds out whether a faulted command was carried out: it was, or nothing was.
    fn find_side(&mut self, next: Model, tam: u8) {
        let state = self.device.state(&stage().tams[usize::from(tam)]).expect("a state");
        if agrees(&next, tam, &state) && self.device.versions() == versions(&next) {
            self.model = next;
        }
    }

    /// The state for a TAM, which must be the model's, and nothing may be stored that is not in it.
    fn look(&mut self, tam: u8) -> DeviceState {
        let state = self.device.state(&stage().tams[usize::from(tam)]).expect("a state");
        let model = &self.model;
        assert!(agrees(model, tam, &state), "{model:?} is not {:?}", state.dsi.tee.sdlist);
        assert_eq!(self.device.versions(), versions(model), "the applications");
        let blobs = &self.device.world.stored.borrow().blobs;
        let count = |is: fn(&Blob) -> bool| blobs.keys().filter(|blob| is(blob)).count();
        let certificates = count(|blob| matches!(blob, Blob::SpCertificates(_)));
        assert_eq!(certificates, model.domains.len(), "certificates");
        let data = count(|blob| matches!(blob, Blob::Personalization(_)));
        assert_eq!(data, versions(model).len(), "personalization data");
        state
    }
}

fn choose(u: &mut Unstructured<'_>) -> Result<Operation> {
    let (sp, domain) = (u.int_in_range(0..=1)?, u.int_in_range(0..=1)?);
    let ta = |u: &mut Unstructured<'_>| -> Result<(u8, u8, u32)> {
        Ok((u.int_in_range(0..=1)?, u.int_in_range(1..=UUIDS)?, u.int_in_range(0..=VERSIONS)?))
    };
    Ok(match u.int_in_range(0..=9)? {
        0 | 1 => Operation::CreateSd(sp, domain),
        2 => {
            let (new_sp, new_domain) = (u.int_in_range(0..=1)?, u.int_in_range(0..=1)?);
            Operation::UpdateSd(sp, domain, new_sp, new_domain, u.arbitrary()?)
        }
        3 => Operation::DeleteSd(domain, u.arbitrary()?),
        4..=6 => {
            let (id, uuid, version) = ta(u)?;
            Operation::InstallTa(sp, domain, id, uuid, version)
        }
        7 | 8 => {
            let (id, uuid, version) = ta(u)?;
            Operation::UpdateTa(sp, domain, id, uuid, version)
        }
        _ => Operation::DeleteTa(domain, u.int_in_range(0..=1)?),
    })
}

/// The request; `None` where the TAM has no key to encrypt an image for.
fn build(
    tam: u8,
    operation: Operation,
    next_dsi: bool,
    target: &Target,
) -> Option<request::Request> {
    let certificate = stage().provider_certificate();
    let image = match operation {
        Operation::InstallTa(.., uuid, version) | Operation::UpdateTa(.., uuid, version) => {
            stage().image([uuid; 16], version, &program([uuid; 16], uuid))
        }
        _ => Vec::new(),
    };
    let (sp, domain) = (|sp| PROVIDERS[usize::from(sp)], |name| DOMAINS[usize::from(name)]);
    let application = |provider, name, id: u8| request::Application {
        spid: sp(provider),
        domain: domain(name),
        taid: APPLICATIONS[usize::from(id)],
        certificate: None,
        image: Some(&image),
        personalization: Some(b"personal"),
    };
    let command = match operation {
        Operation::CreateSd(provider, name) => {
            Command::CreateSd { spid: sp(provider), name: domain(name), certificate: &certificate }
        }
        Operation::UpdateSd(provider, name, new_sp, new_name, renew) => Command::UpdateSd {
            spid: sp(provider),
            name: domain(name),
            changes: SdChanges {
                new_name: Some(domain(new_name)),
                new_spid: Some(sp(new_sp)),
                renew_attestation_key: renew,
                ..SdChanges::default()
            },
        },
        Operation::DeleteSd(name, delete_tas) => {
            Command::DeleteSd { spid: None, name: domain(name), delete_tas }
        }
        Operation::InstallTa(sp, name, id, ..) => Command::InstallTa(application(sp, name, id)),
        Operation::UpdateTa(sp, name, id, ..) => Command::UpdateTa(application(sp, name, id)),
        Operation::DeleteTa(name, id) => Command::DeleteTa {
            spid: None,
            name: domain(name),
            taid: APPLICATIONS[usize::from(id)],
        },
    };
    let tam = &stage().tams[usize::from(tam)];
    Builder::command(tam, target, command).next_dsi(next_dsi).build().ok()
}

/// Whether a TAM sees what the model says that it sees.
fn agrees(model: &Model, tam: u8, state: &DeviceState) -> bool {
    let tee = &state.dsi.tee;
    let mut seen = BTreeMap::new();
    for sd in &tee.sdlist.sd {
        let mut tas: Vec<&str> = sd.talist.iter().map(|ta| ta.taid.as_str()).collect();
        tas.sort_unstable();
        seen.insert((sd.spid.as_str(), sd.name.as_str()), tas);
    }
    let own = model.domains.iter().filter(|((owner, ..), _)| *owner == tam);
    let expected: BTreeMap<_, _> = own
        .map(|((_, sp, name), tas)| {
            let mut tas: Vec<_> = tas.keys().map(|id| APPLICATIONS[usize::from(*id)]).collect();
            tas.sort_unstable();
            ((PROVIDERS[usize::from(*sp)], DOMAINS[usize::from(*name)]), tas)
        })
        .collect();
    let mut keys: Vec<&str> = tee.teeaiklist.iter().map(|key| key.spid.as_str()).collect();
    keys.sort_unstable();
    let providers = model.providers(tam);
    let providers: Vec<_> = providers.iter().map(|sp| PROVIDERS[usize::from(*sp)]).collect();
    seen == expected && keys == providers
}

fn versions(model: &Model) -> BTreeMap<[u8; 16], u32> {
    model.versions().into_iter().map(|(uuid, version)| ([uuid; 16], version)).collect()
}
