//! UpdateSD, and what domains of one service provider share.

use otrp_engine::information::QueryError;
use otrp_tam::dsi::DeviceState;
use otrp_tam::encoding::from_base64;
use otrp_tam::request::{Application, Builder, Command, SdChanges, Target};
use otrp_tam::response::Passed;
use otrp_tam::ta_information::TaInformation;

use crate::bench::{Device, Kind, base64, der, pki, sha256, signed, ta_query, uuid};

const SP: &str = "acme-bank.example";
const OTHER_SP: &str = "loyalty.example";
const TA: &str = "com.example.wallet";

/// A device with two domains of one provider, the first with an application in it.
fn device() -> Device {
    let mut device = Device::provisioned();
    create(&mut device, SP, "first");
    create(&mut device, SP, "second");
    install(&mut device, SP, "first", TA, 1).expect("installed");
    device
}

fn create(device: &mut Device, spid: &str, name: &str) -> Passed {
    let certificate = der(&pki().sp_ec.certificate);
    device.carry_out(&pki().tam, Command::CreateSd { spid, name, certificate: &certificate })
}

fn update(device: &mut Device, spid: &str, name: &str, changes: SdChanges<'_>) -> Passed {
    device.carry_out(&pki().tam, Command::UpdateSd { spid, name, changes })
}

/// Installs an application whose UUID follows from `octet`, signed by the P-256 signer.
fn install(
    device: &mut Device,
    spid: &str,
    domain: &str,
    taid: &str,
    octet: u8,
) -> Result<(), String> {
    let image = signed(&pki().sp_ec, uuid(octet), 1);
    let application = application(spid, domain, taid, &image);
    let target = Target::from(&device.state(&pki().tam));
    device
        .try_to(&pki().tam, Builder::command(&pki().tam, &target, Command::InstallTa(application)))
}

fn application<'a>(
    spid: &'a str,
    domain: &'a str,
    taid: &'a str,
    image: &'a [u8],
) -> Application<'a> {
    Application { spid, domain, taid, certificate: None, image: Some(image), personalization: None }
}

/// Each domain as `provider/name: applications`, and the providers that have a key.
fn shape(state: &DeviceState) -> (Vec<String>, Vec<&str>) {
    let tee = &state.dsi.tee;
    let domains = tee.sdlist.sd.iter().map(|sd| {
        let tas: Vec<&str> = sd.talist.iter().map(|ta| ta.taid.as_str()).collect();
        format!("{}/{}: {}", sd.spid, sd.name, tas.join(" "))
    });
    (domains.collect(), tee.teeaiklist.iter().map(|key| key.spid.as_str()).collect())
}

fn changed(domains: [&str; 2], keys: &[&'static str]) -> (Vec<String>, Vec<&'static str>) {
    (domains.map(String::from).into(), keys.into())
}

#[test]
fn domains_of_a_provider_share_its_key() {
    let mut device = Device::provisioned();
    assert!(create(&mut device, SP, "first").attestation_key.is_some());
    let second = create(&mut device, SP, "second");
    assert_eq!(second.attestation_key, None);
    assert_eq!(device.records(Kind::Aik).len(), 1);
    // The same names are free under another provider, and its key is another.
    let other = create(&mut device, OTHER_SP, "first");
    assert!(other.attestation_key.is_some());
    assert_eq!(device.records(Kind::Aik).len(), 2);

    let tam = &pki().tam;
    let delete = |name, spid| Command::DeleteSd { spid, name, delete_tas: false };
    let target = Target::from(&device.state(tam));
    let ambiguous = Builder::command(tam, &target, delete("first", None));
    assert_eq!(device.fail(tam, ambiguous), "ERR_SD_NOT_FOUND");
    device.carry_out(tam, delete("first", Some(SP)));
    assert_eq!(device.records(Kind::Aik).len(), 2, "the second domain keeps the key");
    device.carry_out(tam, delete("second", None));
    let state = device.state(tam);
    assert_eq!(shape(&state).1, [OTHER_SP]);
    assert_eq!(device.records(Kind::Aik).len(), 1);
}

#[test]
fn a_domain_is_deleted_with_its_applications() {
    let mut device = device();
    let tam = &pki().tam;
    let image = signed(&pki().sp_ec, uuid(2), 1);
    let personal = Application {
        personalization: Some(b"data"),
        ..application(SP, "first", "com.example.personal", &image)
    };
    device.carry_out(tam, Command::InstallTa(personal));
    assert_eq!(device.records(Kind::Personalization), [b"data"]);
    device.carry_out(tam, Command::DeleteSd { spid: None, name: "first", delete_tas: true });
    assert!(device.world.images().is_empty());
    assert!(device.records(Kind::Personalization).is_empty());
    assert_eq!(device.records(Kind::SpCertificates).len(), 1);
    assert_eq!(shape(&device.state(tam)).0, [format!("{SP}/second: ")]);
}

#[test]
fn a_domain_gets_a_new_name() {
    let mut device = device();
    let changes = SdChanges { new_name: Some("premium"), ..SdChanges::default() };
    let passed = update(&mut device, SP, "first", changes);
    assert_eq!(passed.attestation_key, None);
    let expected = changed(
        ["acme-bank.example/premium: com.example.wallet", "acme-bank.example/second: "],
        &[SP],
    );
    assert_eq!(shape(&passed.state.unwrap()), expected);
    assert_eq!(install(&mut device, SP, "first", "x", 2), Err("ERR_SD_NOT_FOUND".into()));
    assert_eq!(install(&mut device, SP, "premium", "x", 2), Ok(()));
}

#[test]
fn a_domain_gets_a_new_provider_with_a_key_of_its_own() {
    let mut device = device();
    let changes = SdChanges { new_spid: Some(OTHER_SP), ..SdChanges::default() };
    // While an application is in it, it stays with its provider, whose the application's UUID is.
    let tam = &pki().tam;
    let target = Target::from(&device.state(tam));
    let before = device.world.snapshot();
    for new_name in [None, Some("third")] {
        let changes = SdChanges { new_name, ..changes.clone() };
        let command = Command::UpdateSd { spid: SP, name: "first", changes };
        assert_eq!(device.fail(tam, Builder::command(tam, &target, command)), "ERR_SD_NOT_EMPTY");
        assert!(device.world.snapshot() == before);
    }
    device.carry_out(tam, Command::DeleteTa { spid: None, name: "first", taid: TA });

    let passed = update(&mut device, SP, "first", changes.clone());
    let key = passed.attestation_key.expect("a new provider gets a key");
    let state = passed.state.unwrap();
    let expected =
        changed(["loyalty.example/first: ", "acme-bank.example/second: "], &[SP, OTHER_SP]);
    assert_eq!(shape(&state), expected);
    assert_eq!(state.attestation_key(OTHER_SP).unwrap().spaik, key);
    assert_eq!(device.records(Kind::Aik).len(), 2);
    assert_eq!(install(&mut device, OTHER_SP, "first", "x", 2), Ok(()));
    // The UUID that was deleted there stays the old provider's.
    assert_eq!(install(&mut device, OTHER_SP, "first", "y", 1), Err("ERR_TA_INVALID".into()));
    assert_eq!(install(&mut device, SP, "second", TA, 1), Ok(()));
    device.carry_out(tam, Command::DeleteTa { spid: None, name: "second", taid: TA });

    // An application answers under its provider only.
    let public = state.attestation_key(OTHER_SP).unwrap().public_key().unwrap();
    let answer =
        device.engine.ta_information(&mut ta_query(OTHER_SP, "x"), &mut device.reply).unwrap();
    assert_eq!(TaInformation::verify(answer, &public).unwrap().spid, OTHER_SP);
    let answer = device.engine.ta_information(&mut ta_query(SP, "x"), &mut device.reply);
    assert_eq!(answer, Err(QueryError::NotFound));

    // A provider that has a key keeps it, and the one without a domain loses its own.
    let passed = update(&mut device, SP, "second", changes);
    assert_eq!(passed.attestation_key, None);
    let state = passed.state.unwrap();
    assert_eq!(shape(&state).1, [OTHER_SP]);
    assert_eq!(state.attestation_key(OTHER_SP).unwrap().spaik, key);
    assert_eq!(device.records(Kind::Aik).len(), 1);
}

#[test]
fn a_key_is_renewed() {
    let mut device = device();
    let old = device.state(&pki().tam);
    let changes = SdChanges { renew_attestation_key: true, ..SdChanges::default() };
    let passed = update(&mut device, SP, "first", changes.clone());
    let new = passed.state.unwrap();
    let key = passed.attestation_key.expect("the new key");
    assert_eq!(new.attestation_key(SP).unwrap().spaik, key);
    assert_ne!(old.attestation_key(SP).unwrap().spaik, key);
    assert_eq!(device.records(Kind::Aik).len(), 1, "the old key is destroyed");

    // Data for the old key cannot be read any more.
    let image = signed(&pki().sp_ec, uuid(2), 1);
    let install = Command::InstallTa(application(SP, "first", "x", &image));
    let mut target = Target::from(&new);
    target.attestation_keys = old.dsi.tee.teeaiklist;
    let request = Builder::command(&pki().tam, &target, install.clone());
    assert_eq!(device.fail(&pki().tam, request), "ERR_TA_INVALID");
    device.carry_out(&pki().tam, install);

    // Provider and key change in one request.
    let changes = SdChanges { new_spid: Some(OTHER_SP), ..changes };
    let passed = update(&mut device, SP, "second", changes);
    let state = passed.state.unwrap();
    assert_eq!(state.attestation_key(OTHER_SP).unwrap().spaik, passed.attestation_key.unwrap());
    assert_eq!(state.attestation_key(SP).unwrap().spaik, key);
}

#[test]
fn names_are_taken_within_a_provider() {
    let mut device = device();
    let tam = &pki().tam;
    create(&mut device, OTHER_SP, "second");
    let snapshot = device.world.snapshot();
    let used = Some("ERR_SDNAME_ALREADY_USED");
    let rows = [
        (Some("first"), None, used),
        (Some("first"), Some(SP), used),
        (None, Some(OTHER_SP), used),
        (Some("second"), Some(OTHER_SP), used),
        // Each would be taken alone, and both together are free.
        (Some("first"), Some(OTHER_SP), None),
        (Some("third"), Some(OTHER_SP), None),
        (Some("first"), Some("nobody.example"), None),
        // What a domain has it may get again.
        (Some("second"), None, None),
        (None, Some(SP), None),
        (Some("second"), Some(SP), None),
        (None, None, None),
    ];
    for (new_name, new_spid, refusal) in rows {
        let what = format!("{new_name:?} {new_spid:?}");
        let mut device = Device::from(&snapshot);
        let target = Target::from(&device.state(tam));
        let before = device.world.snapshot();
        let changes = SdChanges { new_name, new_spid, ..SdChanges::default() };
        let command = Command::UpdateSd { spid: SP, name: "second", changes };
        let request = Builder::command(tam, &target, command);
        if let Some(code) = refusal {
            assert_eq!(device.fail(tam, request), code, "{what}");
            assert!(device.world.snapshot() == before, "{what}");
            continue;
        }
        let passed = device.pass(tam, request);
        // Only a provider that is new here gets a key.
        assert_eq!(passed.attestation_key.is_some(), new_spid == Some("nobody.example"), "{what}");
        let (spid, name) = (new_spid.unwrap_or(SP), new_name.unwrap_or("second"));
        let (domains, _) = shape(passed.state.as_ref().unwrap());
        assert_eq!(domains[0], format!("{SP}/first: {TA}"));
        assert_eq!(domains[1..], [format!("{spid}/{name}: "), format!("{OTHER_SP}/second: ")]);
    }
}

#[test]
fn a_renewed_key_is_that_of_the_provider_that_a_domain_ends_up_with() {
    let mut device = device();
    let tam = &pki().tam;
    create(&mut device, OTHER_SP, "first");
    let snapshot = device.world.snapshot();
    let key = |state: &DeviceState, spid| state.attestation_key(spid).map(|key| key.spaik.clone());
    // The domain, its new provider, whether to renew; which providers' keys are new afterwards.
    let rows: [(&str, Option<&str>, bool, &[&str]); 7] = [
        ("second", None, false, &[]),
        ("second", None, true, &[SP]),
        ("second", Some(SP), true, &[SP]),
        ("second", Some(OTHER_SP), false, &[]),
        // The provider's other domain has the new key too.
        ("second", Some(OTHER_SP), true, &[OTHER_SP]),
        ("second", Some("new.example"), false, &["new.example"]),
        ("second", Some("new.example"), true, &["new.example"]),
    ];
    for (name, new_spid, renew, renewed) in rows {
        for next_dsi in [true, false] {
            let what = format!("{new_spid:?} {renew} {next_dsi}");
            let mut device = Device::from(&snapshot);
            let old = device.state(tam);
            let changes =
                SdChanges { new_spid, renew_attestation_key: renew, ..SdChanges::default() };
            let command = Command::UpdateSd { spid: SP, name, changes };
            let target = Target::from(&old);
            let request = Builder::command(tam, &target, command).next_dsi(next_dsi);
            let passed = device.pass(tam, request);
            let new = device.state(tam);
            assert_eq!(passed.attestation_key, renewed.first().and_then(|spid| key(&new, spid)));
            for spid in [SP, OTHER_SP, "new.example"] {
                let same = key(&old, spid) == key(&new, spid);
                assert_eq!(same, !renewed.contains(&spid), "{what}: {spid}");
            }
            assert_eq!(device.records(Kind::Aik).len(), new.dsi.tee.teeaiklist.len(), "{what}");
            // What is installed in the provider's other domain answers under its key.
            let public = new.attestation_key(SP).unwrap().public_key().unwrap();
            let answer = device.engine.ta_information(&mut ta_query(SP, TA), &mut device.reply);
            TaInformation::verify(answer.unwrap(), &public).expect(&what);
        }
    }
    // The last domain of a provider takes its key along, also where the new provider has one.
    for renew in [false, true] {
        let mut device = Device::from(&snapshot);
        let old = device.state(tam);
        let changes = SdChanges {
            new_spid: Some(SP),
            new_name: Some("third"),
            renew_attestation_key: renew,
            ..SdChanges::default()
        };
        let new = update(&mut device, OTHER_SP, "first", changes).state.unwrap();
        assert_eq!(key(&new, OTHER_SP), None);
        assert_eq!(key(&new, SP) == key(&old, SP), !renew);
        assert_eq!(device.records(Kind::Aik).len(), 1);
    }
}

#[test]
fn a_name_of_two_providers_needs_the_provider() {
    let mut device = device();
    let tam = &pki().tam;
    create(&mut device, OTHER_SP, "first");
    install(&mut device, OTHER_SP, "first", TA, 2).expect("the same name, with another provider");
    let target = Target::from(&device.state(tam));
    let before = device.world.snapshot();
    let delete_ta = |spid| Command::DeleteTa { spid, name: "first", taid: TA };
    let delete_sd = |spid| Command::DeleteSd { spid, name: "first", delete_tas: true };
    for command in
        [delete_ta(None), delete_sd(None), delete_ta(Some("nobody")), delete_sd(Some("nobody"))]
    {
        let request = Builder::command(tam, &target, command);
        assert_eq!(device.fail(tam, request), "ERR_SD_NOT_FOUND");
        assert!(device.world.snapshot() == before);
    }
    device.carry_out(tam, delete_ta(Some(OTHER_SP)));
    assert_eq!(device.world.images().keys().collect::<Vec<_>>(), [&uuid(1)]);
    device.carry_out(tam, delete_sd(Some(OTHER_SP)));
    assert_eq!(shape(&device.state(tam)).1, [SP]);
    device.carry_out(tam, delete_ta(None));
    device.carry_out(tam, delete_sd(None));
    assert_eq!(shape(&device.state(tam)).0, ["acme-bank.example/second: "]);
}

#[test]
fn certificates_come_and_go() {
    let mut device = device();
    let tam = &pki().tam;
    let (rsa, ec) = (der(&pki().sp_rsa.certificate), der(&pki().sp_ec.certificate));
    let image = signed(&pki().sp_rsa, uuid(2), 1);
    let command = Command::InstallTa(application(SP, "first", "by-rsa", &image));
    let target = Target::from(&device.state(tam));
    let request = Builder::command(tam, &target, command.clone());
    assert_eq!(device.fail(tam, request), "ERR_TA_INVALID", "not a signer of the domain");

    let changes = SdChanges { add: vec![&rsa], ..SdChanges::default() };
    update(&mut device, SP, "first", changes.clone());
    device.carry_out(tam, command);
    assert_eq!(
        device.records(Kind::SpCertificates),
        [[ec.clone(), rsa.clone()].concat(), ec.clone()]
    );
    // One that is there is not entered twice.
    update(&mut device, SP, "first", changes);
    assert_eq!(
        device.records(Kind::SpCertificates),
        [[ec.clone(), rsa.clone()].concat(), ec.clone()]
    );

    // The draft does not say how the hash is written, so both usual ways are taken, alone and in a
    // list. The application keeps its signer's certificate, which admits nothing any more.
    let hash = sha256(&ec);
    let retired = [&rsa[..], &[0], &ec].concat();
    for (hash, list) in [(hex::encode(hash), true), (base64(&hash), true), (base64(&hash), false)] {
        let changes = SdChanges { remove: vec![&hash], ..SdChanges::default() };
        let command = Command::UpdateSd { spid: SP, name: "first", changes };
        let target = Target::from(&device.state(tam));
        let request = Builder::command(tam, &target, command).edit_content(|content| {
            if !list {
                content["changes"]["deloldspcert"] = hash.clone().into();
            }
        });
        device.pass(tam, request);
        assert_eq!(device.records(Kind::SpCertificates), [retired.clone(), ec.clone()]);
        assert_eq!(install(&mut device, SP, "first", "x", 3), Err("ERR_TA_INVALID".into()));
        assert_eq!(shown_signer(&mut device, TA), ec);
        let changes = SdChanges { add: vec![&ec], ..SdChanges::default() };
        update(&mut device, SP, "first", changes);
        assert_eq!(
            device.records(Kind::SpCertificates),
            [[rsa.clone(), ec.clone()].concat(), ec.clone()]
        );
    }

    // All of them at once: what is installed stays, and nothing can be added.
    let (first, second) = (hex::encode(sha256(&ec)), hex::encode(sha256(&rsa)));
    let changes = SdChanges { remove: vec![&first, &second], ..SdChanges::default() };
    let state = update(&mut device, SP, "first", changes).state.unwrap();
    assert_eq!(shape(&state).0[0], "acme-bank.example/first: com.example.wallet by-rsa");
    assert_eq!(install(&mut device, SP, "first", "x", 3), Err("ERR_TA_INVALID".into()));
    device.reboot();
    assert_eq!(shown_signer(&mut device, TA), ec);
    assert_eq!(shown_signer(&mut device, "by-rsa"), rsa);

    // A retired certificate goes with the last application that it signed.
    let bring = |taid, image, certificate| Application {
        certificate: Some(certificate),
        ..application(SP, "first", taid, image)
    };
    let newer = signed(&pki().sp_rsa, uuid(1), 2);
    device.carry_out(tam, Command::UpdateTa(bring(TA, &newer, &rsa)));
    assert_eq!(shown_signer(&mut device, TA), rsa);
    device.carry_out(tam, Command::DeleteTa { spid: None, name: "first", taid: "by-rsa" });
    let third = signed(&pki().sp_ec, uuid(3), 1);
    device.carry_out(tam, Command::InstallTa(bring("third", &third, &ec)));
    let both = [rsa.clone(), ec.clone()].concat();
    assert_eq!(device.records(Kind::SpCertificates), [both, ec.clone()]);
    device.carry_out(tam, Command::DeleteTa { spid: None, name: "first", taid: "third" });
    let changes = SdChanges { remove: vec![&first], ..SdChanges::default() };
    update(&mut device, SP, "first", changes);
    assert_eq!(device.records(Kind::SpCertificates), [rsa, ec]);
}

/// The certificate that the information on an application shows as its signer's.
fn shown_signer(device: &mut Device, taid: &str) -> Vec<u8> {
    let state = device.state(&pki().tam);
    let key = state.attestation_key(SP).unwrap().public_key().unwrap();
    let answer = device.engine.ta_information(&mut ta_query(SP, taid), &mut device.reply).unwrap();
    from_base64(&TaInformation::verify(answer, &key).unwrap().signercert).unwrap()
}

#[test]
fn a_certificate_that_is_added_and_removed_is_gone() {
    // The draft's list adds before it deletes.
    let mut device = device();
    let (rsa, ec) = (der(&pki().sp_rsa.certificate), der(&pki().sp_ec.certificate));
    for certificate in [&rsa, &ec] {
        let hash = hex::encode(sha256(certificate));
        let changes =
            SdChanges { add: vec![certificate], remove: vec![&hash], ..SdChanges::default() };
        update(&mut device, SP, "second", changes);
    }
    assert_eq!(device.records(Kind::SpCertificates), [ec, Vec::new()]);
}

#[test]
fn certificates_change_all_or_none() {
    let mut device = device();
    let tam = &pki().tam;
    let (rsa, ec) = (der(&pki().sp_rsa.certificate), der(&pki().sp_ec.certificate));
    let (known, unknown) = (hex::encode(sha256(&ec)), hex::encode(sha256(&rsa)));
    let target = Target::from(&device.state(tam));
    let before = device.world.snapshot();
    let rows: [(Vec<&[u8]>, Vec<&str>); 4] = [
        (vec![], vec![&known, &unknown]),
        (vec![], vec![&unknown, &known]),
        (vec![], vec![&known, &known]),
        (vec![&rsa, b"\x30\x00"], vec![&known]),
    ];
    for (add, remove) in rows {
        let changes = SdChanges { new_name: Some("x"), add, remove, ..SdChanges::default() };
        let command = Command::UpdateSd { spid: SP, name: "first", changes };
        let request = Builder::command(tam, &target, command);
        assert_eq!(device.fail(tam, request), "ERR_SPCERT_INVALID");
        assert!(device.world.snapshot() == before);
    }
}

#[test]
fn an_installation_brings_its_signers_certificate() {
    let mut device = device();
    let rsa = der(&pki().sp_rsa.certificate);
    let image = signed(&pki().sp_rsa, uuid(2), 1);
    let application =
        Application { certificate: Some(&rsa), ..application(SP, "first", "by-rsa", &image) };
    device.carry_out(&pki().tam, Command::InstallTa(application));
    let ec = der(&pki().sp_ec.certificate);
    assert_eq!(device.records(Kind::SpCertificates), [[ec.clone(), rsa].concat(), ec]);
}

#[test]
fn a_deleted_uuid_stays_its_owners() {
    // Clients know an application by its UUID, and its versions only rise.
    let mut device = device();
    let (tam, other) = (&pki().tam, &pki().other_tam);
    let certificate = der(&pki().sp_ec.certificate);
    let create = |spid, name| Command::CreateSd { spid, name, certificate: &certificate };
    device.carry_out(other, create(SP, "first"));
    device.carry_out(tam, create(OTHER_SP, "third"));
    let image = signed(&pki().sp_ec, uuid(1), 9);
    let try_to_install = |device: &mut Device, tam, spid, domain| {
        let target = Target::from(&device.state(tam));
        let install = Command::InstallTa(application(spid, domain, "again", &image));
        device.try_to(tam, Builder::command(tam, &target, install))
    };
    let refused = Err(String::from("ERR_TA_INVALID"));
    let delete = |taid| Command::DeleteTa { spid: None, name: "first", taid };
    device.carry_out(tam, delete(TA));
    // Neither another TAM, though its provider and domain have the same names, nor another
    // provider of the same TAM.
    assert_eq!(try_to_install(&mut device, other, SP, "first"), refused);
    assert_eq!(try_to_install(&mut device, tam, OTHER_SP, "third"), refused);
    // Also after all that was the owner's is gone.
    for name in ["first", "second", "third"] {
        let spid = (name == "third").then_some(OTHER_SP);
        device.carry_out(tam, Command::DeleteSd { spid, name, delete_tas: true });
    }
    device.reboot();
    assert_eq!(try_to_install(&mut device, other, SP, "first"), refused);
    // Who has the name again has the UUID, in any domain of the provider.
    device.carry_out(tam, create(SP, "elsewhere"));
    assert_eq!(try_to_install(&mut device, tam, SP, "elsewhere"), Ok(()));

    // A domain that gets another provider does not take along what was deleted in it.
    device.carry_out(tam, Command::DeleteTa { spid: None, name: "elsewhere", taid: "again" });
    let changes = SdChanges { new_spid: Some(OTHER_SP), ..SdChanges::default() };
    update(&mut device, SP, "elsewhere", changes);
    assert_eq!(try_to_install(&mut device, tam, OTHER_SP, "elsewhere"), refused);
    device.carry_out(tam, create(SP, "first"));
    assert_eq!(try_to_install(&mut device, tam, SP, "first"), Ok(()));
}

#[test]
fn versions_rise_over_several_lives() {
    let mut device = device();
    let tam = &pki().tam;
    let certificate = der(&pki().sp_ec.certificate);
    let delete = Command::DeleteTa { spid: None, name: "first", taid: TA };
    // Installed, deleted alone or with its domain, and installed again, higher each time.
    for (version, with_domain) in [(3, false), (5, true), (5, false), (8, true), (9, false)] {
        match with_domain {
            false => drop(device.carry_out(tam, delete.clone())),
            true => {
                let all = Command::DeleteSd { spid: None, name: "first", delete_tas: true };
                device.carry_out(tam, all);
                let certificate = &certificate;
                let create = Command::CreateSd { spid: SP, name: "first", certificate };
                device.carry_out(tam, create);
            }
        }
        device.reboot();
        let image = signed(&pki().sp_ec, uuid(1), version);
        device.carry_out(tam, Command::InstallTa(application(SP, "first", TA, &image)));
        device.carry_out(tam, delete.clone());
        let older = signed(&pki().sp_ec, uuid(1), version - 1);
        let target = Target::from(&device.state(tam));
        let install = Command::InstallTa(application(SP, "first", TA, &older));
        let request = Builder::command(tam, &target, install);
        assert_eq!(device.fail(tam, request), "ERR_TA_INVALID", "{version}");
        device.carry_out(tam, Command::InstallTa(application(SP, "first", TA, &image)));
    }
}
