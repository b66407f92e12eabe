//! The second form of an ECDSA signature, (r, n - s), gives nobody a second certificate.

use openssl::bn::BigNum;
use openssl::ecdsa::EcdsaSig;
use openssl::x509::X509;
use otrp_engine::device::ImportError;
use otrp_keys::certificate::{Identity as Signer, Purpose, Template, Validity};
use otrp_keys::file;
use otrp_tam::request::{Builder, Command, SdChanges, SignerHeader, Target};

use crate::bench::{Device, Kind, base64, der, now, pki, pki_folder, sha256};
use crate::home::{DOMAIN, EMPTY_DOMAIN, SP, home};

/// The order of the base point (SEC 2, sections 2.4.2 and 2.5.1).
const P256_ORDER: &str = "FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551";
const P384_ORDER: &str = "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF\
                          C7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973";

/// The certificate with its signature in the other form, which OpenSSL accepts as `issuer`'s.
fn second_form(certificate: &X509, issuer: &X509) -> Vec<u8> {
    let (whole, signature) = (der(certificate), certificate.signature().as_slice());
    let old = EcdsaSig::from_der(signature).unwrap();
    let order = if old.r().num_bytes() > 32 { P384_ORDER } else { P256_ORDER };
    let mut s = BigNum::new().unwrap();
    s.checked_sub(&BigNum::from_hex_str(order).unwrap(), old.s()).unwrap();
    let r = old.r().to_owned().unwrap();
    let new = EcdsaSig::from_private_components(r, s).unwrap().to_der().unwrap();
    let mut contents = whole[4..whole.len() - signature.len() - 3].to_vec();
    contents.extend([3, u8::try_from(new.len()).unwrap() + 1, 0]);
    contents.extend(new);
    let [high, low] = u16::try_from(contents.len()).unwrap().to_be_bytes();
    let form = [&[0x30, 0x82, high, low][..], &contents].concat();
    assert_ne!(form, whole);
    assert!(X509::from_der(&form).unwrap().verify(&issuer.public_key().unwrap()).unwrap());
    form
}

/// The chain of a new certificate for the device's key that is valid from `not_before` on.
fn certified(device: &Device, not_before: u64) -> Vec<X509> {
    let stem = pki_folder().join("tee-ca");
    let above = file::read_certificates(&file::beside(&stem, ".chain.pem")).unwrap();
    let authority = Signer {
        key: file::read_key(&file::beside(&stem, ".key.pem")).unwrap(),
        certificate: above[0].clone(),
    };
    let not_before = i64::try_from(not_before).unwrap();
    let leaf = Template {
        organization: "OTrP",
        common_name: "TEE",
        purpose: Purpose::Party,
        validity: Validity { not_before, not_after: not_before + 1_000_000 },
        uri: None,
    }
    .issue(&device.certificate().public_key().unwrap(), &authority)
    .unwrap();
    [leaf].into_iter().chain(above).collect()
}

fn concatenated(chain: &[X509]) -> Vec<u8> {
    chain.iter().flat_map(der).collect()
}

fn import(device: &mut Device, chain: &[u8]) -> Result<(), ImportError> {
    device.engine.import_certificates(chain, &mut device.reply)
}

/// `chain` with the second form of its certificate `position`.
fn spoiled(chain: &[X509], position: usize) -> Vec<u8> {
    let mut octets: Vec<Vec<u8>> = chain.iter().map(der).collect();
    octets[position] = second_form(&chain[position], &chain[position + 1]);
    octets.concat()
}

#[test]
fn only_the_maker_gives_a_device_a_new_identifier() {
    let mut device = Device::from(&home().snapshot);
    let record = device.records(Kind::TeeChain).remove(0);
    let mut present = vec![device.certificate()];
    let above = file::read_certificates(&pki_folder().join("tee-ca.chain.pem")).unwrap();
    present.extend(above);
    assert_eq!(record, concatenated(&present));

    let refused = |device: &mut Device, rows: &[(&str, Vec<u8>)]| {
        let (snapshot, state) = (device.world.snapshot(), device.state(&pki().tam).device_id);
        let kept = device.records(Kind::TeeChain);
        for (what, chain) in rows {
            assert_eq!(import(device, chain), Err(ImportError::Superseded), "{what}");
        }
        assert_eq!(device.state(&pki().tam).device_id, state);
        assert_eq!(device.records(Kind::TeeChain), kept);
        device.world.restore(&snapshot);
        device.reboot();
    };
    refused(&mut device, &[("the present one", spoiled(&present, 0))]);

    // An authority's second form is the same authority, and no new chain.
    let snapshot = device.world.snapshot();
    import(&mut device, &spoiled(&present, 1)).unwrap();
    assert!(device.world.snapshot() == snapshot);

    let now = now();
    let [older, renewed, newer] = [3000, 2000, 1000].map(|ago| certified(&device, now - ago));
    import(&mut device, &concatenated(&renewed)).unwrap();
    refused(
        &mut device,
        &[
            ("the present one", spoiled(&renewed, 0)),
            ("the first one", concatenated(&present)),
            ("the first one, second form", spoiled(&present, 0)),
            ("one that is older", concatenated(&older)),
            ("one that is older, second form", spoiled(&older, 0)),
        ],
    );
    import(&mut device, &concatenated(&newer)).unwrap();
    assert_eq!(device.state(&pki().tam).device_id, base64(&sha256(&der(&newer[0]))));
}

#[test]
fn a_tam_is_the_same_whichever_form_is_shown() {
    let tam = &pki().tam;
    let x5c: Vec<String> = (0..2)
        .map(|position| base64(&second_form(&tam.chain()[position], &tam.chain()[position + 1])))
        .chain([base64(&der(&tam.chain()[2]))])
        .collect();
    let delete = |name| Command::DeleteSd { spid: None, name, delete_tas: true };
    for snapshot in [&home().snapshot, &Device::provisioned().world.snapshot()] {
        let mut device = Device::from(snapshot);
        let known = device.records(Kind::TamChain);
        // The header is not signed, so the normal world chooses the form.
        let request =
            Builder::device_state(tam).signer(SignerHeader::Chain).edit_message(|message| {
                message["GetDeviceStateRequest"]["header"]["x5c"] = x5c.clone().into();
            });
        let state = device.ask(tam, request);
        assert_ne!(device.records(Kind::TamChain), known);
        if state.dsi.tee.sdlist.sd.is_empty() {
            let (name, spid) = (DOMAIN, SP);
            let certificate = der(&pki().sp_ec.certificate);
            let command = Command::CreateSd { spid, name, certificate: &certificate };
            let target = Target::from(&state);
            let request = Builder::command(tam, &target, command).signer(SignerHeader::Chain);
            device.pass(tam, request);
        }
        let target = Target::from(&device.state(tam));
        let request = Builder::command(tam, &target, delete(DOMAIN));
        let request = request.signer(SignerHeader::Chain).edit_message(|message| {
            message["DeleteSDRequest"]["header"]["x5c"] = x5c.clone().into()
        });
        device.pass(tam, request);
        // The TAM's own form is the one that is kept, so its `kid` is known.
        let state = device.ask(tam, Builder::device_state(tam).signer(SignerHeader::KeyId));
        assert!(state.dsi.tee.sdlist.sd.iter().all(|sd| sd.name == EMPTY_DOMAIN));
    }
}

#[test]
fn a_domain_takes_one_form_of_a_signers_certificate() {
    let tam = &pki().tam;
    let mut device = Device::from(&home().snapshot);
    let signer = &pki().sp_ec.certificate;
    let root = signer.clone();
    let other = second_form(signer, &root);
    let hash = hex::encode(sha256(&der(signer)));
    let target = Target::from(&device.state(tam));
    let before = device.records(Kind::SpCertificates);
    for (what, name, remove) in [
        ("accepted", DOMAIN, None),
        ("accepted, without applications", EMPTY_DOMAIN, None),
        ("to be retired by the same request", DOMAIN, Some(hash.as_str())),
    ] {
        let changes = SdChanges {
            add: vec![&other],
            remove: remove.into_iter().collect(),
            ..SdChanges::default()
        };
        let command = Command::UpdateSd { spid: SP, name, changes };
        let request = Builder::command(tam, &target, command);
        assert_eq!(device.fail(tam, request), "ERR_SPCERT_INVALID", "{what}");
        assert_eq!(device.records(Kind::SpCertificates), before, "{what}");
    }
    // A retired one as well, for the applications under it stay.
    let changes = SdChanges { remove: vec![&hash], ..SdChanges::default() };
    device.carry_out(tam, Command::UpdateSd { spid: SP, name: DOMAIN, changes });
    let changes = SdChanges { add: vec![&other], ..SdChanges::default() };
    let command = Command::UpdateSd { spid: SP, name: DOMAIN, changes };
    let target = Target::from(&device.state(tam));
    let request = Builder::command(tam, &target, command);
    assert_eq!(device.fail(tam, request), "ERR_SPCERT_INVALID", "retired");
}
