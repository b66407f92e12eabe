//! Every member of every request: missing, twice, null, of another type, empty, too long, and one
//! too many at each level.
//!
//! The tables say what the draft's lists of members and of errors demand (sections 7.4 and 9); one
//! driver takes an accepted request apart, changes one thing in one layer, and puts it together
//! again with josekit and OpenSSL, so that everything around the change is right.

use openssl::symm::{Cipher, encrypt_aead};
use otrp_engine::error::Unanswerable;
use otrp_engine::limits::{
    ALGORITHM_LIMIT, CHAIN_LIMIT, JOSE_HEADER_LIMIT, NAME_LIMIT, OCSP_LIMIT, SP_CERTIFICATE_LIMIT,
    TAM_ID_LIMIT, TRANSACTION_ID_LIMIT,
};
use otrp_tam::jose::{ContentEncryption, ContentKey, Jwe, Jws, KeyManagement};
use otrp_tam::request::{Builder, TaEncryption};
use otrp_tam::response::{Outcome, Reply};
use serde_json::{Map, Value, json};

use crate::bench::{Device, Refused, base64, base64url, pki, sha256};
use crate::home::*;
use Expect::{Accepted, Anonymous, Open, Sealed};

const INVALID: &str = "ERR_REQUEST_INVALID";
const UNSUPPORTED: &str = "ERR_UNSUPPORTED_CRYPTO_ALG";
const UNTRUSTED: &str = "ERR_TAM_NOT_TRUSTED";
const SD_NOT_FOUND: &str = "ERR_SD_NOT_FOUND";
const TA_INVALID: &str = "ERR_TA_INVALID";
const TA_NOT_FOUND: &str = "ERR_TA_NOT_FOUND";

// ---- what is expected, and where ------------------------------------------------------------

/// What must become of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Expect {
    Accepted,
    /// Refused with this code, signed by nobody.
    Anonymous(&'static str),
    /// Refused with this code outside of any content.
    Open(&'static str),
    /// Refused with this code inside the content, under the request's key.
    Sealed(&'static str),
}

impl Expect {
    /// The form and the code of the refusal of what is wrong in a layer; `None` if it is accepted.
    pub fn refusal(self, case: Case, layer: Layer) -> Option<(Answer, &'static str)> {
        Some(match self {
            Anonymous(code) => (Answer::Anonymous, code),
            Open(code) if layer.is_outside() => (Answer::Anonymous, code),
            // The algorithms that the TAM takes are looked at when its standing is known.
            Open(code) if case.is_state() && code != UNSUPPORTED => (Answer::Anonymous, code),
            Open(code) => (Answer::Open, code),
            Sealed(code) => (Answer::Sealed, code),
            Accepted => return None,
        })
    }
}

/// What is wrong before the content is known to be the signer's own.
pub const BAD: Expect = Open(INVALID);
/// What is wrong with the value of a member of the content.
const BAD_INSIDE: Expect = Sealed(INVALID);

/// A request to take apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Case {
    State,
    /// GetDeviceState under the name that is seen in the field.
    Alias,
    Command(Base),
}

impl Case {
    pub fn all() -> Vec<Self> {
        [Self::State, Self::Alias].into_iter().chain(Base::ALL.map(Self::Command)).collect()
    }

    /// Whether the standing of its TAM is in what is signed, and not remembered.
    const fn is_state(self) -> bool {
        matches!(self, Self::State | Self::Alias)
    }

    /// The name without `Request` and `TBSRequest`.
    pub fn name(self) -> &'static str {
        match self {
            Self::State => "GetDeviceState",
            Self::Alias => "GetDeviceTEEState",
            Self::Command(Base::CreateSd) => "CreateSD",
            Self::Command(Base::UpdateSd) => "UpdateSD",
            Self::Command(Base::DeleteSd) => "DeleteSD",
            Self::Command(Base::InstallTa) => "InstallTA",
            Self::Command(Base::UpdateTa) => "UpdateTA",
            Self::Command(Base::DeleteTa) => "DeleteTA",
        }
    }

    fn has_image(self) -> bool {
        matches!(self, Self::Command(Base::InstallTa | Base::UpdateTa))
    }
}

/// Which text of a request a change is in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layer {
    /// The message itself.
    Message,
    /// The same, with the signer named by `kid`.
    MessageByKeyId,
    /// The protected header of the signature.
    Protected,
    /// What is signed.
    Payload,
    /// The protected header of the content's encryption.
    ContentHeader,
    /// What is encrypted.
    Content,
}

impl Layer {
    /// Whether what is wrong in it is found before the signer is known.
    fn is_outside(self) -> bool {
        matches!(self, Self::Message | Self::MessageByKeyId | Self::Protected)
    }
}

// ---- the members of each level --------------------------------------------------------------

/// What type a member's value has.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Text,
    /// A boolean, or a string that stands for one.
    Flag,
    /// An array of strings, or one string.
    Texts,
    Object,
    /// An array of one object.
    Objects,
    ObjectOrText,
}

impl Kind {
    fn others(self) -> Vec<Value> {
        let all = [
            (json!(null), &[][..]),
            (json!(7), &[]),
            (json!(1.0), &[]),
            (json!(true), &[Self::Flag]),
            (json!("perhaps"), &[Self::Text, Self::Texts, Self::ObjectOrText]),
            (json!({ "a": "b" }), &[Self::Object, Self::ObjectOrText]),
            (json!([7]), &[]),
            (json!([null]), &[]),
            (json!([["x"]]), &[]),
            (json!(["x"]), &[Self::Texts]),
            (json!([{}, {}]), &[]),
            (json!([]), &[Self::Texts]),
        ];
        all.into_iter()
            .filter(|(_, kinds)| !kinds.contains(&self))
            .map(|(value, _)| value)
            .collect()
    }

    fn empty(self) -> Value {
        match self {
            Self::Text | Self::Flag | Self::ObjectOrText => json!(""),
            Self::Texts | Self::Objects => json!([]),
            Self::Object => json!({}),
        }
    }
}

/// The members of one object of a request.
struct Level {
    layer: Layer,
    /// Where the object is in its layer, as a JSON pointer.
    at: String,
    /// What becomes of a request with a member twice, of another type, or one too many.
    bad: Expect,
    /// Each member, its type, and what becomes of a request where it is missing and where it is
    /// empty; `None` where another test judges it.
    members: Vec<(String, Kind, Option<Expect>, Option<Expect>)>,
}

fn level(
    layer: Layer,
    at: impl Into<String>,
    bad: Expect,
    members: &[(&str, Kind, Expect, Expect)],
) -> Level {
    let members = members
        .iter()
        .map(|(name, kind, missing, empty)| {
            (String::from(*name), *kind, Some(*missing), Some(*empty))
        })
        .collect();
    Level { layer, at: at.into(), bad, members }
}

/// The message and its signature (section 7.4; RFC 7515, section 7.2.2).
fn envelope(case: Case) -> Vec<Level> {
    use Kind::{Object, Text, Texts};
    let jws = format!("/{}Request", case.name());
    let header = format!("{jws}/header");
    let mut levels = vec![
        level(
            Layer::Message,
            jws,
            BAD,
            &[
                ("payload", Text, BAD, Open(UNTRUSTED)),
                ("protected", Text, BAD, BAD),
                ("signature", Text, BAD, Open(UNTRUSTED)),
                // The TEE knows the TAM's certificates.
                ("header", Object, Accepted, BAD),
            ],
        ),
        level(Layer::Message, header.clone(), BAD, &[("x5c", Texts, BAD, BAD)]),
        level(Layer::MessageByKeyId, header, BAD, &[("kid", Text, BAD, BAD)]),
        // An algorithm without a name is one that is not known.
        level(Layer::Protected, "", BAD, &[("alg", Text, BAD, Open(UNSUPPORTED))]),
    ];
    for (layer, name) in [(Layer::Message, "Request"), (Layer::Payload, "TBSRequest")] {
        let name = format!("{}{name}", case.name());
        // Without its one name a message is no request: see the test of that.
        let mut outer = level(layer, "", BAD, &[("", Object, BAD, BAD)]);
        outer.members[0].0 = name;
        levels.push(outer);
    }
    levels
}

/// What is signed (sections 9.1.1, 9.2 and 9.3).
fn signed_members(case: Case) -> Vec<Level> {
    use Kind::{Flag, Object, Text, Texts};
    let at = format!("/{}TBSRequest", case.name());
    let mut tbs = level(
        Layer::Payload,
        at,
        BAD,
        &[
            ("ver", Text, BAD, Open("ERR_UNSUPPORTED_MSG_VERSION")),
            ("rid", Text, BAD, BAD),
            ("tid", Text, BAD, BAD),
        ],
    );
    let mut more = |name: &str, kind, missing, empty| {
        tbs.members.push((name.into(), kind, Some(missing), empty));
    };
    if let Case::State | Case::Alias = case {
        more("ocspdat", Texts, BAD, None);
        more("icaocspdat", Texts, Accepted, None);
        more("supportedsigalgs", Texts, Accepted, Some(Open(UNSUPPORTED)));
        return vec![tbs];
    }
    more("tee", Text, BAD, Some(BAD));
    more("nextdsi", Flag, BAD, Some(BAD));
    more("dsihash", Text, BAD, Some(BAD));
    more("content", Object, BAD, Some(BAD));
    if case.has_image() {
        more("encrypted_ta", Object, BAD, Some(BAD));
    }
    vec![tbs]
}

/// How the content is encrypted (section 7.5; RFC 7516, section 7.2).
fn content_encryption(case: Case) -> Vec<Level> {
    use Kind::{Object, Objects, Text};
    let at = format!("/{}TBSRequest/content", case.name());
    let header = format!("{at}/recipients/0/header");
    vec![
        level(
            Layer::Payload,
            &at,
            BAD,
            &[
                ("protected", Text, BAD, BAD),
                ("recipients", Objects, BAD, BAD),
                ("iv", Text, BAD, BAD),
                ("ciphertext", Text, BAD, BAD),
                ("tag", Text, BAD, BAD),
            ],
        ),
        level(
            Layer::Payload,
            format!("{at}/recipients/0"),
            BAD,
            &[("header", Object, BAD, BAD), ("encrypted_key", Text, BAD, BAD)],
        ),
        level(
            Layer::Payload,
            &header,
            BAD,
            &[
                ("alg", Text, BAD, Open(UNSUPPORTED)),
                ("epk", Object, BAD, BAD),
                ("kid", Text, Accepted, Accepted),
            ],
        ),
        level(
            Layer::Payload,
            format!("{header}/epk"),
            BAD,
            &EPHEMERAL.map(|name| (name, Text, BAD, BAD)),
        ),
        level(Layer::ContentHeader, "", BAD, &[("enc", Text, BAD, Open(UNSUPPORTED))]),
    ]
}

const EPHEMERAL: [&str; 4] = ["kty", "crv", "x", "y"];

/// What is encrypted for the TEE (sections 9.2 and 9.3).
fn content(base: Base) -> Vec<Level> {
    use Kind::{Flag, Object, Text, Texts};
    let mut content =
        level(Layer::Content, "", BAD, &[("tamid", Text, BAD, BAD), ("sdname", Text, BAD, BAD)]);
    let bad_certificate = Sealed("ERR_SPCERT_INVALID");
    let mut more = |name: &str, kind, missing, empty| {
        content.members.push((name.into(), kind, Some(missing), Some(empty)));
    };
    // DeleteSD and DeleteTA have none in the draft, where a name is taken to be enough.
    let provider = match base {
        Base::DeleteSd | Base::DeleteTa => Accepted,
        _ => BAD,
    };
    more("spid", Text, provider, BAD);
    match base {
        Base::CreateSd => {
            more("spcert", Text, BAD, bad_certificate);
            more("did", Text, BAD, BAD_INSIDE);
        }
        // Nothing has to change.
        Base::UpdateSd => more("changes", Object, BAD, Accepted),
        // "If it is present and the value is 'true'": absent it is no, and there are applications.
        Base::DeleteSd => more("deleteta", Flag, Sealed("ERR_SD_NOT_EMPTY"), BAD),
        Base::InstallTa | Base::UpdateTa => {
            more("spcert", Text, Accepted, bad_certificate);
            more("taid", Text, BAD, BAD);
        }
        Base::DeleteTa => more("taid", Text, BAD, BAD),
    }
    let changes = level(
        Layer::Content,
        "/changes",
        BAD,
        &[
            ("newsdname", Text, Accepted, BAD),
            ("newspid", Text, Accepted, BAD),
            ("spcert", Texts, Accepted, Accepted),
            ("deloldspcert", Texts, Accepted, Accepted),
            ("renewteespaik", Flag, Accepted, BAD),
        ],
    );
    match base {
        Base::UpdateSd => vec![content, changes],
        _ => vec![content],
    }
}

/// The image, encrypted for the service provider's key (sections 9.3.1.1 and 9.3.2.1). What has
/// the form of an encryption and is none is `ERR_TA_INVALID` (section 13.1.1).
fn image_encryption(case: Case) -> Vec<Level> {
    use Kind::{Object, ObjectOrText, Text};
    let undecipherable = Sealed(TA_INVALID);
    let at = format!("/{}TBSRequest/encrypted_ta", case.name());
    let key = format!("{at}/key");
    let (image, data, missing) = match case {
        Case::Command(Base::UpdateTa) => ("ciphernewtadata", "ciphernewpdata", Accepted),
        _ => ("ciphertadata", "cipherpdata", BAD),
    };
    let mut parts = level(
        Layer::Payload,
        &at,
        BAD,
        &[
            ("key", ObjectOrText, BAD, BAD),
            ("iv", Text, BAD, undecipherable),
            ("alg", Text, BAD, Sealed(UNSUPPORTED)),
            (image, Text, missing, undecipherable),
            (data, Text, Accepted, undecipherable),
        ],
    );
    // The draft has one vector, but where there are two, one text is not under the first.
    parts.members.push(("ivp".into(), Text, None, Some(undecipherable)));
    vec![
        parts,
        level(
            Layer::Payload,
            &key,
            BAD,
            &[
                ("protected", Text, BAD, undecipherable),
                ("header", Object, undecipherable, undecipherable),
                ("encrypted_key", Text, BAD, undecipherable),
                ("iv", Text, BAD, undecipherable),
                ("ciphertext", Text, BAD, undecipherable),
                ("tag", Text, BAD, undecipherable),
            ],
        ),
        level(
            Layer::Payload,
            format!("{key}/header"),
            BAD,
            &[
                ("alg", Text, undecipherable, Sealed(UNSUPPORTED)),
                ("epk", Object, undecipherable, BAD),
            ],
        ),
        level(
            Layer::Payload,
            format!("{key}/header/epk"),
            BAD,
            &[
                ("kty", Text, BAD, BAD),
                ("crv", Text, BAD, BAD),
                ("x", Text, BAD, undecipherable),
                ("y", Text, BAD, undecipherable),
            ],
        ),
    ]
}

/// A value for a member that the accepted request does not have.
fn sample(name: &str) -> Value {
    match name {
        "icaocspdat" => json!([]),
        "kid" => json!("a key"),
        "spid" => json!(SP),
        "spcert" => json!(base64(&home().rsa_certificate)),
        "deloldspcert" => json!([hex::encode(sha256(&home().certificate))]),
        "renewteespaik" => json!(true),
        _ => panic!("no accepted request has {name}"),
    }
}

// ---- the harness: one member changed, one answer --------------------------------------------

/// One change of an object.
#[derive(Clone, Debug)]
enum Change {
    Remove(String),
    Twice(String),
    Set(String, Value),
}

/// A change in its place.
#[derive(Clone, Copy)]
struct Mutation<'m> {
    layer: Layer,
    at: &'m str,
    change: &'m Change,
}

impl Mutation<'_> {
    fn apply(&self, text: &[u8]) -> Vec<u8> {
        const MARK: &str = "the object is written here";
        let mut value: Value = serde_json::from_slice(text).unwrap();
        let place = value.pointer_mut(self.at).unwrap_or_else(|| panic!("no {}", self.at));
        let mut members: Vec<(String, Value)> =
            place.as_object().unwrap().clone().into_iter().collect();
        let position = |wanted: &str| members.iter().position(|(name, _)| name == wanted);
        match self.change {
            Change::Remove(name) => drop(position(name).map(|at| members.remove(at))),
            Change::Set(name, value) => match position(name) {
                Some(at) => members[at].1 = value.clone(),
                None => members.push((name.clone(), value.clone())),
            },
            Change::Twice(name) => {
                let member = match position(name) {
                    Some(at) => members[at].clone(),
                    None => (name.clone(), sample(name)),
                };
                if position(name).is_none() {
                    members.push(member.clone());
                }
                members.push(member);
            }
        }
        let members: Vec<String> =
            members.iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
        *place = MARK.into();
        let object = format!("{{{}}}", members.join(","));
        value.to_string().replace(&format!("\"{MARK}\""), &object).into_bytes()
    }
}

/// An accepted request in its layers.
pub struct Layers {
    case: Case,
    header: Value,
    /// The signed members, with an image if there is one, but without the content.
    pub tbs: Map<String, Value>,
    pub content: Option<Vec<u8>>,
}

impl Layers {
    pub fn of(case: Case) -> Self {
        let mut content = None;
        let mut tbs = Map::new();
        let builder = match case {
            Case::State | Case::Alias => Builder::device_state(&pki().tam),
            // An image that is good under any name.
            Case::Command(base) => {
                base.builder().ta_encryption(TaEncryption::AesCbc).edit_content(|members| {
                    content = Some(serde_json::to_vec(members).unwrap());
                })
            }
        };
        builder.edit_tbs(|members| tbs = members.clone()).build().unwrap();
        Self { case, header: json!({ "x5c": pki().tam.x5c().unwrap() }), tbs, content }
    }

    /// The request with a change in it, all around it being right.
    fn assemble(&self, mutation: Option<Mutation<'_>>) -> Vec<u8> {
        let by_key_id = mutation.is_some_and(|it| it.layer == Layer::MessageByKeyId);
        self.assemble_with(by_key_id, |layer, text| match mutation {
            Some(mutation) if mutation.layer == layer => mutation.apply(&text),
            _ => text,
        })
    }

    /// The request with each of its texts as `layer` makes it.
    pub fn assemble_with(
        &self,
        by_key_id: bool,
        layer: impl Fn(Layer, Vec<u8>) -> Vec<u8>,
    ) -> Vec<u8> {
        let mut tbs = self.tbs.clone();
        if let Some(content) = &self.content {
            let header = layer(Layer::ContentHeader, br#"{"enc":"A128GCM"}"#.to_vec());
            let content = seal(&header, &layer(Layer::Content, content.clone()));
            tbs.insert("content".into(), content);
        }
        let name = self.case.name();
        let payload = json!({ format!("{name}TBSRequest"): tbs }).to_string().into_bytes();
        let payload = layer(Layer::Payload, payload);
        let protected = layer(Layer::Protected, br#"{"alg":"ES256"}"#.to_vec());
        let header = match by_key_id {
            true => json!({ "kid": pki().tam.key_id().unwrap() }),
            false => self.header.clone(),
        };
        let header = header.as_object().cloned();
        let jws = Jws::sign(&payload, &protected, header, pki().tam.key()).unwrap();
        let message = json!({ format!("{name}Request"): jws }).to_string().into_bytes();
        layer(if by_key_id { Layer::MessageByKeyId } else { Layer::Message }, message)
    }
}

/// A content under a header of any text, which its tag covers.
pub fn seal(header: &[u8], plaintext: &[u8]) -> Value {
    let (key, iv, mut tag) = ([5; 16], [6; 12], [0; 16]);
    let protected = base64url(header);
    let cipher = Cipher::aes_128_gcm();
    let aad = protected.as_bytes();
    let ciphertext = encrypt_aead(cipher, &key, Some(&iv), aad, plaintext, &mut tag).unwrap();
    let key = ContentKey::new(ContentEncryption::A128Gcm, key.to_vec()).unwrap();
    let recipient = home().target.certificate.public_key().unwrap();
    let wrapped = Jwe::seal(b"", &key, KeyManagement::EcdhEsA128Kw, &recipient).unwrap();
    json!({
        "protected": protected, "recipients": wrapped.recipients, "iv": base64url(&iv),
        "ciphertext": base64url(&ciphertext), "tag": base64url(&tag)
    })
}

/// Sends changed requests to one device, which none that is refused may change.
struct Driver {
    refusals: Refusals,
    layers: Layers,
    rows: usize,
}

impl Driver {
    fn begin(case: Case) -> Self {
        Self { refusals: Refusals::begin(), layers: Layers::of(case), rows: 0 }
    }

    fn check(&mut self, layer: Layer, at: &str, change: &Change, expected: Expect) {
        let what = format!("{:?}, {layer:?}{at}: {change:?}", self.layers.case);
        let message = self.layers.assemble(Some(Mutation { layer, at, change }));
        self.rows += 1;
        if expected == Accepted {
            let mut device = Device::from(&home().snapshot);
            let reply = device.process(&message).unwrap();
            assert_eq!(verdict(&what, &reply), None, "{what}");
            assert!(device.world.snapshot() != home().snapshot, "{what}");
            return;
        }
        let reply = self.refusals.unchanged(&what, &message).unwrap();
        let verdict = verdict(&what, &reply).unwrap_or_else(|| panic!("accepted: {what}"));
        assert_eq!(
            Some((verdict.0, verdict.1.as_str())),
            expected.refusal(self.layers.case, layer),
            "{what}"
        );
    }

    fn check_level(&mut self, level: &Level) {
        let Level { layer, at, bad, members } = level;
        for (name, kind, missing, empty) in members {
            // The one name of a message: without it there is nothing to answer to.
            let nameless = *layer == Layer::Message && at.is_empty();
            if let (Some(missing), false) = (missing, nameless) {
                self.check(*layer, at, &Change::Remove(name.clone()), *missing);
            }
            self.check(*layer, at, &Change::Twice(name.clone()), *bad);
            for value in kind.others() {
                if value == kind.empty() {
                    continue;
                }
                self.check(*layer, at, &Change::Set(name.clone(), value), *bad);
            }
            if let Some(empty) = empty {
                self.check(*layer, at, &Change::Set(name.clone(), kind.empty()), *empty);
            }
        }
        for extra in ["extra", "", "crit"] {
            for value in [json!("x"), json!(null)] {
                self.check(*layer, at, &Change::Set(extra.into(), value), *bad);
            }
        }
    }

    /// A value as long as it may be, and one longer.
    fn check_lengths(
        &mut self,
        (layer, at, name): (Layer, &str, &str),
        (longest, expected): (Value, Expect),
        (longer, refused): (Value, Expect),
    ) {
        self.check(layer, at, &Change::Set(name.into(), longest), expected);
        self.check(layer, at, &Change::Set(name.into(), longer), refused);
    }

    fn end(mut self) -> usize {
        let message = self.layers.assemble(None);
        let mut device = Device::from(&home().snapshot);
        assert_eq!(verdict("unchanged", &device.process(&message).unwrap()), None);
        self.refusals.unchanged("nothing", b"{}").unwrap_err();
        self.rows
    }
}

/// `None` for a request that was carried out; else the form of the refusal and its code.
pub fn verdict(what: &str, reply: &[u8]) -> Option<(Answer, String)> {
    let certificate = &home().target.certificate;
    let outer: Value = serde_json::from_slice(reply).unwrap();
    let jws = outer.as_object().unwrap().values().next().unwrap();
    let payload = otrp_tam::encoding::from_base64url(jws["payload"].as_str().unwrap()).unwrap();
    let payload: Value = serde_json::from_slice(&payload).unwrap();
    let tbs = payload.as_object().unwrap().values().next().unwrap();
    if tbs["status"] == "pass" {
        return None;
    }
    let refused = Refused::read(reply, &certificate.public_key().unwrap());
    if let Some(code) = refused.code {
        let form = if refused.by_tee { Answer::Open } else { Answer::Anonymous };
        return Some((form, code));
    }
    let Reply::Answer(answer) = Reply::read(reply).unwrap() else { panic!("{what}") };
    match answer.outcome(None, &pki().tam, certificate).unwrap() {
        Outcome::Fail(refusal) => Some((Answer::Sealed, refusal.code.into_inner())),
        Outcome::Pass(_) => None,
    }
}

// ---- every member of every level ------------------------------------------------------------

fn check_levels(levels: impl Fn(Case) -> Vec<Level>) {
    let mut rows = 0;
    for case in Case::all() {
        let levels = levels(case);
        if levels.is_empty() {
            continue;
        }
        let mut driver = Driver::begin(case);
        levels.iter().for_each(|level| driver.check_level(level));
        rows += driver.end();
    }
    assert!(rows > 100, "{rows} rows");
}

#[test]
fn of_the_envelope() {
    check_levels(envelope);
}

#[test]
fn of_what_is_signed() {
    check_levels(signed_members);
}

#[test]
fn of_the_encryption_of_the_content() {
    check_levels(|case| match case {
        Case::Command(_) => content_encryption(case),
        Case::State | Case::Alias => Vec::new(),
    });
}

#[test]
fn of_the_content() {
    check_levels(|case| match case {
        Case::Command(base) => content(base),
        Case::State | Case::Alias => Vec::new(),
    });
}

#[test]
fn of_the_encryption_of_the_image() {
    check_levels(|case| if case.has_image() { image_encryption(case) } else { Vec::new() });
}

#[test]
fn a_message_without_a_name_has_no_answer() {
    let mut refusals = Refusals::begin();
    for case in Case::all() {
        let layers = Layers::of(case);
        let change = Change::Remove(format!("{}Request", case.name()));
        let mutation = Mutation { layer: Layer::Message, at: "", change: &change };
        let reply = refusals.unchanged("no name", &layers.assemble(Some(mutation)));
        assert_eq!(reply, Err(Unanswerable::NotARequest));
    }
}

// ---- lengths at and above the limits --------------------------------------------------------

#[test]
fn as_long_as_they_may_be_and_longer() {
    let text = |length: usize| json!("n".repeat(length));
    for case in Case::all() {
        let mut driver = Driver::begin(case);
        let tbs = format!("/{}TBSRequest", case.name());
        for name in ["rid", "tid"] {
            driver.check_lengths(
                (Layer::Payload, &tbs, name),
                (text(TRANSACTION_ID_LIMIT), Accepted),
                (text(TRANSACTION_ID_LIMIT + 1), BAD),
            );
        }
        let header = format!("/{}Request/header", case.name());
        let chain = |length: usize| {
            let mut chain = pki().tam.x5c().unwrap();
            let root = chain.last().unwrap().clone();
            chain.resize(length, root);
            json!(chain)
        };
        driver.check_lengths(
            (Layer::Message, &header, "x5c"),
            (chain(CHAIN_LIMIT), Open("ERR_TAM_NOT_TRUSTED")),
            (chain(CHAIN_LIMIT + 1), BAD),
        );
        let header = |length: usize| text(length - r#"{"alg":"ES256","kid":""}"#.len());
        driver.check_lengths(
            (Layer::Protected, "", "kid"),
            (header(JOSE_HEADER_LIMIT), Accepted),
            (header(JOSE_HEADER_LIMIT + 1), BAD),
        );
        let Case::Command(base) = case else {
            let algorithms = |length: usize| {
                let mut names = vec!["ES512"; length - 1];
                names.push("ES256");
                json!(names)
            };
            driver.check_lengths(
                (Layer::Payload, &tbs, "supportedsigalgs"),
                (algorithms(ALGORITHM_LIMIT), Accepted),
                (algorithms(ALGORITHM_LIMIT + 1), BAD),
            );
            for name in ["ocspdat", "icaocspdat"] {
                let responses = json!(vec!["AAAA"; OCSP_LIMIT + 1]);
                driver.check(Layer::Payload, &tbs, &Change::Set(name.into(), responses), BAD);
            }
            driver.end();
            continue;
        };
        let header = |length: usize| text(length - r#"{"enc":"A128GCM","kid":""}"#.len());
        driver.check_lengths(
            (Layer::ContentHeader, "", "kid"),
            (header(JOSE_HEADER_LIMIT), Accepted),
            (header(JOSE_HEADER_LIMIT + 1), BAD),
        );
        for name in ["tee", "ver", "dsihash"] {
            let expected = if name == "ver" { Open("ERR_UNSUPPORTED_MSG_VERSION") } else { BAD };
            driver.check(Layer::Payload, &tbs, &Change::Set(name.into(), text(5000)), expected);
        }
        let content = format!("{tbs}/content");
        for (at, name, length) in [
            ("/recipients/0", "encrypted_key", 40),
            ("", "iv", 12),
            ("", "tag", 16),
            ("/recipients/0/header/epk", "x", 32),
            ("/recipients/0/header/epk", "y", 32),
        ] {
            let at = format!("{content}{at}");
            for length in [length - 1, length + 1, length + 2, length + 3, 5000] {
                let change = Change::Set(name.into(), base64url(&vec![1; length]).into());
                driver.check(Layer::Payload, &at, &change, BAD);
            }
        }
        driver.check_lengths(
            (Layer::Content, "", "tamid"),
            (text(TAM_ID_LIMIT), Open("ERR_TAM_NOT_AUTHORIZED")),
            (text(TAM_ID_LIMIT + 1), BAD),
        );
        for (name, expected) in names(base) {
            driver.check_lengths(
                (Layer::Content, "", name),
                (text(NAME_LIMIT), *expected),
                (text(NAME_LIMIT + 1), BAD),
            );
        }
        if base == Base::UpdateSd {
            for name in ["newsdname", "newspid"] {
                driver.check_lengths(
                    (Layer::Content, "/changes", name),
                    (text(NAME_LIMIT), Accepted),
                    (text(NAME_LIMIT + 1), BAD),
                );
            }
            for nothing in [json!([""]), json!("")] {
                let change = Change::Set("spcert".into(), nothing.clone());
                let expected = Sealed("ERR_SPCERT_INVALID");
                driver.check(Layer::Content, "/changes", &change, expected);
                let change = Change::Set("deloldspcert".into(), nothing);
                driver.check(Layer::Content, "/changes", &change, BAD_INSIDE);
            }
            let certificates = |length| json!(vec![base64(&home().rsa_certificate); length]);
            driver.check_lengths(
                (Layer::Content, "/changes", "spcert"),
                (certificates(SP_CERTIFICATE_LIMIT), Accepted),
                (certificates(SP_CERTIFICATE_LIMIT + 1), BAD),
            );
            let hash = hex::encode([7; 32]);
            driver.check_lengths(
                (Layer::Content, "/changes", "deloldspcert"),
                (json!(vec![&hash; SP_CERTIFICATE_LIMIT]), Sealed("ERR_SPCERT_INVALID")),
                (json!(vec![&hash; SP_CERTIFICATE_LIMIT + 1]), BAD),
            );
        }
        if case.has_image() {
            let at = format!("{tbs}/encrypted_ta");
            for name in ["iv", "ivp"] {
                for digits in [30, 31, 33, 34, 5000] {
                    let change = Change::Set(name.into(), json!("a".repeat(digits)));
                    driver.check(Layer::Payload, &at, &change, Sealed(TA_INVALID));
                }
            }
        }
        driver.end();
    }
}

/// What becomes of a request in which a name is another that is as long as names may be.
fn names(base: Base) -> &'static [(&'static str, Expect)] {
    const ABSENT_SD: Expect = Sealed(SD_NOT_FOUND);
    const ABSENT_TA: Expect = Sealed(TA_NOT_FOUND);
    match base {
        Base::CreateSd => &[("spid", Accepted), ("sdname", Accepted)],
        Base::UpdateSd | Base::DeleteSd => &[("spid", ABSENT_SD), ("sdname", ABSENT_SD)],
        // The domain is there, but not for this provider (section 13.1.1).
        Base::InstallTa => {
            &[("spid", Sealed(TA_INVALID)), ("sdname", ABSENT_SD), ("taid", Accepted)]
        }
        Base::UpdateTa => {
            &[("spid", Sealed(TA_INVALID)), ("sdname", ABSENT_SD), ("taid", ABSENT_TA)]
        }
        Base::DeleteTa => &[("spid", ABSENT_SD), ("sdname", ABSENT_SD), ("taid", ABSENT_TA)],
    }
}
