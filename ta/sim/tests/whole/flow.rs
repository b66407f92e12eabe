//! Whole lives of devices: everything that must work, in every form that it may have.

use std::collections::BTreeSet;

use otrp_engine::information::QueryError;
use otrp_engine::personalization::PersonalizationError;
use otrp_keys::certificate::Identity as Signer;
use otrp_tam::Identity;
use otrp_tam::dsi::{DeviceState, Dsi};
use otrp_tam::jose::{ContentEncryption, KeyManagement};
use otrp_tam::request::{Application, Builder, Command, SignerHeader, TaEncryption, Target};
use otrp_tam::response::Passed;
use otrp_tam::ta_information::TaInformation;

use crate::bench::{Device, Kind, base64, der, elf, pki, signed, ta_query, uuid};

const SP: &str = "acme-bank.example";
const DOMAIN: &str = "payments";
const TA: &str = "com.example.wallet";

/// What may be chosen freely in one life.
#[derive(Clone, Copy, Debug)]
struct Form {
    content: ContentEncryption,
    keys: KeyManagement,
    image: TaEncryption,
    header: SignerHeader,
    rsa_signer: bool,
    next_dsi: bool,
    personalized: bool,
}

impl Form {
    fn every() -> Vec<Self> {
        let mut forms = Vec::new();
        for content in ContentEncryption::ALL {
            for keys in [KeyManagement::EcdhEsA128Kw, KeyManagement::EcdhEsA256Kw] {
                for image in [TaEncryption::AesCbc, TaEncryption::A256Gcm] {
                    for header in [SignerHeader::Chain, SignerHeader::KeyId, SignerHeader::Absent] {
                        for bits in 0..8 {
                            let rsa_signer = bits & 1 != 0;
                            let (next_dsi, personalized) = (bits & 2 != 0, bits & 4 != 0);
                            forms.push(Self {
                                content,
                                keys,
                                image,
                                header,
                                rsa_signer,
                                next_dsi,
                                personalized,
                            });
                        }
                    }
                }
            }
        }
        forms
    }

    /// A few forms in which every three choices meet: all 384 would take a minute to live.
    fn few() -> Vec<Self> {
        let every: Vec<_> = Self::every().into_iter().map(|form| (form, form.triples())).collect();
        let mut met = BTreeSet::new();
        let mut few = Vec::new();
        loop {
            let gain =
                |triples: &[String]| triples.iter().filter(|triple| !met.contains(*triple)).count();
            let (form, triples) = every.iter().max_by_key(|(_, triples)| gain(triples)).unwrap();
            if gain(triples) == 0 {
                return few;
            }
            met.extend(triples.iter().cloned());
            few.push(*form);
        }
    }

    fn triples(self) -> Vec<String> {
        let text = format!("{self:?}");
        let choices: Vec<&str> = text.split(", ").collect();
        let mut triples = Vec::new();
        for (index, first) in choices.iter().enumerate() {
            for (index, second) in choices.iter().enumerate().skip(index + 1) {
                let third = choices.iter().skip(index + 1);
                triples.extend(third.map(|third| format!("{first} {second} {third}")));
            }
        }
        triples
    }

    fn signer(self) -> &'static Signer {
        if self.rsa_signer { &pki().sp_rsa } else { &pki().sp_ec }
    }
}

/// A device on its way, as its TAM knows it.
struct Life {
    device: Device,
    tam: &'static Identity,
    form: Form,
    state: DeviceState,
}

impl Life {
    fn begin(form: Form) -> Self {
        let mut device = Device::provisioned();
        let tam = &pki().tam;
        let state = device.state(tam);
        Self { device, tam, form, state }
    }

    fn command(&mut self, command: Command<'_>) -> Passed {
        let Form { content, keys, image, header, next_dsi, .. } = self.form;
        let target = Target::from(&self.state);
        let request = Builder::command(self.tam, &target, command)
            .content_encryption(content)
            .key_management(keys)
            .ta_encryption(image)
            .signer(header)
            .next_dsi(next_dsi);
        let mut passed = self.device.pass(self.tam, request);
        assert_eq!(passed.state.is_some(), next_dsi);
        self.state = match passed.state.take() {
            Some(state) => state,
            None => self.device.ask(self.tam, Builder::device_state(self.tam).signer(header)),
        };
        passed
    }

    fn personalization(&self) -> Vec<Vec<u8>> {
        self.device.records(Kind::Personalization)
    }

    /// What the application is given of them.
    fn delivered(&mut self) -> Result<&'static [u8], PersonalizationError> {
        self.device.personalization(&uuid(1)).map(|data| &*data.leak())
    }
}

/// The state without what is different each time.
fn lasting(state: &DeviceState) -> Dsi {
    let mut dsi = state.dsi.clone();
    dsi.tee.generation = None;
    dsi
}

fn live(form: Form) {
    let mut life = Life::begin(form);
    let certificate = der(&form.signer().certificate);

    let passed =
        life.command(Command::CreateSd { spid: SP, name: DOMAIN, certificate: &certificate });
    assert_eq!(passed.sd_name.as_deref(), Some(DOMAIN));
    let key = passed.attestation_key.expect("the first domain brings a key");
    assert_eq!(passed.attestation_key_type.as_deref(), Some("ECC"));
    let tee = &life.state.dsi.tee;
    assert_eq!(tee.teeaiklist.len(), 1);
    assert_eq!(tee.teeaiklist[0].spaik, key);
    assert_eq!((tee.sdlist.sd[0].spid.as_str(), tee.sdlist.sd[0].name.as_str()), (SP, DOMAIN));

    let data = |text: &'static [u8]| form.personalized.then_some(text);
    let application = |image, personalization| Application {
        spid: SP,
        domain: DOMAIN,
        taid: TA,
        certificate: None,
        image,
        personalization,
    };
    let first = signed(form.signer(), uuid(1), 1);
    let passed = life.command(Command::InstallTa(application(Some(&first), data(b"one"))));
    assert_eq!((passed.sd_name, passed.attestation_key), (None, None));
    assert_eq!(life.device.world.images()[&uuid(1)].bytes(), elf(uuid(1), 1, 1000));
    assert_eq!(life.personalization(), Vec::from_iter(data(b"one")));
    assert_eq!(life.delivered(), data(b"one").ok_or(PersonalizationError::NoData));
    assert_eq!(life.state.dsi.tee.sdlist.sd[0].talist[0].taid, TA);

    let second = signed(form.signer(), uuid(1), 2);
    life.command(Command::UpdateTa(application(Some(&second), data(b"another"))));
    assert_eq!(life.device.world.images()[&uuid(1)].bytes(), elf(uuid(1), 2, 1000));
    assert_eq!(life.personalization(), Vec::from_iter(data(b"another")));
    assert_eq!(life.delivered(), data(b"another").ok_or(PersonalizationError::NoData));

    check_information(&mut life.device, &life.state, &certificate);
    let before = (life.device.world.snapshot(), lasting(&life.state));
    life.device.reboot();
    check_information(&mut life.device, &life.state, &certificate);
    assert_eq!(life.device.world.snapshot(), before.0);
    let header = form.header;
    life.state = life.device.ask(life.tam, Builder::device_state(life.tam).signer(header));
    assert_eq!(lasting(&life.state), before.1);

    life.command(Command::DeleteTa { spid: None, name: DOMAIN, taid: TA });
    assert!(life.device.world.images().is_empty());
    assert!(life.personalization().is_empty());
    assert_eq!(life.delivered(), Err(PersonalizationError::NotInstalled));
    assert!(life.state.dsi.tee.sdlist.sd[0].talist.is_empty());
    let asked = life.device.engine.ta_information(&mut ta_query(SP, TA), &mut life.device.reply);
    assert_eq!(asked, Err(QueryError::NotFound));

    life.command(Command::DeleteSd { spid: None, name: DOMAIN, delete_tas: false });
    assert!(life.state.dsi.tee.sdlist.sd.is_empty());
    assert!(life.state.dsi.tee.teeaiklist.is_empty());
    let stored: Vec<(Kind, usize)> =
        Kind::ALL.map(|kind| (kind, life.device.records(kind).len())).into_iter().collect();
    let left = stored.into_iter().filter(|(_, count)| *count > 0).collect::<Vec<_>>();
    let one = [Kind::Registry, Kind::TeeKey, Kind::TeeChain, Kind::TamChain];
    assert_eq!(left, one.map(|kind| (kind, 1)));
    assert_eq!(life.device.world.stored.borrow().blobs.len(), 1);
}

/// Asks for the information on the one application, and lets the TAM's code judge it.
fn check_information(device: &mut Device, state: &DeviceState, signer: &[u8]) {
    let key = state.attestation_key(SP).unwrap().public_key().unwrap();
    let answer = device.engine.ta_information(&mut ta_query(SP, TA), &mut device.reply).unwrap();
    let information = TaInformation::verify(answer, &key).unwrap();
    let [leaf, authorities @ ..] = pki().tam.chain() else { unreachable!("a chain has a leaf") };
    let authorities: Vec<String> = authorities.iter().map(|one| base64(&der(one))).collect();
    assert_eq!(
        information,
        TaInformation {
            taid: TA.into(),
            tamid: pki().tam.tam_id().into(),
            spid: SP.into(),
            signercert: base64(signer),
            signercacerts: Vec::new(),
            tamcert: base64(&der(leaf)),
            tamcacerts: authorities,
        }
    );
}

#[test]
fn devices_live_with_the_content_in_cipher_block_chaining() {
    let cbc = [ContentEncryption::A128CbcHs256, ContentEncryption::A256CbcHs512];
    Form::few().into_iter().filter(|form| cbc.contains(&form.content)).for_each(live);
}

#[test]
fn devices_live_with_the_content_in_counter_mode() {
    let gcm = [ContentEncryption::A128Gcm, ContentEncryption::A256Gcm];
    Form::few().into_iter().filter(|form| gcm.contains(&form.content)).for_each(live);
}
