//! Every capacity at its limit and one beyond, and the largest answer of all.

use std::cmp::Ordering;
use std::mem::take;

use openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::x509::{X509, X509Extension, X509Name};
use otrp_engine::error::Unanswerable;
use otrp_engine::image::ELF_LIMIT;
use otrp_engine::information::QueryError;
use otrp_engine::limits::{
    CERTIFICATE_LIMIT, CHAIN_BYTES_LIMIT, CHAIN_LIMIT, MESSAGE_LIMIT, NAME_LIMIT,
    PERSONALIZATION_LIMIT, REPLY_LIMIT, RETIRED_CERTIFICATE_LIMIT, SD_LIMIT, SD_SHARE,
    SP_CERTIFICATE_LIMIT, TA_LIMIT, TA_SHARE, TAM_ID_LIMIT, TAM_LIMIT, TEE_CHAIN_BYTES_LIMIT,
    TRANSACTION_ID_LIMIT, UUID_LIMIT, UUID_SHARE,
};
use otrp_engine::personalization::PersonalizationError;
use otrp_engine::platform::KeyType;
use otrp_engine::{Anchor, Engine, Trust};
use otrp_keys::certificate::{Identity as Signer, Purpose, Template, Validity, generate_p256};
use otrp_keys::ocsp::{Period, Statement, Status};
use otrp_keys::{Uuid, image};
use otrp_sim::Snapshot;
use otrp_tam::Identity;
use otrp_tam::dsi::DeviceState;
use otrp_tam::request::{
    Application, Builder, Command, SdChanges, SignerHeader, TaEncryption, Target,
};
use otrp_tam::ta_information::TaInformation;

use crate::bench::{Device, Kind, der, elf, now, pki, signed, stapled, stapled_below_authority};

const FULL: &str = "ERR_TEE_RESOURCE_FULL";

/// Most security domains and trusted applications of one TAM: all but the shares of the others.
const MOST_SDS: usize = SD_LIMIT - (TAM_LIMIT - 1) * SD_SHARE;
const MOST_TAS: usize = TA_LIMIT - (TAM_LIMIT - 1) * TA_SHARE;

/// A TAM under the issuing CA, for a new key.
pub fn tam(id: &str) -> Identity {
    let key = generate_p256().unwrap();
    let leaf = template("A TAM of a test", Purpose::Party, Some(id));
    let mut chain = pki().tam.chain().to_vec();
    chain[0] = leaf.issue(&key, &pki().tam_authority).unwrap();
    stapled_below_authority(Identity::new(key, chain, None).unwrap())
}

fn template<'a>(common_name: &'a str, purpose: Purpose, uri: Option<&'a str>) -> Template<'a> {
    let organization = "OTrP tests (not for production)";
    Template { organization, common_name, purpose, validity: Validity::years(1), uri }
}

/// A name that is as long as names may be, and another for each number.
fn long(number: usize) -> String {
    format!("{number:0>width$}", width = NAME_LIMIT)
}

/// The UUID of a number.
pub fn numbered(number: usize) -> [u8; 16] {
    u128::try_from(number + 1).unwrap().to_be_bytes()
}

/// A device and what its TAM knows of it; each command builds on the state that the last one gave.
struct Session<'t> {
    device: Device,
    tam: &'t Identity,
    state: DeviceState,
}

impl<'t> Session<'t> {
    fn begin(tam: &'t Identity) -> Self {
        let mut device = Device::provisioned();
        let state = device.state(tam);
        Self { device, tam, state }
    }

    fn pass(&mut self, command: Command<'_>) {
        let target = Target::from(&self.state);
        let request = Builder::command(self.tam, &target, command);
        self.state = self.device.pass(self.tam, request).state.unwrap();
    }

    /// Sends a command that must be refused and change nothing.
    fn refuse(&mut self, command: Command<'_>, code: &str) {
        let before = self.device.world.snapshot();
        let target = Target::from(&self.state);
        let request = Builder::command(self.tam, &target, command);
        assert_eq!(self.device.fail(self.tam, request), code);
        assert!(self.device.world.snapshot() == before);
    }
}

pub fn install<'a>(spid: &'a str, domain: &'a str, taid: &'a str, image: &'a [u8]) -> Command<'a> {
    Command::InstallTa(Application {
        spid,
        domain,
        taid,
        certificate: None,
        image: Some(image),
        personalization: None,
    })
}

#[test]
fn a_full_device_and_its_largest_answer() {
    fill(KeyType::P256);
}

#[test]
fn a_device_full_of_rsa_keys_and_its_largest_answer() {
    fill(KeyType::Rsa2048);
}

/// Everything of one TAM, with the longest names, and each provider with a key of its own.
fn fill(keys: KeyType) {
    let id = format!("https://{}", "t".repeat(TAM_ID_LIMIT - "https://".len()));
    let tam = tam(&id);
    let mut session = Session::begin(&tam);
    let certificate = der(&pki().sp_ec.certificate);
    let names: Vec<String> = (0..=MOST_TAS.max(MOST_SDS)).map(long).collect();
    for name in &names[..MOST_SDS] {
        session.pass(Command::CreateSd { spid: name, name, certificate: &certificate });
    }
    let name = &names[MOST_SDS];
    let create = Command::CreateSd { spid: name, name, certificate: &certificate };
    session.refuse(create, FULL);

    for (number, name) in names[..MOST_TAS].iter().enumerate() {
        let domain = &names[number % MOST_SDS];
        let image = signed(&pki().sp_ec, numbered(number), 1);
        session.pass(install(domain, domain, name, &image));
    }
    let image = signed(&pki().sp_ec, numbered(MOST_TAS), 1);
    session.refuse(install(&names[0], &names[0], &names[MOST_TAS], &image), FULL);

    // The keys that are to be last.
    session.device.world.key_type.set(keys);
    let renew = || SdChanges { renew_attestation_key: true, ..SdChanges::default() };
    for name in &names[..MOST_SDS] {
        session.pass(Command::UpdateSd { spid: name, name, changes: renew() });
    }

    let tee = &session.state.dsi.tee;
    assert_eq!((tee.sdlist.sd.len(), tee.teeaiklist.len()), (MOST_SDS, MOST_SDS));
    assert_eq!(tee.sdlist.sd.iter().map(|sd| sd.talist.len()).sum::<usize>(), MOST_TAS);
    // The last states came with commands; one that is asked for is as large.
    let question = || {
        let (rid, tid) = ("r".repeat(TRANSACTION_ID_LIMIT), "t".repeat(TRANSACTION_ID_LIMIT));
        Builder::device_state(&tam).rid(rid).tid(tid)
    };
    session.state = session.device.ask(&tam, question());
    let answer = session.device.process(&question().build().unwrap().message).unwrap();
    // The TEE's certificates may be larger; they are in base64 in a ciphertext in a payload.
    let chain = session.device.records(Kind::TeeChain)[0].len();
    let larger = (TEE_CHAIN_BYTES_LIMIT - chain) * 64 / 27;
    // A TEE with an RSA key signs with 256 octets instead of 64, and the key of the state is 512
    // octets in base64 in a payload where the TAM's key is the largest of RSA, not 40.
    let larger = larger + (256 - 64) * 4 / 3 + (512 - 40) * 16 / 9;
    assert!(answer.len() + larger <= REPLY_LIMIT, "{} and {larger} bytes", answer.len());
    session.state = session.device.ask(&tam, question());
    // And so is one with everything that may accompany a state.
    let target = Target::from(&session.state);
    let update = Command::UpdateSd { spid: &names[0], name: &names[0], changes: renew() };
    let (rid, tid) = ("r".repeat(TRANSACTION_ID_LIMIT), "t".repeat(TRANSACTION_ID_LIMIT));
    let request = Builder::command(&tam, &target, update).rid(rid).tid(tid);
    session.state = session.device.pass(&tam, request).state.unwrap();

    // It starts again, and the whole of it fits into what one change can forget.
    session.device.reboot();
    assert_eq!(session.device.state(&tam).dsi.tee.sdlist, session.state.dsi.tee.sdlist);
}

#[test]
fn all_applications_in_one_domain_are_deleted_at_once() {
    let mut session = Session::begin(&pki().tam);
    let certificate = der(&pki().sp_ec.certificate);
    session.pass(Command::CreateSd { spid: "sp", name: "domain", certificate: &certificate });
    for number in 0..MOST_TAS {
        let image = signed(&pki().sp_ec, numbered(number), 1);
        session.pass(Command::InstallTa(Application {
            spid: "sp",
            domain: "domain",
            taid: &long(number),
            certificate: None,
            image: Some(&image),
            personalization: Some(b"data"),
        }));
    }
    assert_eq!(session.device.records(Kind::Personalization).len(), MOST_TAS);
    session.pass(Command::DeleteSd { spid: None, name: "domain", delete_tas: true });
    assert!(session.device.world.images().is_empty());
    for kind in [Kind::Personalization, Kind::SpCertificates, Kind::Aik] {
        assert!(session.device.records(kind).is_empty(), "{kind:?}");
    }
}

/// Lets a TAM have a UUID remembered: installs an application and deletes it.
pub fn use_up(device: &mut Device, tam: &Identity, number: usize) -> Result<(), String> {
    let image = signed(&pki().sp_ec, numbered(number), 7);
    let target = Target::from(&device.state(tam));
    device.try_to(tam, Builder::command(tam, &target, install("sp", "domain", "ta", &image)))?;
    device.carry_out(tam, Command::DeleteTa { spid: None, name: "domain", taid: "ta" });
    Ok(())
}

#[test]
fn uuids_are_remembered_and_shared_out() {
    let mut device = Device::provisioned();
    let certificate = der(&pki().sp_ec.certificate);
    let create = Command::CreateSd { spid: "sp", name: "domain", certificate: &certificate };
    let greedy = &pki().tam;
    device.carry_out(greedy, create.clone());
    // One TAM may have its own share and what is nobody's.
    let most = UUID_LIMIT - (TAM_LIMIT - 1) * UUID_SHARE;
    for number in 0..most {
        assert_eq!(use_up(&mut device, greedy, number), Ok(()));
    }
    let before = device.world.snapshot();
    assert_eq!(use_up(&mut device, greedy, most), Err(FULL.into()));
    assert_eq!(lasting(&device.world.snapshot()), lasting(&before));
    // Those that are remembered may come back, though not in an older version.
    let older = signed(&pki().sp_ec, numbered(0), 6);
    let target = Target::from(&device.state(greedy));
    let request = Builder::command(greedy, &target, install("sp", "domain", "ta", &older));
    assert_eq!(device.fail(greedy, request), "ERR_TA_INVALID");
    assert_eq!(use_up(&mut device, greedy, 0), Ok(()));

    // It deletes its domain. What it used still counts, so it is not evicted: that would free nothing.
    device.carry_out(greedy, DELETE);
    let tams: Vec<Identity> =
        (0..TAM_LIMIT).map(|number| tam(&format!("https://{number}.example"))).collect();
    let (last, others) = tams.split_last().unwrap();
    for tam in others {
        device.state(tam);
    }
    // The responses of all of them end.
    *device.world.clock.borrow_mut() = now() + 25 * 3600;
    device.state(&days_later(last, 1));
    let tams: Vec<Identity> = tams.iter().map(|tam| days_later(tam, 1)).collect();
    let greedy = &days_later(greedy, 1);
    device.ask(greedy, Builder::device_state(greedy).signer(SignerHeader::KeyId));
    let gone = Builder::device_state(&tams[0]).signer(SignerHeader::KeyId).build().unwrap();
    let refused = device.refusal(&gone.message);
    assert_eq!(refused.code.as_deref(), Some("ERR_TAM_NOT_TRUSTED"));
    // Each of the others has its share.
    let numbers: Vec<usize> = (most..UUID_LIMIT).collect();
    let shares = numbers.chunks_exact(UUID_SHARE);
    assert_eq!(shares.len(), TAM_LIMIT - 1);
    for (tam, share) in tams[1..].iter().zip(shares) {
        device.carry_out(tam, create.clone());
        for number in share {
            assert_eq!(use_up(&mut device, tam, *number), Ok(()), "{}", tam.tam_id());
        }
        assert_eq!(use_up(&mut device, tam, UUID_LIMIT), Err(FULL.into()), "{}", tam.tam_id());
        device.carry_out(tam, DELETE);
    }
    // A device that has nothing left for the share of one more TAM takes in none.
    let before = device.world.snapshot();
    let question = Builder::device_state(&tams[0]).build().unwrap();
    assert_eq!(device.refusal(&question.message).code.as_deref(), Some(FULL));
    assert!(device.world.snapshot() == before);
    // Whoever comes back is who it was.
    device.carry_out(greedy, create);
    assert_eq!(use_up(&mut device, greedy, 0), Ok(()));
    assert_eq!(use_up(&mut device, greedy, most), Err("ERR_TA_INVALID".into()));
}

const DELETE: Command<'static> =
    Command::DeleteSd { spid: None, name: "domain", delete_tas: false };

/// What is stored apart from the registry, in which each question is noted.
fn lasting(snapshot: &Snapshot) -> Snapshot {
    let mut snapshot = snapshot.clone();
    snapshot.record = None;
    snapshot
}

#[test]
fn so_many_tams_are_remembered() {
    let tams: Vec<Identity> =
        (0..=TAM_LIMIT).map(|number| tam(&format!("https://tam-{number}.example"))).collect();
    let mut device = Device::provisioned();
    let certificate = der(&pki().sp_ec.certificate);
    let create = Command::CreateSd { spid: "sp", name: "domain", certificate: &certificate };
    for tam in &tams[..TAM_LIMIT] {
        device.carry_out(tam, create.clone());
    }
    assert_eq!(device.records(Kind::TamChain).len(), TAM_LIMIT);
    // One more is refused, as long as all have something here.
    let last = &tams[TAM_LIMIT];
    let before = device.world.snapshot();
    let question = Builder::device_state(last).build().unwrap().message;
    assert_eq!(device.refusal(&question).code.as_deref(), Some(FULL));
    assert!(device.world.snapshot() == before);
    // Nor is one evicted that has nothing yet and may be about to create its first domain.
    let delete = Command::DeleteSd { spid: None, name: "domain", delete_tas: false };
    device.carry_out(&tams[3], delete);
    assert_eq!(device.refusal(&question).code.as_deref(), Some(FULL));
    // It does when its responses have ended.
    *device.world.clock.borrow_mut() = now() + 25 * 3600;
    let tams: Vec<Identity> = tams.iter().map(|tam| days_later(tam, 1)).collect();
    let last = &tams[TAM_LIMIT];
    device.carry_out(last, create);
    assert_eq!(device.records(Kind::TamChain).len(), TAM_LIMIT);
    let forgotten = Builder::device_state(&tams[3]).signer(SignerHeader::KeyId).build().unwrap();
    let refused = device.refusal(&forgotten.message);
    assert_eq!(refused.code.as_deref(), Some("ERR_TAM_NOT_TRUSTED"));
    for tam in tams[..TAM_LIMIT].iter().filter(|tam| tam.tam_id() != tams[3].tam_id()) {
        let state = device.ask(tam, Builder::device_state(tam).signer(SignerHeader::KeyId));
        assert_eq!(state.dsi.tee.sdlist.sd.len(), 1);
    }
}

/// The TAM with responses for a day that begins so many days from now.
pub fn days_later(tam: &Identity, days: i64) -> Identity {
    let day = 24 * 3600;
    let start = i64::try_from(now()).unwrap() + days * day;
    let period = Period { this_update: start, next_update: start + day };
    let issuers = [&pki().tam_authority, &pki().tam_root];
    let responses = tam.chain().iter().zip(issuers).map(|(certificate, issuer)| {
        let (status, issuer_certificate) = (Status::Good, &issuer.certificate);
        Statement { certificate, issuer: issuer_certificate, status, period }.sign(issuer).unwrap()
    });
    let responses = responses.collect();
    tam.clone().staple(responses)
}

fn add(certificates: &[Vec<u8>]) -> SdChanges<'_> {
    let add = certificates.iter().map(Vec::as_slice).collect();
    SdChanges { add, ..SdChanges::default() }
}

#[test]
fn so_many_certificates_of_a_provider() {
    let signers: Vec<Signer> = (0..=SP_CERTIFICATE_LIMIT)
        .map(|_| {
            let template = template("An SP of a test", Purpose::TaSigning, None);
            template.self_sign(generate_p256().unwrap()).unwrap()
        })
        .collect();
    let certificates: Vec<Vec<u8>> =
        signers.iter().map(|signer| der(&signer.certificate)).collect();
    let mut session = Session::begin(&pki().tam);
    let (first, others) = certificates.split_first().unwrap();
    session.pass(Command::CreateSd { spid: "sp", name: "domain", certificate: first });
    let update = |changes| Command::UpdateSd { spid: "sp", name: "domain", changes };
    // That would be one too many, and all or none are added.
    session.refuse(update(add(others)), FULL);
    session.pass(update(add(&others[..SP_CERTIFICATE_LIMIT - 1])));
    let last = &signers[SP_CERTIFICATE_LIMIT];
    session.refuse(update(add(&others[SP_CERTIFICATE_LIMIT - 1..])), FULL);
    let image = signed(last, numbered(0), 1);
    let bring = |image| {
        Command::InstallTa(Application {
            spid: "sp",
            domain: "domain",
            taid: "ta",
            certificate: certificates.last().map(Vec::as_slice),
            image: Some(image),
            personalization: None,
        })
    };
    session.refuse(bring(&image), FULL);
    // One that goes makes room, in the same request.
    let hash = hex::encode(crate::bench::sha256(first));
    let changes = SdChanges { remove: vec![&hash], ..add(&others[SP_CERTIFICATE_LIMIT - 1..]) };
    session.pass(update(changes));
    session.pass(bring(&image));
    assert_eq!(session.device.records(Kind::SpCertificates), [others.concat()]);
}

/// A certificate of this length, with a comment in it.
fn certificate_of(length: usize) -> Vec<u8> {
    let key = generate_p256().unwrap();
    let serial = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_nid(Nid::COMMONNAME, "An SP of a test").unwrap();
    let name = name.build();
    let of = |comment: usize| {
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        builder.set_serial_number(&serial).unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(&name).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(9).unwrap()).unwrap();
        builder.set_pubkey(&key).unwrap();
        let comment = Asn1OctetString::new_from_bytes(&vec![b'x'; comment]).unwrap();
        let oid = Asn1Object::from_str("2.16.840.1.113730.1.13").unwrap();
        builder
            .append_extension(X509Extension::new_from_der(&oid, false, &comment).unwrap())
            .unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        der(&builder.build())
    };
    let mut comment = length - of(0).len();
    loop {
        // The length of a signature varies by a few bytes.
        let certificate = of(comment);
        match certificate.len().cmp(&length) {
            Ordering::Equal => return certificate,
            Ordering::Greater => comment -= 1,
            Ordering::Less => comment += 1,
        }
    }
}

#[test]
fn a_certificate_of_a_provider_has_its_length() {
    let mut session = Session::begin(&pki().tam);
    let longest = certificate_of(CERTIFICATE_LIMIT);
    let longer = [certificate_of(CERTIFICATE_LIMIT + 1)];
    let create = |certificate| Command::CreateSd { spid: "sp", name: "domain", certificate };
    session.refuse(create(&longer[0]), "ERR_SPCERT_INVALID");
    session.pass(create(&longest));
    let update = |changes| Command::UpdateSd { spid: "sp", name: "domain", changes };
    session.refuse(update(add(&longer)), "ERR_SPCERT_INVALID");
    let others: Vec<Vec<u8>> =
        (1..SP_CERTIFICATE_LIMIT).map(|_| certificate_of(CERTIFICATE_LIMIT)).collect();
    session.pass(update(add(&others)));
    let all = [vec![longest], others].concat().concat();
    assert_eq!(session.device.records(Kind::SpCertificates), [all]);
}

#[test]
fn so_many_certificates_are_retired() {
    // A domain whose signer changes with each application that comes.
    let signers: Vec<Signer> = (0..=RETIRED_CERTIFICATE_LIMIT + 1)
        .map(|_| {
            let template = template("An SP of a test", Purpose::TaSigning, None);
            template.self_sign(generate_p256().unwrap()).unwrap()
        })
        .collect();
    let certificates: Vec<Vec<u8>> =
        signers.iter().map(|signer| der(&signer.certificate)).collect();
    let hashes: Vec<String> =
        certificates.iter().map(|der| hex::encode(crate::bench::sha256(der))).collect();
    let mut session = Session::begin(&pki().tam);
    let certificate = &certificates[0];
    session.pass(Command::CreateSd { spid: "sp", name: "domain", certificate });
    let names: Vec<String> = (0..signers.len()).map(long).collect();
    let replace = |number: usize| SdChanges {
        remove: vec![&hashes[number]],
        ..add(&certificates[number + 1..number + 2])
    };
    let update = |changes| Command::UpdateSd { spid: "sp", name: "domain", changes };
    let images: Vec<Vec<u8>> =
        (0..).zip(&signers).map(|(number, signer)| signed(signer, numbered(number), 1)).collect();
    for number in 0..RETIRED_CERTIFICATE_LIMIT {
        session.pass(install("sp", "domain", &names[number], &images[number]));
        session.pass(update(replace(number)));
    }
    let last = RETIRED_CERTIFICATE_LIMIT;
    session.pass(install("sp", "domain", &names[last], &images[last]));
    session.refuse(update(replace(last)), FULL);
    let mut record = [&certificates[last][..], &[0]].concat();
    record.extend(certificates[..last].concat());
    assert_eq!(session.device.records(Kind::SpCertificates), [record]);
    // An application that goes makes room.
    session.pass(Command::DeleteTa { spid: None, name: "domain", taid: &names[1] });
    session.pass(update(replace(last)));
    for (number, name) in names.iter().enumerate().take(last + 1).filter(|(at, _)| *at != 1) {
        let key = session.state.attestation_key("sp").unwrap().public_key().unwrap();
        let mut query = crate::bench::ta_query("sp", name);
        let device = &mut session.device;
        let answer = device.engine.ta_information(&mut query, &mut device.reply).unwrap();
        let information = TaInformation::verify(answer, &key).unwrap();
        assert_eq!(information.signercert, crate::bench::base64(&certificates[number]));
    }
}

#[test]
fn names_have_their_length() {
    let mut session = Session::begin(&pki().tam);
    let certificate = der(&pki().sp_ec.certificate);
    let (name, longer) = ("n".repeat(NAME_LIMIT), "n".repeat(NAME_LIMIT + 1));
    let accents = "\u{e9}".repeat(NAME_LIMIT / 2 + 1);
    let create = |spid, name| Command::CreateSd { spid, name, certificate: &certificate };
    let invalid = "ERR_REQUEST_INVALID";
    session.refuse(create(&longer, &name), invalid);
    session.refuse(create(&name, &longer), invalid);
    // In bytes, not in characters.
    session.refuse(create(&name, &accents), invalid);
    session.pass(create(&name, &name));
    for (new_name, new_spid) in [(Some(longer.as_str()), None), (None, Some(longer.as_str()))] {
        let changes = SdChanges { new_name, new_spid, ..SdChanges::default() };
        session.refuse(Command::UpdateSd { spid: &name, name: &name, changes }, invalid);
    }
    let image = signed(&pki().sp_ec, numbered(0), 1);
    session.refuse(install(&name, &name, &longer, &image), invalid);
    session.pass(install(&name, &name, &name, &image));
}

#[test]
fn personalization_has_its_length() {
    let mut session = Session::begin(&pki().tam);
    let certificate = der(&pki().sp_ec.certificate);
    session.pass(Command::CreateSd { spid: "sp", name: "domain", certificate: &certificate });
    let image = signed(&pki().sp_ec, numbered(0), 1);
    let data = vec![7; PERSONALIZATION_LIMIT + 1];
    let with = |length: usize| Application {
        spid: "sp",
        domain: "domain",
        taid: "ta",
        certificate: None,
        image: Some(&image),
        personalization: Some(&data[..length]),
    };
    session.refuse(Command::InstallTa(with(PERSONALIZATION_LIMIT + 1)), FULL);
    session.pass(Command::InstallTa(with(PERSONALIZATION_LIMIT)));
    assert_eq!(session.device.records(Kind::Personalization), [&data[1..]]);
    assert_eq!(session.device.personalization(&numbered(0)).as_deref(), Ok(&data[1..]));
    session.refuse(Command::UpdateTa(with(PERSONALIZATION_LIMIT + 1)), FULL);
    session.pass(Command::UpdateTa(with(0)));
    assert_eq!(session.device.records(Kind::Personalization), [b""]);
    // Nothing is not the same as none.
    assert_eq!(session.device.personalization(&numbered(0)).as_deref(), Ok(&[][..]));
}

#[test]
fn the_largest_image_is_installed() {
    for (signer, encryption) in
        [(&pki().sp_rsa, TaEncryption::AesCbc), (&pki().sp_ec, TaEncryption::A256Gcm)]
    {
        let mut device = Device::provisioned();
        let tam = &pki().tam;
        let certificate = der(&signer.certificate);
        let create = Command::CreateSd { spid: "sp", name: "domain", certificate: &certificate };
        let state = device.carry_out(tam, create).state.unwrap();
        let target = Target::from(&state);
        let data = vec![7; PERSONALIZATION_LIMIT];
        let request = |length: usize| {
            let elf = elf(numbered(0), 0, length);
            let image = image::sign(&signer.key, None, Uuid(numbered(0)), 1, &elf).unwrap();
            let application = Application {
                spid: "sp",
                domain: "domain",
                taid: "ta",
                certificate: Some(&certificate),
                image: Some(&image),
                personalization: Some(&data),
            };
            let request = Builder::command(tam, &target, Command::InstallTa(application));
            let request = request.ta_encryption(encryption).edit_payload(|payload| {
                // As some encoders write base64.
                if encryption == TaEncryption::A256Gcm {
                    let text = String::from_utf8(take(payload)).unwrap();
                    *payload = text.replace('+', "\\u002B").replace('/', "\\/").into_bytes();
                }
            });
            let request = request.build().unwrap();
            // The shell refuses longer messages before it copies them.
            assert!(request.message.len() <= MESSAGE_LIMIT, "{}", request.message.len());
            request
        };
        let before = device.world.snapshot();
        let otrp_tam::response::Outcome::Fail(refusal) = device.send(tam, &request(ELF_LIMIT + 1))
        else {
            panic!("an image that is too long is installed")
        };
        assert_eq!(refusal.code, "ERR_TA_INVALID");
        assert!(device.world.snapshot() == before);
        let outcome = device.send(tam, &request(ELF_LIMIT));
        assert!(matches!(outcome, otrp_tam::response::Outcome::Pass(_)), "{outcome:?}");
        assert!(device.world.images()[&numbered(0)].bytes() == elf(numbered(0), 0, ELF_LIMIT));
        assert_eq!(device.records(Kind::Personalization), [data]);
    }
    const { assert!(ELF_LIMIT >= 2 * 1024 * 1024) };
}

#[test]
fn a_chain_has_its_length() {
    // Authorities below the root, each above the next.
    let below_root = |count: usize| {
        let mut chain = vec![pki().tam_root.certificate.clone()];
        let mut issuers = vec![pki().tam_root.clone()];
        for number in 0..count {
            let key = generate_p256().unwrap();
            let name = format!("Authority {number} of a test");
            let authority = template(&name, Purpose::Root, None);
            let certificate = authority.issue(&key, &issuers[0]).unwrap();
            chain.insert(0, certificate.clone());
            issuers.insert(0, Signer { key, certificate });
        }
        let key = generate_p256().unwrap();
        let leaf = template("A TAM of a test", Purpose::Party, Some("https://deep.example"));
        chain.insert(0, leaf.issue(&key, &issuers[0]).unwrap());
        let issuers: Vec<&Signer> = issuers.iter().collect();
        stapled(Identity::new(key, chain, None).unwrap(), &issuers)
    };
    let longest = below_root(CHAIN_LIMIT - 2);
    assert_eq!(longest.chain().len(), CHAIN_LIMIT);
    let mut device = Device::provisioned();
    device.state(&longest);
    device.ask(&longest, Builder::device_state(&longest).signer(SignerHeader::KeyId));
    // One more does not become shorter by leaving out the root.
    let longer = below_root(CHAIN_LIMIT - 1);
    let before = device.world.snapshot();
    let request = Builder::device_state(&longer).edit_message(|message| {
        let chain = &mut message["GetDeviceStateRequest"]["header"]["x5c"];
        assert!(chain.as_array_mut().unwrap().pop().is_some());
    });
    let refused = device.refusal(&request.build().unwrap().message);
    assert_eq!(refused.code.as_deref(), Some("ERR_TAM_NOT_TRUSTED"));
    assert!(device.world.snapshot() == before);
}

#[test]
fn a_chain_of_large_rsa_keys_fits() {
    // The chain that the limit is made for, but for a leaf on a curve.
    let large = || PKey::from_rsa(Rsa::generate(4096).unwrap()).unwrap();
    let root = template("A root of a test", Purpose::Root, None).self_sign(large()).unwrap();
    let mut chain = vec![root.certificate.clone()];
    let anchor: &'static [u8] = der(&root.certificate).leak();
    let mut issuers = vec![root];
    for name in ["An authority of a test", "An issuing authority of a test"] {
        let key = large();
        let certificate = template(name, Purpose::Root, None).issue(&key, &issuers[0]).unwrap();
        chain.insert(0, certificate.clone());
        issuers.insert(0, Signer { key, certificate });
    }
    let uri = format!("https://{}", "t".repeat(TAM_ID_LIMIT - "https://".len()));
    let key = generate_p256().unwrap();
    let leaf = template("A TAM of a test", Purpose::Party, Some(&uri));
    chain.insert(0, leaf.issue(&key, &issuers[0]).unwrap());
    let issuers: Vec<_> = issuers.iter().collect();
    let tam = stapled(Identity::new(key, chain, None).unwrap(), &issuers);

    let mut device = Device::provisioned();
    let trust = Trust { tam_anchors: vec![Anchor::of(anchor)].leak(), ..pki().trust };
    device.engine = device.world.boot(trust);
    device.state(&tam);
    device.ask(&tam, Builder::device_state(&tam).signer(SignerHeader::KeyId));
    let stored = device.records(Kind::TamChain)[0].len();
    assert!((4700..=CHAIN_BYTES_LIMIT).contains(&stored), "{stored} bytes");
}

#[test]
fn a_buffer_that_is_too_short_changes_nothing() {
    let mut device = Device::provisioned();
    device.state(&pki().tam);
    let before = device.world.snapshot();
    device.reply = vec![0; REPLY_LIMIT - 1];
    let message = Builder::device_state(&pki().tam).build().unwrap().message;
    assert_eq!(device.process(&message), Err(Unanswerable::ShortBuffer));
    let asked = device.engine.ta_information(&mut b"{}".to_vec(), &mut device.reply);
    assert_eq!(asked, Err(QueryError::ShortBuffer));
    assert_eq!(device.personalization(&numbered(0)), Err(PersonalizationError::ShortBuffer));
    assert!(device.world.snapshot() == before);
}

#[test]
fn the_engine_has_a_bounded_size() {
    // It lives in the data section of the broker, whose heap is for one message.
    let size = size_of::<Engine<otrp_sim::SimPlatform>>();
    assert!(size <= 96 * 1024, "{size} bytes");
}
