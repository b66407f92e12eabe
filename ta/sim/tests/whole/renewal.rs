//! A TEE gets a new certificate for its key: what TAMs see of it, and what they keep.

use std::path::Path;

use otrp_engine::device::ImportError;
use otrp_keys::development;
use otrp_keys::ocsp::Period;
use otrp_tam::Identity;
use otrp_tam::request::{Builder, Command, Target};
use otrp_tam::response::{Answer, Outcome, Refused, Reply};
use otrp_tam::tam::Tam;
use serde_json::Value;

use crate::bench::{Device, base64, der, pki, pki_folder, signed, uuid};
use crate::home::{DOMAIN, EMPTY_DOMAIN, OTHER_DOMAIN, TA, home};

/// The chain for a new certificate of the device's key, from its own request.
fn renewed_chain(device: &mut Device) -> Vec<u8> {
    let request = device.engine.certification_request(&mut device.reply).unwrap().to_vec();
    pki().tee_authority.certify(&request).unwrap().iter().flat_map(der).collect()
}

fn import(device: &mut Device, chain: &[u8]) -> Result<(), ImportError> {
    device.engine.import_certificates(chain, &mut device.reply)
}

fn delete_empty(tam: &Identity, target: &Target) -> otrp_tam::request::Request {
    let command = Command::DeleteSd { spid: None, name: EMPTY_DOMAIN, delete_tas: false };
    Builder::command(tam, target, command).build().unwrap()
}

fn answer(device: &mut Device, message: &[u8]) -> Box<Answer> {
    match Reply::read(&device.process(message).unwrap()) {
        Ok(Reply::Answer(answer)) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn tams_see_a_new_state_and_keep_their_domains() {
    for reboots in [false, true] {
        let mut device = Device::from(&home().snapshot);
        let (tam, other) = (&pki().tam, &pki().other_tam);
        let before = (device.state(tam), device.state(other));
        let chain = renewed_chain(&mut device);
        import(&mut device, &chain).unwrap();
        if reboots {
            device.reboot();
        }

        // What was known before the renewal is void, and the refusal comes under the new name.
        let stale = delete_empty(tam, &Target::from(&before.0));
        let refusal = answer(&mut device, &stale.message);
        let certificate = device.certificate();
        let outcome = refusal.outcome(Some(&stale.exchange), tam, &certificate).unwrap();
        assert!(
            matches!(outcome, Outcome::Fail(refusal) if refusal.code == "ERR_DEV_STATE_MISMATCH")
        );

        let after = (device.state(tam), device.state(other));
        for (tam, before, after) in [("tam", &before.0, &after.0), ("other", &before.1, &after.1)] {
            assert_ne!(after.device_id, before.device_id, "{tam}");
            assert_ne!(after.hash, before.hash, "{tam}");
            assert_ne!(after.dsi.tee.generation, before.dsi.tee.generation, "{tam}");
            assert_eq!(after.dsi.tee.sdlist, before.dsi.tee.sdlist, "{tam}");
            assert_eq!(after.dsi.tee.teeaiklist, before.dsi.tee.teeaiklist, "{tam}");
            let keys = [before, after].map(|state| state.certificate.public_key().unwrap());
            assert!(keys[0].public_eq(&keys[1]), "{tam}");
        }
        assert_eq!(after.0.dsi.tee.sdlist.sd.len(), 2);
        assert_eq!(after.1.dsi.tee.sdlist.sd[0].name, OTHER_DOMAIN);
        assert_eq!(device.world.snapshot().images(), home().snapshot.images());

        // The domains continue under the new certificate.
        let target = Target::from(&after.0);
        device.pass(
            tam,
            Builder::command(
                tam,
                &target,
                Command::DeleteSd { spid: None, name: EMPTY_DOMAIN, delete_tas: false },
            ),
        );
        device.carry_out(tam, Command::DeleteTa { spid: None, name: DOMAIN, taid: TA });
    }
}

#[test]
fn an_answer_across_the_renewal_is_not_accepted() {
    let mut device = Device::from(&home().snapshot);
    let tam = &pki().tam;
    let state = device.state(tam);
    let request = delete_empty(tam, &Target::from(&state));
    let answered = answer(&mut device, &request.message);
    let chain = renewed_chain(&mut device);
    import(&mut device, &chain).unwrap();
    // The key is the same, the device identifier in the content is not.
    let judged = answered.outcome(Some(&request.exchange), tam, &device.certificate());
    assert!(matches!(judged, Err(Refused::WrongDevice)), "{judged:?}");
    assert!(answered.outcome(Some(&request.exchange), tam, &state.certificate).is_ok());
}

#[test]
fn the_same_chain_again_changes_nothing() {
    let mut device = Device::from(&home().snapshot);
    let chain = renewed_chain(&mut device);
    import(&mut device, &chain).unwrap();
    let state = device.state(&pki().tam);
    let snapshot = device.world.snapshot();
    import(&mut device, &chain).unwrap();
    assert!(device.world.snapshot() == snapshot);
    let request = delete_empty(&pki().tam, &Target::from(&state));
    assert!(matches!(device.send(&pki().tam, &request), Outcome::Pass(_)));
}

#[test]
fn a_refused_chain_leaves_the_old_one() {
    let mut device = Device::from(&home().snapshot);
    let state = device.state(&pki().tam);
    let (mut blank, good) = (Device::blank(), renewed_chain(&mut device));
    let of_another = renewed_chain(&mut blank);
    let tam_chain: Vec<u8> = pki().tam.chain().iter().flat_map(der).collect();
    let truncated = good[..good.len() - 1].to_vec();
    let rows = [
        ("another device's", of_another, ImportError::OtherKey),
        ("another PKI's", tam_chain, ImportError::Untrusted),
        ("a truncated one", truncated, ImportError::Malformed),
        ("none", Vec::new(), ImportError::Malformed),
    ];
    let snapshot = device.world.snapshot();
    for (what, chain, expected) in rows {
        assert_eq!(import(&mut device, &chain), Err(expected), "{what}");
        assert!(device.world.snapshot() == snapshot, "{what}");
    }
    // Not even the state that the TAM knows is another one.
    let request = delete_empty(&pki().tam, &Target::from(&state));
    assert!(matches!(device.send(&pki().tam, &request), Outcome::Pass(_)));
}

/// A TAM that serves this desired state, and its database.
fn serve(folder: &Path, image: &[u8]) -> Tam {
    let keys = pki_folder();
    let path = |file: &str| keys.join(file).display().to_string();
    std::fs::write(folder.join("app.ta"), image).unwrap();
    let responses = development::responses(&keys, "tam", Period::hours(24)).unwrap();
    for (response, file) in responses.iter().zip(["tam.ocsp", "ca.ocsp"]) {
        std::fs::write(folder.join(file), response).unwrap();
    }
    let text = format!(
        "[tam]\nkey = '{}'\nchain = '{}'\ntee_roots = ['{}']\n\
         ocsp = ['tam.ocsp', 'ca.ocsp']\n\
         [[sd]]\nname = 'payments'\nspid = 'acme'\ncertificates = ['{}']\n\
         [[sd.ta]]\nid = 'app'\nfile = 'app.ta'\n",
        path("tam.key.pem"),
        path("tam.chain.pem"),
        path("tee-root.pem"),
        path("sp-ec.der"),
    );
    std::fs::write(folder.join("desired.toml"), text).unwrap();
    Tam::new(&folder.join("desired.toml"), &folder.join("tam.redb")).unwrap()
}

/// Carries messages between the TAM and the device; each with whether it shows the TAM's chain.
fn converge(tam: &Tam, device: &mut Device) -> Vec<(String, bool)> {
    let mut requests = Vec::new();
    let mut request = Some(tam.connect("test").unwrap());
    while let Some(message) = request {
        let outer: Value = serde_json::from_slice(&message).unwrap();
        let (name, jws) = outer.as_object().unwrap().iter().next().unwrap();
        requests.push((name.clone(), jws["header"].get("x5c").is_some()));
        request = tam.process(&device.process(&message).unwrap(), "test").unwrap();
    }
    requests
}

#[test]
fn a_tam_serves_the_device_on_under_its_new_certificate() {
    let mut device = Device::provisioned();
    let folder = tempfile::tempdir().unwrap();
    let request = |name: &str, with_chain| (format!("{name}Request"), with_chain);
    let state = request("GetDeviceState", true);
    let tam = serve(folder.path(), &signed(&pki().sp_ec, uuid(1), 1));
    // The device says that it holds the certificates, so they are shown once.
    assert_eq!(
        converge(&tam, &mut device),
        [state.clone(), request("CreateSD", false), request("InstallTA", false)]
    );
    let chain = renewed_chain(&mut device);
    import(&mut device, &chain).unwrap();
    assert_eq!(converge(&tam, &mut device), std::slice::from_ref(&state), "nothing to do");
    let devices = tam.devices().unwrap();
    let [record] = &devices[..] else { panic!("two devices: {devices:?}") };
    assert_eq!(record.certificate, base64(&der(&device.certificate())));
    drop(tam);
    let tam = serve(folder.path(), &signed(&pki().sp_ec, uuid(1), 2));
    assert_eq!(converge(&tam, &mut device), [state, request("UpdateTA", false)]);
}

/// A refusal is about the moment. What was refused because storage was full can be carried out when
/// it is not any more, until the TAM has asked for a newer state, as it does before a session ends.
#[test]
fn what_was_refused_is_dead_when_the_session_has_ended() {
    let mut device = Device::provisioned();
    let folder = tempfile::tempdir().unwrap();
    let tam = serve(folder.path(), &signed(&pki().sp_ec, uuid(1), 1));
    let mut next = tam.connect("test").unwrap();
    let follow = |device: &mut Device, message: &[u8]| {
        tam.process(&device.process(message).unwrap(), "test").unwrap()
    };
    let mut install = Vec::new();
    while install.is_empty() {
        if next.starts_with(b"{\"InstallTARequest") {
            install = next.clone();
            device.world.faults.fill(0);
        }
        next = follow(&mut device, &next).unwrap();
    }
    device.world.faults.clear();
    assert!(device.world.images().is_empty());
    let kept = device.world.snapshot();

    // The session continues with GetDeviceState, and ends.
    assert!(next.starts_with(b"{\"GetDeviceStateRequest"));
    assert_eq!(follow(&mut device, &next), None);
    device.reboot();
    let code = |device: &mut Device| {
        let answered = answer(device, &install);
        match answered.outcome(None, &pki().tam, &device.certificate()).unwrap() {
            Outcome::Fail(refusal) => Some(refusal.code.into_inner()),
            Outcome::Pass(_) => None,
        }
    };
    assert_eq!(code(&mut device).as_deref(), Some("ERR_DEV_STATE_MISMATCH"));
    assert!(device.world.images().is_empty());

    // Without that question it is carried out: this is what a TAM has to know.
    let mut device = Device::from(&kept);
    assert_eq!(code(&mut device), None);
    assert!(device.world.images().contains_key(&uuid(1)));
}
