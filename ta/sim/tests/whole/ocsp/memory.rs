//! How long a device relies on a response, and what it keeps of a TAM that renews its certificate.

use openssl::pkey::{PKey, Private};
use otrp_engine::limits::AUTHORITY_LIMIT;
use otrp_keys::certificate::{Identity as Signer, Purpose, Template, Validity, generate_p256};
use otrp_keys::ocsp::{Period, Statement, Status};
use otrp_tam::Identity;
use otrp_tam::request::{Builder, Command, SignerHeader, Target};

use crate::bench::{Device, pki, stapled};
use crate::home::*;

use super::fixture::*;

#[test]
fn an_authority_is_remembered_while_it_is_good() {
    let tam = &pki().tam;
    let until = time() + HOUR;
    let alone = || question(&[on_leaf(Status::Good, current())]);
    let refused = |device: &mut Device, what: &str| {
        let before = device.world.snapshot();
        let message = alone().build().unwrap().message;
        assert_eq!(device.refusal(&message).code.as_deref(), Some(UNTRUSTED), "{what}");
        assert!(device.world.snapshot() == before, "{what}");
    };
    let mut device = Device::provisioned();
    refused(&mut device, "nothing is known of the authority");
    let both = [
        on_leaf(Status::Good, current()),
        on_authority(Status::Good, Period { this_update: time(), next_update: until }),
    ];
    device.ask(tam, question(&both));
    device.ask(tam, alone());
    device.reboot();
    device.ask(tam, alone());
    // Another TAM of the same authority needs its own response only.
    let other = &pki().other_tam;
    let others = Builder::device_state(other).edit_tbs(|tbs| {
        tbs["ocspdat"].as_array_mut().unwrap().truncate(1);
    });
    device.ask(other, others);
    // A word that ends sooner does not shorten what is known.
    let shorter = Period { this_update: time(), next_update: until - HOUR / 2 };
    device.ask(
        tam,
        question(&[on_leaf(Status::Good, current()), on_authority(Status::Good, shorter)]),
    );

    let later = Period { this_update: time() - HOUR, next_update: until + HOUR };
    let alone = || question(&[on_leaf(Status::Good, later)]);
    *device.world.clock.borrow_mut() = u64::try_from(until - 1).unwrap();
    device.ask(tam, alone());
    *device.world.clock.borrow_mut() = u64::try_from(until).unwrap();
    let before = device.world.snapshot();
    let message = alone().build().unwrap().message;
    assert_eq!(device.refusal(&message).code.as_deref(), Some(UNTRUSTED));
    assert!(device.world.snapshot() == before);
    device.ask(tam, question(&[on_leaf(Status::Good, later), on_authority(Status::Good, later)]));
    device.ask(tam, alone());
}

#[test]
fn so_many_authorities_are_remembered() {
    let mut device = Device::provisioned();
    let authorities: Vec<Signer> = (0..=AUTHORITY_LIMIT)
        .map(|_| certified(Purpose::IssuingAuthority, Validity::years(1), &pki().tam_root))
        .collect();
    let tams: Vec<Identity> = authorities
        .iter()
        .enumerate()
        .map(|(number, authority)| {
            let key = generate_p256().unwrap();
            let certificate = Template {
                organization: "OTrP tests (not for production)",
                common_name: "A TAM of a test",
                purpose: Purpose::Party,
                validity: Validity::years(1),
                // One TAM, so that the number of TAMs is no limit.
                uri: Some("https://tam.example"),
            }
            .issue(&key, authority)
            .unwrap();
            let root = pki().tam_root.certificate.clone();
            let chain = vec![certificate, authority.certificate.clone(), root];
            let tam = Identity::new(key, chain, None).unwrap();
            // The first of them has the response that ends first.
            let hours = u16::try_from(number + 1).unwrap();
            let status = Status::Good;
            let leaf_response = Statement {
                certificate: &tam.chain()[0],
                issuer: &authority.certificate,
                status,
                period: Period::hours(hours),
            };
            let authority_response = Statement {
                certificate: &authority.certificate,
                issuer: &pki().tam_root.certificate,
                status,
                period: Period::hours(hours),
            };
            let responses = vec![
                leaf_response.sign(authority).unwrap(),
                authority_response.sign(&pki().tam_root).unwrap(),
            ];
            tam.staple(responses)
        })
        .collect();
    let alone = |tam| {
        Builder::device_state(tam).edit_tbs(|tbs| {
            tbs["ocspdat"].as_array_mut().unwrap().truncate(1);
        })
    };
    for tam in &tams {
        device.state(tam);
    }
    let message = alone(&tams[0]).build().unwrap().message;
    assert_eq!(device.refusal(&message).code.as_deref(), Some(UNTRUSTED));
    for tam in &tams[1..] {
        device.ask(tam, alone(tam));
    }
}

#[test]
fn commands_are_accepted_while_the_responses_are_current() {
    let tam = &pki().tam;
    for (leaf_hours, authority_hours) in [(1, 2), (2, 1)] {
        let start = time();
        let mut device = Device::from(&home().snapshot);
        // At home the authority is known to be good for longer; what is stapled counts.
        let responses = [
            on_leaf(Status::Good, Period::hours_from(start, leaf_hours)),
            on_authority(Status::Good, Period::hours_from(start, authority_hours)),
        ];
        let target = Target::from(&device.ask(tam, question(&responses)));
        let end = u64::try_from(start + HOUR).unwrap();
        *device.world.clock.borrow_mut() = end;
        let before = device.world.snapshot();
        for header in [SignerHeader::Chain, SignerHeader::KeyId, SignerHeader::Absent] {
            let late = Builder::command(tam, &target, Base::DeleteTa.command()).signer(header);
            assert_eq!(device.fail(tam, late), UNTRUSTED);
        }
        assert!(device.world.snapshot() == before);
        *device.world.clock.borrow_mut() = end - 1;
        device.pass(tam, Builder::command(tam, &target, Base::DeleteTa.command()));
    }
}

/// `tam` with a certificate of its own for the key that it had, or for another.
fn renewed(key: PKey<Private>, issuer: &Signer) -> Identity {
    let certificate = Template {
        organization: "OTrP tests (not for production)",
        common_name: "A TAM of a test, renewed",
        purpose: Purpose::Party,
        validity: Validity::years(2),
        uri: Some(pki().tam.tam_id()),
    }
    .issue(&key, issuer)
    .unwrap();
    let root = pki().tam_root.certificate.clone();
    let chain = vec![certificate, issuer.certificate.clone(), root];
    stapled(Identity::new(key, chain, None).unwrap(), &[issuer, &pki().tam_root])
}

#[test]
fn a_renewed_tam_keeps_what_is_its_own() {
    let old = &pki().tam;
    let other_authority = certified(Purpose::IssuingAuthority, Validity::years(1), &pki().tam_root);
    // The same authority certified again: the same leaf, by another path.
    let again = {
        let template = Template {
            organization: otrp_keys::development::ORGANIZATION,
            common_name: "OTrP development TAM issuing CA",
            purpose: Purpose::IssuingAuthority,
            validity: Validity::years(3),
            uri: None,
        };
        let key = pki().tam_authority.key.clone();
        let certificate = template.issue(&key, &pki().tam_root).unwrap();
        let mut chain = old.chain().to_vec();
        chain[1] = certificate.clone();
        let issuer = Signer { key, certificate };
        stapled(
            Identity::new(old.key().to_owned(), chain, None).unwrap(),
            &[&issuer, &pki().tam_root],
        )
    };
    let new_tams = [
        ("another certificate", renewed(old.key().to_owned(), &pki().tam_authority)),
        ("another key", renewed(generate_p256().unwrap(), &pki().tam_authority)),
        ("another authority", renewed(generate_p256().unwrap(), &other_authority)),
        ("another path", again),
    ];
    for (what, new) in new_tams {
        let mut device = Device::from(&home().snapshot);
        let delete = || Command::DeleteTa { spid: None, name: DOMAIN, taid: TA };
        // Not before its own responses were seen.
        let early = Builder::command(&new, &home().target, delete());
        assert_eq!(device.fail(&new, early), UNTRUSTED, "{what}");
        assert!(device.world.snapshot() == home().snapshot, "{what}");
        let target = Target::from(&device.state(&new));
        // And the old certificate not after them.
        let late = Builder::command(old, &target, delete());
        assert_eq!(device.fail(old, late), UNTRUSTED, "{what}");
        device.pass(&new, Builder::command(&new, &target, delete()));
        // It may come back, with its own.
        device.carry_out(old, Base::CreateSd.command());
    }
}
