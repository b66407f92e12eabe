//! TAMs that are all trusted, and what one of them can do to the others; what their maker takes back.

use std::collections::BTreeSet;
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::x509::X509;
use otrp_engine::information::QueryError;
use otrp_engine::limits::{SD_LIMIT, SD_SHARE, TA_LIMIT, TA_SHARE, TAM_LIMIT, UUID_SHARE};
use otrp_engine::platform::Blob;
use otrp_engine::{Anchor, Evicted, NamePattern, Trust};
use otrp_keys::certificate::{Identity as Signer, Purpose, Template, Validity, generate_p256};
use otrp_keys::ocsp::{Period, Statement, Status};
use otrp_sim::{Snapshot, World};
use otrp_tam::Identity;
use otrp_tam::request::{Application, Builder, Command, SignerHeader, Target};
use otrp_tam::ta_information::TaInformation;
use serde_json::Value;

use crate::bench::{Device, Kind, base64, der, now, pki, sha256, signed, ta_query, uuid};
use crate::home::*;
use crate::limits::{days_later, install, numbered, tam, use_up};
use crate::power_cuts::{with_cuts_in_cuts, with_each_fault_on};

const UNTRUSTED: &str = "ERR_TAM_NOT_TRUSTED";
const FULL: &str = "ERR_TEE_RESOURCE_FULL";
const CREATE: &str = "domain";

fn create(certificate: &[u8]) -> Command<'_> {
    Command::CreateSd { spid: "sp", name: CREATE, certificate }
}

/// A device that stores this, under an image that trusts so.
pub fn under(snapshot: &Snapshot, trust: Trust) -> Device {
    let world = World::new(now());
    world.restore(snapshot);
    world.reserved.borrow_mut().push(RESERVED_UUID);
    Device::on(world, Rc::new(move |world: &World| world.boot(trust)))
}

fn refusal_of(device: &mut Device, tam: &Identity) -> Option<String> {
    device.refusal(&Builder::device_state(tam).build().unwrap().message).code
}

fn template<'a>(common_name: &'a str, purpose: Purpose, uri: Option<&'a str>) -> Template<'a> {
    let organization = "OTrP tests (not for production)";
    Template { organization, common_name, purpose, validity: Validity::years(40), uri }
}

/// A root that another operator has.
fn other_root() -> Signer {
    let root = template("Another root of a test", Purpose::Root, None);
    root.self_sign(generate_p256().unwrap()).unwrap()
}

/// A TAM right below a root, with a response that is good for such a time.
fn below(root: &Signer, id: &str, period: Period) -> Identity {
    let key = generate_p256().unwrap();
    let leaf = template("A TAM of a test", Purpose::Party, Some(id)).issue(&key, root).unwrap();
    let (issuer, status) = (&root.certificate, Status::Good);
    let response = Statement { certificate: &leaf, issuer, status, period }.sign(root).unwrap();
    let chain = vec![leaf, root.certificate.clone()];
    Identity::new(key, chain, None).unwrap().staple(vec![response])
}

fn leaked(certificate: &X509) -> &'static [u8] {
    der(certificate).leak()
}

/// An image with two roots: that of the PKI, and another one; each speaks for these names.
fn two_roots(root: &Signer, own: &'static [NamePattern], others: &'static [NamePattern]) -> Trust {
    let own = Anchor { names: own, ..pki().trust.tam_anchors[0] };
    let other = Anchor { certificate: leaked(&root.certificate), names: others };
    Trust { tam_anchors: vec![own, other].leak(), ..pki().trust }
}

#[test]
fn no_tam_takes_all_domains() {
    let mut device = Device::provisioned();
    let certificate = der(&pki().sp_ec.certificate);
    let greedy = &pki().tam;
    let names: Vec<String> = (0..=SD_LIMIT).map(|number| format!("d{number}")).collect();
    let create = |name| Command::CreateSd { spid: "sp", name, certificate: &certificate };
    // Its own share, and what is nobody's.
    let most = SD_LIMIT - (TAM_LIMIT - 1) * SD_SHARE;
    for name in &names[..most] {
        device.carry_out(greedy, create(name));
    }
    let mut target = Target::from(&device.state(greedy));
    assert_eq!(device.fail(greedy, Builder::command(greedy, &target, create("more"))), FULL);
    // Each of the others gets its own, whether or not the greedy one keeps trying.
    for number in 1..TAM_LIMIT {
        let tam = tam(&format!("https://{number}.example"));
        device.carry_out(&tam, create("mine"));
        let target = Target::from(&device.state(&tam));
        let more = Builder::command(&tam, &target, create("more"));
        assert_eq!(device.fail(&tam, more), FULL);
        let target = target_of(&mut device, greedy);
        let more = Builder::command(greedy, &target, create("more"));
        assert_eq!(device.fail(greedy, more), FULL);
    }
    assert_eq!(refusal_of(&mut device, &tam("https://late.example")).as_deref(), Some(FULL));
    // What it gives back it may take again, or another one.
    let delete = Command::DeleteSd { spid: None, name: &names[0], delete_tas: false };
    target = Target::from(&device.state(greedy));
    device.pass(greedy, Builder::command(greedy, &target, delete));
    device.carry_out(greedy, create("again"));
}

fn target_of(device: &mut Device, tam: &Identity) -> Target {
    Target::from(&device.state(tam))
}

#[test]
fn no_tam_takes_all_applications() {
    let mut device = Device::provisioned();
    let certificate = der(&pki().sp_ec.certificate);
    let (greedy, other) = (&pki().tam, &pki().other_tam);
    let mut numbers = 0..;
    let mut install_one = |device: &mut Device, tam: &Identity| {
        let number = numbers.next().unwrap();
        let image = signed(&pki().sp_ec, numbered(number), 1);
        let name = format!("ta{number}");
        let target = Target::from(&device.state(tam));
        let command = install("sp", CREATE, &name, &image);
        device.try_to(tam, Builder::command(tam, &target, command))
    };
    for tam in [greedy, other] {
        device.carry_out(tam, create(&certificate));
    }
    for _ in 0..TA_LIMIT - (TAM_LIMIT - 1) * TA_SHARE {
        assert_eq!(install_one(&mut device, greedy), Ok(()));
    }
    assert_eq!(install_one(&mut device, greedy), Err(FULL.into()));
    for _ in 0..TA_SHARE {
        assert_eq!(install_one(&mut device, other), Ok(()));
        assert_eq!(install_one(&mut device, greedy), Err(FULL.into()));
    }
    assert_eq!(install_one(&mut device, other), Err(FULL.into()));
}

/// One operator, one name after the other, each within its share: until no more name is taken.
#[test]
fn a_known_tam_keeps_its_share_of_uuids() {
    let mut device = Device::provisioned();
    let certificate = der(&pki().sp_ec.certificate);
    let victim = &pki().other_tam;
    device.carry_out(victim, create(&certificate));
    let (mut next, mut names) = (0, 0);
    let mut day = 0;
    loop {
        // Whose responses are current keeps its place, so each name takes a day.
        day += 1;
        *device.world.clock.borrow_mut() = now() + u64::try_from(day).unwrap() * 24 * 3600 + 3600;
        let rogue = days_later(&tam(&format!("https://{names}.example")), day);
        let question = Builder::device_state(&rogue).build().unwrap();
        let before = device.world.snapshot();
        let reply = device.process(&question.message).unwrap();
        if device.world.snapshot() == before {
            let key = device.certificate().public_key().unwrap();
            assert_eq!(crate::bench::Refused::read(&reply, &key).code.as_deref(), Some(FULL));
            break;
        }
        names += 1;
        device.carry_out(&rogue, create(&certificate));
        for _ in 0..UUID_SHARE {
            assert_eq!(use_up(&mut device, &rogue, next), Ok(()));
            next += 1;
        }
        let delete = Command::DeleteSd { spid: None, name: CREATE, delete_tas: false };
        device.carry_out(&rogue, delete);
    }
    assert!(names > TAM_LIMIT, "only {names} names");
    let victim = &days_later(victim, day);
    for number in next..next + UUID_SHARE {
        assert_eq!(use_up(&mut device, victim, number), Ok(()));
    }
    assert_eq!(use_up(&mut device, victim, next + UUID_SHARE), Err(FULL.into()));
}

/// What is stored of a TAM, apart from the registry: its certificates, and what is in its domains.
fn records(device: &Device) -> [usize; 5] {
    let count = |kind| device.records(kind).len();
    [
        count(Kind::TamChain),
        count(Kind::SpCertificates),
        count(Kind::Aik),
        count(Kind::Personalization),
        device.world.images().len(),
    ]
}

/// An image whose maker takes everything back from `tam` of the PKI.
fn evicting() -> Trust {
    let evicted = vec![Evicted::Tam(pki().tam.tam_id())].leak();
    Trust { evicted, ..pki().trust }
}

#[test]
fn a_maker_takes_back_what_a_tam_holds() {
    let (tam, other) = (&pki().tam, &pki().other_tam);
    let command = |target| {
        let delete = Command::DeleteTa { spid: None, name: OTHER_DOMAIN, taid: OTHER_TA };
        Builder::command(other, target, delete)
    };
    assert_eq!(records(&Device::from(&home().snapshot)), [2, 3, 2, 1, 2]);
    let mut device = under(&home().snapshot, evicting());
    // Whatever is asked first, it is carried out before the answer.
    for ask in [
        |device: &mut Device| assert!(device.personalization(&uuid(1)).is_err()),
        |device: &mut Device| assert!(device.engine.status(&mut device.reply).is_ok()),
        |device: &mut Device| drop(device.process(b"{}")),
        |device: &mut Device| {
            let asked = device.engine.ta_information(&mut ta_query(SP, TA), &mut device.reply);
            assert_eq!(asked, Err(QueryError::NotFound));
        },
    ] {
        device = under(&home().snapshot, evicting());
        ask(&mut device);
        assert_eq!(records(&device), [1, 1, 1, 0, 1]);
        assert!(!device.world.images().contains_key(&uuid(1)));
    }
    // It is refused with certificates and without, and so is what it made before.
    for header in [SignerHeader::Chain, SignerHeader::KeyId] {
        let question = Builder::device_state(tam).signer(header).build().unwrap();
        assert_eq!(device.refusal(&question.message).code.as_deref(), Some(UNTRUSTED));
    }
    for base in Base::ALL {
        let request = base.builder().build().unwrap();
        assert_eq!(device.refusal(&request.message).code.as_deref(), Some(UNTRUSTED));
    }
    // Nobody else notices: a request of another TAM that was made before is carried out.
    device.pass(other, command(&home().other_target));

    // Its UUIDs stay its own: clients know applications by them.
    let certificate = der(&pki().sp_ec.certificate);
    let create = || Command::CreateSd { spid: SP, name: DOMAIN, certificate: &certificate };
    device.carry_out(other, create());
    let image = signed(&pki().sp_ec, uuid(1), 9);
    let target = target_of(&mut device, other);
    let take = Builder::command(other, &target, Command::InstallTa(application(TA, &image)));
    assert_eq!(device.fail(other, take), "ERR_TA_INVALID");
    // With an image that does not list it, it begins anew, with its UUIDs, and not below their versions.
    let mut device = under(&device.world.snapshot(), pki().trust);
    assert!(device.state(tam).dsi.tee.sdlist.sd.is_empty());
    device.carry_out(tam, create());
    let older = signed(&pki().sp_ec, uuid(1), 4);
    let target = target_of(&mut device, tam);
    let install = |image| Command::InstallTa(application(TA, image));
    let refused = device.fail(tam, Builder::command(tam, &target, install(&older)));
    assert_eq!(refused, "ERR_TA_INVALID");
    device.pass(tam, Builder::command(tam, &target, install(&image)));
    assert_eq!(device.personalization(&uuid(1)).ok(), None, "its data were deleted");
}

/// The other TAM at home, below a root of its own.
fn home_below(root: &Signer) -> (Identity, Snapshot) {
    let guest = below(root, "https://guest.example", Period::hours(24));
    let mut device = under(&home().snapshot, two_roots(root, &[], &[]));
    let certificate = &home().rsa_certificate;
    device.carry_out(&guest, Command::CreateSd { spid: "guest", name: CREATE, certificate });
    let image = signed(&pki().sp_rsa, uuid(9), 1);
    let install = Application { spid: "guest", domain: CREATE, ..application(TA, &image) };
    device.carry_out(&guest, Command::InstallTa(install));
    (guest, device.world.snapshot())
}

#[test]
fn a_maker_takes_back_what_a_root_vouched_for() {
    let root = other_root();
    let (guest, snapshot) = home_below(&root);
    let listed = vec![Evicted::Root(sha256(&der(&root.certificate)))].leak();
    // While the image has the root, and does not list it, the TAM is served.
    let mut device = under(&snapshot, two_roots(&root, &[], &[]));
    device.state(&guest);
    let trust = Trust { evicted: listed, ..pki().trust };
    let mut device = under(&snapshot, trust);
    assert_eq!(refusal_of(&mut device, &guest).as_deref(), Some(UNTRUSTED));
    assert_eq!(records(&device), records(&Device::from(&home().snapshot)));
    device.state(&pki().tam);
    device.state(&pki().other_tam);
    // A TAM that came over to another root in time stays.
    let mut device = under(&snapshot, two_roots(&root, &[], &[]));
    let moved = tam(guest.tam_id());
    assert_eq!(device.state(&moved).dsi.tee.sdlist.sd.len(), 1);
    let mut device = under(&device.world.snapshot(), trust);
    assert_eq!(device.state(&moved).dsi.tee.sdlist.sd.len(), 1);
}

#[test]
fn taking_back_survives_power_cuts() {
    let other = &pki().other_tam;
    let gone = {
        let mut device = under(&home().snapshot, evicting());
        let _ = device.process(b"{}");
        device.world.snapshot()
    };
    let mut steps = 0;
    with_cuts_in_cuts(
        &home().snapshot,
        &|snapshot| under(snapshot, evicting()),
        &|device| drop(device.process(b"{}")),
        // A cut may come again while what the first one left is finished.
        2,
        &mut |device| {
            steps += 1;
            let _ = device.process(b"{}");
            assert!(device.world.snapshot() == gone);
            assert_eq!(refusal_of(device, &pki().tam).as_deref(), Some(UNTRUSTED));
            let delete = Command::DeleteTa { spid: None, name: OTHER_DOMAIN, taid: OTHER_TA };
            device.pass(other, Builder::command(other, &home().other_target, delete));
        },
    );
    assert!(steps > 40, "{steps}");
    // With errors in place of cuts, with a restart and without.
    with_each_fault_on(
        || under(&home().snapshot, evicting()),
        |device| drop(device.process(b"{}")),
        |device| {
            let _ = device.process(b"{}");
            assert!(device.world.snapshot() == gone);
        },
    );
}

#[test]
fn uuids_are_kept_free_for_a_later_image() {
    let reserved = vec![FREE_UUID, uuid(1)].leak();
    let mut device = under(&home().snapshot, Trust { reserved, ..pki().trust });
    let tam = &pki().tam;
    let before = device.world.snapshot();
    for base in [Base::InstallTa, Base::UpdateTa] {
        assert_eq!(device.fail(tam, base.builder()), "ERR_TA_INVALID", "{base:?}");
        assert!(device.world.snapshot() == before);
    }
    let data = Application { image: None, personalization: Some(b"new"), ..application(TA, &[]) };
    let request = Builder::command(tam, &home().target, Command::UpdateTa(data));
    assert_eq!(device.fail(tam, request), "ERR_TA_INVALID");
    assert!(device.world.snapshot() == before);
    // What is there already works until it is deleted.
    assert_eq!(device.personalization(&uuid(1)), Ok(b"secret".to_vec()));
    device.pass(tam, Base::DeleteTa.builder());
}

/// Seconds since 1970, many years from now.
fn later() -> i64 {
    i64::try_from(now()).unwrap() + 39 * 365 * 24 * 3600
}

#[test]
fn a_wrong_clock_locks_out_its_own_root_only() {
    let root = other_root();
    let far = Period { this_update: later(), next_update: later() + 3600 };
    let ahead = below(&root, "https://ahead.example", far);
    let guest = below(&root, "https://guest.example", Period::hours(24));
    let trust = two_roots(&root, &[], &[]);
    let mut device = under(&home().snapshot, trust);
    let set = |device: &Device, clock: u64| *device.world.clock.borrow_mut() = clock;
    let right = now();
    let target = Target::from(&device.state(&pki().tam));
    device.state(&guest);
    set(&device, later().unsigned_abs());
    device.state(&ahead);
    set(&device, right);
    for _ in 0..2 {
        // The time that the other root vouched for is no other root's.
        device.state(&pki().other_tam);
        assert_eq!(refusal_of(&mut device, &guest).as_deref(), Some(UNTRUSTED));
        device.reboot();
    }
    device.pass(&pki().tam, Builder::command(&pki().tam, &target, Base::CreateSd.command()));

    // The maker's way down: an image with a higher epoch, once.
    let snapshot = device.world.snapshot();
    let epoch = |floor_epoch| Trust { floor_epoch, ..trust };
    let mut device = under(&snapshot, epoch(1));
    device.state(&guest);
    set(&device, later().unsigned_abs());
    device.state(&ahead);
    set(&device, right);
    for floor_epoch in [0, 1] {
        let mut device = under(&device.world.snapshot(), epoch(floor_epoch));
        assert_eq!(refusal_of(&mut device, &guest).as_deref(), Some(UNTRUSTED), "{floor_epoch}");
    }
    let mut device = under(&device.world.snapshot(), epoch(2));
    device.state(&guest);
    // What the image itself says is never undone: it was not built before.
    let built = Trust { built_at: later().unsigned_abs(), floor_epoch: 3, ..trust };
    let mut device = under(&device.world.snapshot(), built);
    assert_eq!(refusal_of(&mut device, &guest).as_deref(), Some(UNTRUSTED));
}

#[test]
fn a_root_speaks_for_its_names_only() {
    const OWN: &[NamePattern] = &[NamePattern::Uri("https://tam.example")];
    const OTHERS: &[NamePattern] =
        &[NamePattern::Uri("https://guest.example/"), NamePattern::DnsBelow("guest.example")];
    let root = other_root();
    let id = pki().tam.tam_id();
    let own: &'static [NamePattern] = vec![NamePattern::Uri(id)].leak();
    let period = || Period::hours(24);
    let rogue = below(&root, id, period());
    let guest = below(&root, "https://guest.example/otrp", period());
    let near = below(&root, "https://guest.example.evil.test/", period());
    let mut device = under(&home().snapshot, two_roots(&root, own, OTHERS));
    let before = device.world.snapshot();
    for tam in [&rogue, &near] {
        assert_eq!(refusal_of(&mut device, tam).as_deref(), Some(UNTRUSTED), "{}", tam.tam_id());
        assert!(device.world.snapshot() == before);
    }
    assert!(device.state(&guest).dsi.tee.sdlist.sd.is_empty());
    assert_eq!(device.state(&pki().tam).dsi.tee.sdlist.sd.len(), 2);
    assert_eq!(refusal_of(&mut device, &pki().other_tam).as_deref(), Some(UNTRUSTED));
    // The other way round: what its own root does not speak for is nobody's.
    let mut device = under(&home().snapshot, two_roots(&root, OWN, &[]));
    assert_eq!(refusal_of(&mut device, &pki().tam).as_deref(), Some(UNTRUSTED));
    // A root without names speaks for all, as its maker is warned: then it takes over.
    assert_eq!(device.state(&rogue).dsi.tee.sdlist.sd.len(), 2);
    // Of two roots with one name and one key, one that speaks for the TAM is enough.
    let twice = Anchor { names: own, certificate: pki().trust.tam_anchors[0].certificate };
    let anchors = vec![Anchor { names: OTHERS, ..twice }, twice].leak();
    let mut device = under(&home().snapshot, Trust { tam_anchors: anchors, ..pki().trust });
    device.state(&pki().tam);
}

#[test]
fn a_name_in_another_case_is_the_same_tams() {
    let id = "https://tam.example/Otrp";
    let mut device = Device::provisioned();
    let old = tam(id);
    let certificate = der(&pki().sp_ec.certificate);
    device.carry_out(&old, create(&certificate));
    let renewed = tam("HTTPS://Tam.EXAMPLE/Otrp");
    assert_eq!(renewed.tam_id(), id);
    assert_eq!(device.state(&renewed).dsi.tee.sdlist.sd.len(), 1);
    // A claim is compared likewise, and the path is not.
    let claims = |device: &mut Device, name: &str| {
        let target = target_of(device, &renewed);
        let command = Command::CreateSd { spid: name, name, certificate: &certificate };
        device.try_to(&renewed, Builder::command(&renewed, &target, command).tam_id(name))
    };
    assert_eq!(claims(&mut device, "HTTPS://TAM.example/Otrp"), Ok(()));
    let foreign = Err(String::from("ERR_TAM_NOT_AUTHORIZED"));
    assert_eq!(claims(&mut device, "https://tam.example/otrp"), foreign);
    assert!(device.state(&tam("https://tam.example/otrp")).dsi.tee.sdlist.sd.is_empty());
}

/// A question for an application with members that tell which is meant.
fn query(tam: Option<&str>, sd: Option<&str>) -> Vec<u8> {
    let mut members = serde_json::json!({ "spid": SP, "taid": TA });
    for (name, value) in [("tamid", tam), ("sdname", sd)] {
        if let Some(value) = value {
            members[name] = value.into();
        }
    }
    serde_json::json!({ "TAQuery": members }).to_string().into_bytes()
}

/// Whose application the answer is about, unverified.
fn answers(device: &mut Device, query: &[u8]) -> Result<String, QueryError> {
    let answer = device.engine.ta_information(&mut query.to_vec(), &mut device.reply)?;
    let outer: Value = serde_json::from_slice(answer).unwrap();
    let payload = outer["TAInformation"]["payload"].as_str().unwrap();
    let inner: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    Ok(inner["TAInformationTBS"]["tamid"].as_str().unwrap().to_owned())
}

#[test]
fn information_is_about_what_was_asked_for() {
    let mut device = Device::from(&home().snapshot);
    let (tam, other) = (&pki().tam, &pki().other_tam);
    let (id, other_id) = (tam.tam_id(), other.tam_id());
    let ambiguous = Err(QueryError::Ambiguous);
    assert_eq!(answers(&mut device, &query(None, None)), Ok(id.into()));
    // Another TAM's provider and application of the same names.
    let certificate = &home().rsa_certificate;
    device.carry_out(other, Command::CreateSd { spid: SP, name: "same", certificate });
    let image = signed(&pki().sp_rsa, uuid(77), 1);
    let same = Application { domain: "same", ..application(TA, &image) };
    device.carry_out(other, Command::InstallTa(same));
    for _ in 0..2 {
        assert_eq!(answers(&mut device, &query(None, None)), ambiguous);
        assert_eq!(answers(&mut device, &query(Some(id), None)), Ok(id.into()));
        assert_eq!(answers(&mut device, &query(Some(other_id), None)), Ok(other_id.into()));
        assert_eq!(answers(&mut device, &query(None, Some(DOMAIN))), Ok(id.into()));
        assert_eq!(answers(&mut device, &query(None, Some("same"))), Ok(other_id.into()));
        let upper = other_id.replace("https", "HTTPS");
        assert_eq!(answers(&mut device, &query(Some(&upper), None)), Ok(other_id.into()));
        let nothing = query(Some(other_id), Some(DOMAIN));
        assert_eq!(answers(&mut device, &nothing), Err(QueryError::NotFound));
        // In which order they are installed makes no difference.
        device.carry_out(tam, Command::DeleteTa { spid: None, name: DOMAIN, taid: TA });
        assert_eq!(answers(&mut device, &query(Some(id), None)), Err(QueryError::NotFound));
        device.carry_out(tam, Command::InstallTa(application(TA, &home().newer_image)));
    }
    // Two domains of one provider.
    let image = signed(&pki().sp_ec, uuid(78), 1);
    let same = Application { domain: EMPTY_DOMAIN, ..application(TA, &image) };
    device.carry_out(tam, Command::InstallTa(same));
    assert_eq!(answers(&mut device, &query(Some(id), None)), ambiguous);
    for domain in [DOMAIN, EMPTY_DOMAIN] {
        assert_eq!(answers(&mut device, &query(Some(id), Some(domain))), Ok(id.into()));
    }
}

#[test]
fn lost_certificates_of_a_tam_come_back() {
    let (tam, other) = (&pki().tam, &pki().other_tam);
    let chain = tam.chain().iter().flat_map(der).collect::<Vec<u8>>();
    let damages: [fn(&mut Vec<u8>); 5] = [
        |record| record.clear(),
        |record| record.truncate(9),
        |record| record[0] ^= 1,
        |record| *record.last_mut().unwrap() ^= 1,
        |record| record.resize(9999, 0),
    ];
    for damage in damages.into_iter().map(Some).chain([None]) {
        let mut device = Device::from(&home().snapshot);
        {
            let blobs = &mut device.world.stored.borrow_mut().blobs;
            let leaf = &chain[..der(&tam.chain()[0]).len()];
            let stored = blobs.iter().find(|(name, blob)| {
                matches!(name, Blob::TamChain(_)) && blob.bytes().starts_with(leaf)
            });
            let stored = *stored.unwrap().0;
            match damage {
                None => drop(blobs.remove(&stored)),
                Some(damage) => damage(blobs.get_mut(&stored).unwrap().bytes_mut()),
            }
        }
        // Nobody else is concerned, and the application is answered for.
        for header in [SignerHeader::KeyId, SignerHeader::Absent] {
            device.ask(other, Builder::device_state(other).signer(header));
        }
        let key = home().target.attestation_keys[0].public_key().unwrap();
        let query = ta_query(SP, TA);
        let answer = device.engine.ta_information(&mut query.clone(), &mut device.reply).unwrap();
        let information = TaInformation::verify(answer, &key).unwrap();
        assert_eq!(information.tamid, tam.tam_id());
        // With its certificates it repairs them: the state reports them as present, and they are.
        device.state(tam);
        device.ask(tam, Builder::device_state(tam).signer(SignerHeader::KeyId));
        let answer = device.engine.ta_information(&mut query.clone(), &mut device.reply).unwrap();
        let information = TaInformation::verify(answer, &key).unwrap();
        assert_eq!(information.tamcert, base64(&der(&tam.chain()[0])));
        assert_eq!(device.records(Kind::TamChain).len(), 2);
    }
}

#[test]
fn a_generation_reveals_nothing_about_other_tams() {
    let (tam, other) = (&pki().tam, &pki().other_tam);
    let mut seen = BTreeSet::new();
    let mut shapes = BTreeSet::new();
    for busy in [false, true] {
        let mut device = Device::from(&home().snapshot);
        for _ in 0..20 {
            let mut state = device.state(tam);
            let generation = state.dsi.tee.generation.take().unwrap();
            // 128 bits that reveal neither order nor distance.
            assert!(generation.len() == 32 && generation.bytes().all(|it| it.is_ascii_hexdigit()));
            shapes.insert(format!("{:?}", state.dsi));
            seen.insert(generation);
            if busy {
                device.state(other);
                device.reboot();
            }
        }
    }
    assert_eq!(shapes.len(), 1, "what the other TAM does makes no difference");
    // From the same moment on the same numbers came with the same texts, of which the second device
    // used every other one.
    assert_eq!(seen.len(), 30);

    // It is never reused, also for a TAM that was evicted and came back.
    let mut device = Device::from(&home().snapshot);
    let mut before = BTreeSet::new();
    for _ in 0..10 {
        before.insert(device.state(tam).dsi.tee.generation.unwrap());
    }
    let mut device = under(&device.world.snapshot(), evicting());
    assert_eq!(refusal_of(&mut device, tam).as_deref(), Some(UNTRUSTED));
    let mut device = under(&device.world.snapshot(), pki().trust);
    for _ in 0..10 {
        assert!(before.insert(device.state(tam).dsi.tee.generation.unwrap()));
    }
    // Each device has names of its own.
    let first = |device: &mut Device| {
        device.provision();
        device.state(tam).dsi.tee.generation.unwrap()
    };
    assert_ne!(first(&mut Device::blank()), first(&mut Device::blank()));
}

#[test]
fn the_status_has_the_time_that_is_judged_by() {
    let mut device = Device::from(&home().snapshot);
    let status = |device: &mut Device| {
        let status = device.engine.status(&mut device.reply).unwrap();
        let status: Value = serde_json::from_slice(status).unwrap();
        status["time"].as_u64()
    };
    *device.world.clock.borrow_mut() = 4_000_000_000;
    assert_eq!(status(&mut device), Some(4_000_000_000));
    *device.world.clock.borrow_mut() = 0;
    assert_eq!(status(&mut device), Some(pki().trust.built_at));
}
