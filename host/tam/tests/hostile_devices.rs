//! What the owner of a certified device can do to the TAM: nothing to other devices.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::os::unix::fs::MetadataExt as _;

use common::harness::{DOMAIN, Server, connect, converge, post};
use common::{Device, P256_ORDER, Profile, issue, new_key, other_form};
use otrp_tam::pending::SESSION_LIMIT;
use otrp_tam::tam::{Rejection, Tam};
use otrp_wire::limits::{CERTIFICATE_LIMIT, CHAIN_LIMIT, NAME_LIMIT, SD_LIMIT, TA_LIMIT};
use serde_json::{Value, json};

fn with_data() -> String {
    format!("{DOMAIN}[[sd.ta]]\nid = 'ta'\nfile = 'v1.ta'\npersonalization = 'data'\n")
}

fn start(domains: &str) -> Server {
    let server = Server::start("");
    std::fs::write(server.path("data"), b"personal").unwrap();
    server.configure(domains);
    server
}

fn retire(server: &Server, names: &[String]) {
    let list = format!("retired = {names:?}\n");
    let text = format!("{}{list}{}", server.tam_section, with_data());
    std::fs::write(server.path("desired.toml"), text).unwrap();
}

#[test]
fn a_retired_device_stays_retired_under_any_certificate() {
    const EMPTIED: [&str; 3] = ["GetDeviceState", "DeleteTA", "DeleteSD"];
    let fingerprint = |device: &Device| device.key_fingerprint();
    let upper = |device: &Device| device.key_fingerprint().to_uppercase();
    let identifier = |device: &Device| device.device_id();
    let base64url =
        |device: &Device| device.device_id().replace('+', "-").replace('/', "_").replace('=', "");
    type Name = fn(&Device) -> String;
    let rows: [(&str, Name); 4] = [
        ("the key", fingerprint),
        ("the key in upper case", upper),
        ("the identifier", identifier),
        ("the identifier in base64url", base64url),
    ];
    let server = start(&with_data());
    for (what, name) in rows {
        server.configure(&with_data());
        let mut device = server.pki.device();
        converge(server.address, &mut device);
        let first = device.tee.clone();
        let renewed = server.pki.certify(first.key.clone());
        retire(&server, &[name(&device)]);
        device.tee = other_form(&first, &server.pki.tee_ca, P256_ORDER);
        assert_ne!(device.device_id(), server.records()[0].device_id);
        assert_eq!(converge(server.address, &mut device), EMPTIED, "{what}: the other form");
        for certificate in [&renewed, &other_form(&renewed, &server.pki.tee_ca, P256_ORDER), &first]
        {
            device.tee = certificate.clone();
            assert_eq!(converge(server.address, &mut device), ["GetDeviceState"], "{what}");
        }
        assert!(device.domains.is_empty());
        // Off the list it begins anew, whatever its certificate.
        server.configure(&with_data());
        device.tee = renewed.clone();
        let all = ["GetDeviceState", "CreateSD", "InstallTA"];
        assert_eq!(converge(server.address, &mut device), all, "{what}");
    }
    assert_eq!(server.records().len(), rows.len(), "one record a key");
}

/// A device that this TAM never met, and whose owner knows that its identifier is listed.
#[test]
fn the_other_form_of_a_listed_certificate_is_retired_too() {
    let server = start("");
    // Of signatures of several lengths.
    for _ in 0..8 {
        let mut device = server.pki.device();
        retire(&server, &[device.device_id()]);
        device.tee = other_form(&device.tee, &server.pki.tee_ca, P256_ORDER);
        assert_eq!(converge(server.address, &mut device), ["GetDeviceState"]);
    }
}

/// One transaction an answer, which waits for the disk once; none for who has shown no device.
#[test]
fn each_answer_is_one_change() {
    let server = start(&with_data());
    let mut device = server.pki.device();
    let before = 1;
    assert_eq!(converge(server.address, &mut device).len(), 3);
    assert_eq!(server.records()[0].revision, before + 3);
    for _ in 0..10 {
        connect(server.address);
    }
    let question = connect(server.address).body;
    let mut stranger = server.pki.device();
    stranger.faults.sign_with = Some(new_key());
    assert_eq!(post(server.address, &stranger.process(&question)).status, 400);
    assert_eq!(converge(server.address, &mut device).len(), 1);
    assert_eq!(server.records()[0].revision, before + 4);
}

#[test]
fn an_identifier_seen_later_retires_its_key_for_good() {
    let server = start("");
    let mut device = server.pki.device();
    // A device that this TAM never met.
    retire(&server, &[device.device_id()]);
    let listed = device.tee.clone();
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState"]);
    let other = other_form(&listed, &server.pki.tee_ca, P256_ORDER);
    for certificate in [other, server.pki.certify(listed.key.clone())] {
        device.tee = certificate;
        assert_eq!(converge(server.address, &mut device), ["GetDeviceState"]);
    }
    // Also of a server that starts again.
    let state = server.path("own.redb");
    let converges = |device: &mut Device| {
        let tam = Tam::new(&server.path("desired.toml"), &state).unwrap();
        let request = tam.connect("test").unwrap();
        tam.process(&device.process(&request), "test").unwrap().is_none()
    };
    let renewed = std::mem::replace(&mut device.tee, listed);
    assert!(converges(&mut device));
    device.tee = renewed;
    assert!(converges(&mut device), "a retired device gets something");
}

/// However many certificates a device shows, its record does not grow without end, and it stays
/// retired.
#[test]
fn identifiers_are_bounded_and_a_retired_one_is_kept() {
    let server = start("");
    let mut device = server.pki.device();
    retire(&server, &[device.device_id()]);
    for _ in 0..70 {
        assert_eq!(converge(server.address, &mut device), ["GetDeviceState"]);
        device.tee = server.pki.certify(device.tee.key.clone());
    }
    assert_eq!(server.records()[0].identifiers.len(), 64);
}

#[test]
fn unfinished_sessions_of_one_device_block_no_other() {
    let server = start(DOMAIN);
    let tam = Tam::new(&server.path("desired.toml"), &server.path("own.redb")).unwrap();
    let mut greedy = server.pki.device();
    let mut honest = server.pki.device();
    let question = tam.connect("test").unwrap();
    let begun = tam.process(&honest.process(&question), "test").unwrap().unwrap();
    let mut late = server.pki.device();
    let late_question = tam.connect("test").unwrap();
    for _ in 0..=SESSION_LIMIT {
        let question = tam.connect("test").unwrap();
        let create = tam.process(&greedy.process(&question), "test").unwrap();
        assert!(create.is_some(), "a CreateSD, which stays unanswered");
    }
    assert!(tam.process(&honest.process(&begun), "test").unwrap().is_none());
    let begun = tam.process(&late.process(&late_question), "test").unwrap().unwrap();
    assert!(tam.process(&late.process(&begun), "test").unwrap().is_none());
    assert!(!honest.domains.is_empty() && !late.domains.is_empty());
}

/// Of answers that come at the same time one counts. Another one waits for nothing: it is refused for
/// now, or the state is asked for again.
#[test]
fn answers_of_one_device_at_the_same_time_are_one() {
    let server = start(DOMAIN);
    let tam = Tam::new(&server.path("desired.toml"), &server.path("own.redb")).unwrap();
    let mut device = server.pki.device();
    let questions: Vec<_> = (0..16).map(|_| tam.connect("test").unwrap()).collect();
    let answers: Vec<_> = questions.iter().map(|question| device.process(question)).collect();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let at_work: Vec<_> =
            answers.iter().map(|answer| scope.spawn(|| tam.process(answer, "test"))).collect();
        at_work.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let mut created = 0;
    for outcome in outcomes {
        match outcome {
            Ok(Some(request)) => created += usize::from(device.open(&request).name == "CreateSD"),
            Err(Rejection::Busy) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(created, 1);
}

/// The device's owner keeps the answer to CreateSD, and hands it in after a session that did more.
fn late_answer(server: &Server, device: &mut Device) -> Vec<u8> {
    let question = connect(server.address).body;
    let create = post(server.address, &device.process(&question)).body;
    let late = device.process(&create);
    assert_eq!(device.requests.last().unwrap(), "CreateSD");
    converge(server.address, device);
    late
}

#[test]
fn a_late_answer_does_not_make_the_tam_forget() {
    let server = start("");
    let second = issue(&Profile::leaf("second signer"), new_key(), None);
    std::fs::write(server.path("sp2.der"), second.certificate.to_der().unwrap()).unwrap();
    server.configure(&with_data().replace("['sp.der']", "['sp.der', 'sp2.der']"));
    let mut device = server.pki.device();
    let late = late_answer(&server, &mut device);
    let before = server.records();
    post(server.address, &late);
    assert_eq!(server.records(), before);
    // The operator takes back the signer and the data.
    server.configure(&with_data().replace("personalization = 'data'\n", ""));
    post(server.address, &late);
    converge(server.address, &mut device);
    let [domain] = &device.domains.values().collect::<Vec<_>>()[..] else { panic!() };
    assert_eq!(domain.certificates, [std::fs::read(server.path("sp.der")).unwrap()]);
    assert_eq!(domain.applications["ta"].personalization, None);
}

/// A state that was kept back tells what was before the TAM's requests.
#[test]
fn a_state_older_than_the_last_answer_is_not_accepted() {
    let server = start(&with_data());
    let mut device = server.pki.device();
    let early = connect(server.address).body;
    let early = device.process(&early);
    converge(server.address, &mut device);
    let before = server.records();
    let answer = post(server.address, &early);
    assert_eq!(answer.status, 200, "the state is asked for again");
    assert_eq!(device.open(&answer.body).name, "GetDeviceState");
    assert_eq!(server.records(), before);
    assert_eq!(post(server.address, &device.process(&answer.body)).status, 204, "as desired");
}

/// The agent that came first is answered late; the session of the next one continues.
#[test]
fn an_older_session_does_not_end_the_newer_one() {
    let server = start(&with_data());
    let mut device = server.pki.device();
    let question = connect(server.address).body;
    let create = post(server.address, &device.process(&question)).body;
    let old = device.process(&create);
    let question = connect(server.address).body;
    let next = post(server.address, &device.process(&question));
    assert_eq!(next.status, 200);
    assert_eq!(post(server.address, &old).status, 400);
    let mut answer = post(server.address, &device.process(&next.body));
    while answer.status == 200 {
        answer = post(server.address, &device.process(&answer.body));
    }
    assert_eq!(answer.status, 204);
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState"], "all was done");
}

/// Changes the device states that a device answers with.
fn forge(device: &mut Device, change: impl Fn(&mut Value) + Send + 'static) {
    device.faults.plaintext = Some(Box::new(move |value: &mut Value| {
        if let Some(dsi) = value.get_mut("dsi") {
            change(dsi);
        }
    }));
}

#[test]
fn a_state_has_at_most_what_a_device_can_have() {
    let server = start("");
    let domains = |number: usize, name: usize, applications: usize| {
        move |dsi: &mut Value| {
            let talist = |sd| match sd {
                0 => (0..applications).map(|ta| json!({ "taid": ta.to_string() })).collect(),
                _ => vec![],
            };
            let sd: Vec<_> = (0..number)
                .map(|sd| json!({ "name": format!("{sd:0name$}"), "spid": "sp", "talist": talist(sd) }))
                .collect();
            dsi["tee"]["sdlist"] = json!({ "cnt": number.to_string(), "sd": sd });
        }
    };
    let word = |member: &'static str, length: usize| {
        move |dsi: &mut Value| dsi["tee"][member] = "x".repeat(length).into()
    };
    let chain = |number: usize, length: usize| {
        move |dsi: &mut Value| {
            let certificate = match length {
                0 => dsi["tee"]["cacert"][0].clone(),
                _ => "A".repeat(length).into(),
            };
            dsi["tee"]["cacert"] = vec![certificate; number].into();
        }
    };
    let keys = |number: usize, spid: usize| {
        let (key, key_type) = common::attestation_key(&new_key());
        move |dsi: &mut Value| {
            let key = json!({ "spaik": key, "spaiktype": key_type, "spid": "s".repeat(spid) });
            dsi["tee"]["teeaiklist"] = vec![key; number].into();
        }
    };
    type Change = Box<dyn Fn(&mut Value) + Send>;
    let rows: Vec<(&str, bool, Change)> = vec![
        ("as it is", true, Box::new(|_| ())),
        ("domains", true, Box::new(domains(SD_LIMIT, 1, 0))),
        ("domains", false, Box::new(domains(SD_LIMIT + 1, 1, 0))),
        ("applications", true, Box::new(domains(1, 1, TA_LIMIT))),
        ("applications", false, Box::new(domains(1, 1, TA_LIMIT + 1))),
        ("name", true, Box::new(domains(1, NAME_LIMIT, 0))),
        ("name", false, Box::new(domains(1, NAME_LIMIT + 1, 0))),
        ("ver", true, Box::new(word("ver", 128))),
        ("ver", false, Box::new(word("ver", 129))),
        ("generation", false, Box::new(word("generation", 129))),
        ("TEE's name", false, Box::new(word("name", 129))),
        ("chain", true, Box::new(chain(CHAIN_LIMIT, 0))),
        ("chain", false, Box::new(chain(CHAIN_LIMIT + 1, 0))),
        ("certificate", false, Box::new(chain(1, CERTIFICATE_LIMIT * 2))),
        ("keys", true, Box::new(keys(SD_LIMIT, 1))),
        ("keys", false, Box::new(keys(SD_LIMIT + 1, 1))),
        ("key's SP", false, Box::new(keys(1, NAME_LIMIT + 1))),
    ];
    for (what, accepted, change) in rows {
        let mut device = server.pki.device();
        forge(&mut device, change);
        let question = connect(server.address).body;
        let status = post(server.address, &device.process(&question)).status;
        assert_eq!(status != 400, accepted, "{what}: {status}");
    }
}

/// A device refuses, in each session as often as it can, with as much text as it can send.
#[test]
fn refusals_do_not_let_the_database_grow() {
    let server = start("");
    let mut device = server.pki.device().verbose();
    let blocks = || std::fs::metadata(server.path("tam.redb")).unwrap().blocks() * 512;
    let mut sizes = Vec::new();
    for _ in 0..6 {
        device.faults.refuse = vec![("DeleteSD", "ERR_TEE_RESOURCE_FULL"); SD_LIMIT];
        let requests = converge(server.address, &mut device);
        assert_eq!(requests.len(), SD_LIMIT + 2, "each once, and the state at the end");
        sizes.push(blocks());
        let [record] = &server.records()[..] else { panic!() };
        assert_eq!(record.failures.len(), 32);
        assert!(record.failures.iter().all(|failure| failure.len() <= 512));
    }
    assert!(sizes.iter().all(|size| *size < 1 << 20), "{sizes:?}");
    assert!(sizes[3..].iter().max() <= sizes[..3].iter().max(), "{sizes:?}");
}

/// A device that has something new to delete in each state: the session ends all the same.
#[test]
fn the_length_of_a_session_is_limited() {
    let server = start("");
    let tam = Tam::new(&server.path("desired.toml"), &server.path("own.redb")).unwrap();
    let mut device = server.pki.device();
    let counter = std::sync::atomic::AtomicUsize::new(0);
    forge(&mut device, move |dsi| {
        let number = counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst).to_string();
        let sd = json!({ "name": number, "spid": "sp", "talist": [] });
        dsi["tee"]["sdlist"] = json!({ "cnt": "1", "sd": [sd] });
    });
    // It never had the domain, so that its own state says nothing; it refuses, and shows another.
    device.faults.refuse = vec![("DeleteSD", "ERR_TEE_FAIL"); 2000];
    let mut request = tam.connect("test").unwrap();
    let mut requests = 1;
    while let Some(next) = tam.process(&device.process(&request), "test").unwrap() {
        request = next;
        requests += 1;
        assert!(requests < 1100, "no end");
    }
}

#[test]
fn a_reader_of_the_state_file_does_not_stop_the_server() {
    let server = start(DOMAIN);
    let mut device = server.pki.device();
    let path = server.path("tam.redb");
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    let reader = std::fs::File::open(&path).unwrap();
    assert!(reader.try_lock().is_err() && reader.try_lock_shared().is_err());
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState", "CreateSD"]);
    assert_eq!(server.records().len(), 1);
}
