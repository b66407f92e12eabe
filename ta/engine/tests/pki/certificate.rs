//! Single certificates: what is read from them, malformed ones, TAM identifiers, splitting a chain.

use openssl::asn1::Asn1Object;
use openssl::x509::X509;
use otrp_engine::pki::{Certificate, Error, Usage, check_sp_certificate, split_chain, split_der};
use otrp_wire::limits::{CERTIFICATE_LIMIT, CHAIN_LIMIT, TAM_ID_LIMIT};

use crate::fixture::*;
use crate::support::{OpensslRsa, p256, rsa, spki};
use crate::x509::*;

#[test]
fn a_certificate_is_taken_apart() {
    let key = p256();
    let mut template = leaf("authority", key.clone());
    template.set(BASIC_CONSTRAINTS, true, Some(&[0x30, 6, 1, 1, 0xff, 2, 1, 3]));
    let der = template.sign(&p256());
    let other = X509::from_der(&der).unwrap();
    let certificate = Certificate::parse(&der).unwrap();
    assert_eq!(certificate.der(), der);
    assert_eq!(certificate.serial(), [0x12, 0x34, 0x56, 0x78]);
    assert_eq!(certificate.subject(), other.subject_name().to_der().unwrap());
    assert_eq!(certificate.issuer(), other.issuer_name().to_der().unwrap());
    assert_eq!(certificate.spki(), spki(&key));
    assert_eq!(i64::try_from(certificate.validity().not_before).unwrap(), NOW - 1000);
    assert_eq!(i64::try_from(certificate.validity().not_after).unwrap(), NOW + 1000);
    assert!(certificate.is_authority());
    assert_eq!(certificate.path_length(), Some(3));
    assert!(!certificate.is_self_issued());
    assert!(certificate.allows(Usage::DigitalSignature));
    assert!(certificate.allows(Usage::KeyAgreement));
    assert!(!certificate.allows(Usage::KeyEncipherment));
    assert!(!certificate.allows(Usage::KeyCertSign));
    assert!(certificate.is_for(&own(&key)));
    assert!(!certificate.is_for(&own(&p256())));
    assert!(!certificate.is_for(&own(&RSA_2048)));
    let der = sp_template(RSA_2048.clone()).sign(&RSA_2048);
    let certificate = Certificate::parse(&der).unwrap();
    assert!(certificate.is_for(&own(&RSA_2048)));
    assert!(!certificate.is_for(&own(&rsa(2048))));
    assert!(!certificate.is_for(&own(&key)));
}

#[test]
fn dates_beyond_2050_are_read() {
    let mut template = sp_template(p256());
    template.not_before = 2_524_607_999; // 2049-12-31T23:59:59Z, the last UTCTime
    template.not_after = 253_402_300_799; // 9999-12-31T23:59:59Z, "no end" (RFC 5280, 4.1.2.5)
    let der = template.sign(&template.key);
    let validity = Certificate::parse(&der).unwrap().validity();
    assert_eq!((validity.not_before, validity.not_after), (2_524_607_999, 253_402_300_799));
}

#[test]
fn malformed_certificates_are_refused() {
    type Row = (&'static str, fn(&mut Vec<Vec<u8>>), Result<(), Error>);
    /// Replaces the extensions.
    fn extensions(parts: &mut [Vec<u8>], list: &[Vec<u8>]) {
        *parts.last_mut().unwrap() = element(0xa3, &element(0x30, &list.concat()));
    }
    /// An extension 2.5.29.`id`.
    fn extension(id: u8, flag: &[u8], value: &[u8]) -> Vec<u8> {
        let value = element(0x04, value);
        element(0x30, &[&[0x06, 3, 0x55, 0x1d, id], flag, &value].concat())
    }
    /// A Name of one set.
    fn name(attributes: &[&[u8]]) -> Vec<u8> {
        element(0x30, &element(0x31, &attributes.concat()))
    }
    /// A common name.
    fn attribute(tag: u8, text: &[u8]) -> Vec<u8> {
        element(0x30, &[&[6, 3, 0x55, 4, 3], &element(tag, text)[..]].concat())
    }
    const CRITICAL: &[u8] = &[1, 1, 0xff];
    let rows: &[Row] = &[
        ("nothing changed", |_| (), Ok(())),
        ("no extensions", |parts| drop(parts.pop()), Ok(())),
        ("version 1", |parts| drop(parts.remove(0)), Err(Error::Malformed)),
        ("version 2", |parts| parts[0] = vec![0xa0, 3, 2, 1, 1], Err(Error::Malformed)),
        ("version 4", |parts| parts[0] = vec![0xa0, 3, 2, 1, 3], Err(Error::Malformed)),
        ("serial zero", |parts| parts[1] = vec![2, 1, 0], Ok(())),
        ("serial of 20 octets", |parts| parts[1] = element(2, &[1; 20]), Ok(())),
        ("serial of 21 octets", |parts| parts[1] = element(2, &[1; 21]), Err(Error::Malformed)),
        ("serial negative", |parts| parts[1] = vec![2, 1, 0x80], Err(Error::Malformed)),
        ("serial empty", |parts| parts[1] = vec![2, 0], Err(Error::Malformed)),
        ("serial padded", |parts| parts[1] = vec![2, 2, 0, 1], Err(Error::Malformed)),
        (
            "validity backwards",
            |parts| {
                let times = elements(contents(&parts[4]));
                parts[4] = element(0x30, &[&times[1][..], &times[0]].concat());
            },
            Err(Error::Malformed),
        ),
        (
            "a time without seconds",
            |parts| {
                let time = element(0x17, b"2501010000Z");
                parts[4] = element(0x30, &[&time[..], &time].concat());
            },
            Err(Error::Malformed),
        ),
        (
            "a time with an offset",
            |parts| {
                let time = element(0x17, b"250101000000+0100");
                parts[4] = element(0x30, &[&time[..], &time].concat());
            },
            Err(Error::Malformed),
        ),
        (
            "30 February",
            |parts| {
                let time = element(0x17, b"250230000000Z");
                parts[4] = element(0x30, &[&time[..], &time].concat());
            },
            Err(Error::Malformed),
        ),
        (
            "a third time",
            |parts| parts[4] = element(0x30, &contents(&parts[4]).repeat(2)),
            Err(Error::Malformed),
        ),
        ("a subject without attributes", |parts| parts[5] = element(0x30, &[]), Ok(())),
        (
            "a name of two attributes at once",
            |parts| parts[5] = name(&[&attribute(0x0c, b"a"), &attribute(0x0c, b"b")]),
            Ok(()),
        ),
        ("an attribute of nothing", |parts| parts[5] = name(&[]), Err(Error::Malformed)),
        (
            "an attribute that is cut off in the subject",
            |parts| parts[5] = name(&[&element(0x30, &[6, 3, 0x55, 4, 3, 0x0c, 2, b'a'])]),
            Err(Error::Malformed),
        ),
        (
            "an attribute that is cut off in the issuer",
            |parts| parts[3] = name(&[&element(0x30, &[6, 3, 0x55, 4, 3, 0x0c, 2, b'a'])]),
            Err(Error::Malformed),
        ),
        (
            "an attribute with two values",
            |parts| {
                parts[5] = name(&[&element(0x30, &[6, 3, 0x55, 4, 3, 0x0c, 1, b'a', 0x0c, 0])]);
            },
            Err(Error::Malformed),
        ),
        (
            "an attribute without a type",
            |parts| parts[5] = name(&[&element(0x30, &[0x0c, 1, b'a', 0x0c, 1, b'a'])]),
            Err(Error::Malformed),
        ),
        (
            "an attribute whose type has no end",
            |parts| parts[5] = name(&[&element(0x30, &[6, 3, 0x55, 4, 0x83, 0x0c, 1, b'a'])]),
            Err(Error::Malformed),
        ),
        (
            "an attribute whose type has zeros in front",
            |parts| parts[5] = name(&[&element(0x30, &[6, 4, 0x55, 4, 0x80, 3, 0x0c, 1, b'a'])]),
            Err(Error::Malformed),
        ),
        (
            "an attribute whose type is empty",
            |parts| parts[5] = name(&[&element(0x30, &[6, 0, 0x0c, 1, b'a'])]),
            Err(Error::Malformed),
        ),
        (
            "an algorithm without an identifier",
            |parts| parts[2] = element(0x30, &[5, 0]),
            Err(Error::Malformed),
        ),
        (
            "an algorithm with two parameters",
            |parts| parts[2] = element(0x30, &[6, 3, 0x55, 4, 3, 5, 0, 5, 0]),
            Err(Error::Malformed),
        ),
        (
            "an algorithm that is not known",
            |parts| parts[2] = element(0x30, &[6, 3, 0x55, 4, 3, 5, 0]),
            Ok(()),
        ),
        (
            "an extension whose identifier has no end",
            |parts| {
                let value = element(4, &[5, 0]);
                extensions(parts, &[element(0x30, &[&[6, 2, 0x55, 0x9d], &value[..]].concat())]);
            },
            Err(Error::Malformed),
        ),
        (
            "a name without its set",
            |parts| parts[5] = element(0x30, &attribute(0x0c, b"a")),
            Err(Error::Malformed),
        ),
        (
            "an issuer's unique identifier",
            |parts| parts.insert(7, vec![0x81, 2, 0, 1]),
            Err(Error::Malformed),
        ),
        ("extensions twice", |parts| parts.push(parts[7].clone()), Err(Error::Malformed)),
        ("a part missing", |parts| drop(parts.remove(3)), Err(Error::Malformed)),
        (
            "an extension twice",
            |parts| {
                let usage = extension(15, CRITICAL, SIGN_ONLY);
                extensions(parts, &[usage.clone(), usage]);
            },
            Err(Error::Malformed),
        ),
        (
            "a default written out",
            |parts| extensions(parts, &[extension(15, &[1, 1, 0], SIGN_ONLY)]),
            Err(Error::Malformed),
        ),
        (
            "a boolean that is not DER",
            |parts| extensions(parts, &[extension(15, &[1, 1, 1], SIGN_ONLY)]),
            Err(Error::Malformed),
        ),
        (
            "an extension with something more",
            |parts| {
                let mut usage = extension(15, CRITICAL, SIGN_ONLY);
                usage.extend([5, 0]);
                usage[1] += 2;
                extensions(parts, &[usage]);
            },
            Err(Error::Malformed),
        ),
        (
            "a usage with something more",
            |parts| extensions(parts, &[extension(15, CRITICAL, &[3, 2, 7, 0x80, 5, 0])]),
            Err(Error::Malformed),
        ),
        (
            "a usage for nothing",
            |parts| extensions(parts, &[extension(15, CRITICAL, &[3, 2, 7, 0])]),
            Err(Error::Malformed),
        ),
        (
            "a path length without authority",
            |parts| extensions(parts, &[extension(19, CRITICAL, &[0x30, 3, 2, 1, 0])]),
            Err(Error::Malformed),
        ),
        (
            "a negative path length",
            |parts| {
                let constraints = [0x30, 6, 1, 1, 0xff, 2, 1, 0xff];
                extensions(parts, &[extension(19, CRITICAL, &constraints)]);
            },
            Err(Error::Malformed),
        ),
        (
            "no alternative names",
            |parts| extensions(parts, &[extension(17, &[], &[0x30, 0])]),
            Err(Error::Malformed),
        ),
        (
            "an alternative name of no known kind",
            |parts| extensions(parts, &[extension(17, &[], &names(&[(0x89, b"x")]))]),
            Err(Error::Malformed),
        ),
        (
            "an alternative name cut off",
            |parts| extensions(parts, &[extension(17, &[], &[0x30, 3, 0x82, 2, b'x'])]),
            Err(Error::Malformed),
        ),
        (
            "empty name constraints",
            |parts| extensions(parts, &[extension(30, CRITICAL, &[0x30, 0])]),
            Err(Error::Malformed),
        ),
        (
            "critical certificate policies",
            |parts| extensions(parts, &[extension(32, CRITICAL, &[0x30, 4, 0x30, 2, 6, 0])]),
            Err(Error::CriticalExtension),
        ),
    ];
    let template = sp_template(p256());
    let der = template.sign(&template.key);
    for (name, change, expected) in rows {
        let spoiled = rebuild(&der, change, |_| vec![0; 64]);
        assert_eq!(Certificate::parse(&spoiled).map(|_| ()), *expected, "{name}");
    }

    let outer = elements(contents(&der));
    let assemble = |parts: &[&[u8]]| element(0x30, &parts.concat());
    for (name, spoiled) in [
        ("trailing octet", [&der[..], &[0]].concat()),
        ("trailing element", assemble(&[&outer[0], &outer[1], &outer[2], &[5, 0]])),
        ("no signature", assemble(&[&outer[0], &outer[1]])),
        ("another algorithm outside", assemble(&[&outer[0], &pss(32), &outer[2]])),
        ("unused bits", assemble(&[&outer[0], &outer[1], &[3, 2, 1, 0]])),
        (
            "a length that is not the shortest",
            [&[0x30, 0x83, 0][..], &u16::try_from(der.len() - 4).unwrap().to_be_bytes(), &der[4..]]
                .concat(),
        ),
        ("an indefinite length", [&[0x30, 0x80][..], &der[4..], &[0, 0]].concat()),
        ("a SET", [&[0x31][..], &der[1..]].concat()),
    ] {
        assert_eq!(Certificate::parse(&spoiled).map(|_| ()), Err(Error::Malformed), "{name}");
    }
    for length in 0..der.len() {
        let result = Certificate::parse(&der[..length]).map(|_| ());
        assert_eq!(result, Err(Error::Malformed), "{length} octets");
    }
}

#[test]
fn the_longest_certificate_is_accepted_and_a_longer_one_is_not() {
    let template = |filler: usize| {
        let mut template = sp_template(p256());
        template.set(UNKNOWN, false, Some(&vec![0; filler]));
        template
    };
    // An ECDSA signature in DER has no fixed length: made again until it fits.
    let of_length = |length: usize| {
        (0_usize..)
            .map(|attempt| template(length - 350 + attempt % 20))
            .map(|template| template.sign(&template.key))
            .find(|der| der.len() == length)
            .unwrap()
    };
    let longest = of_length(CERTIFICATE_LIMIT);
    assert!(check_sp_certificate::<OpensslRsa>(&longest).is_ok());
    let longer = of_length(CERTIFICATE_LIMIT + 1);
    assert_eq!(Certificate::parse(&longer).map(|_| ()), Err(Error::TooLong));
}

#[test]
fn tam_identifiers_come_from_alternative_names() {
    let longest = format!("https://{}", "x".repeat(TAM_ID_LIMIT - 8));
    let too_long = format!("{longest}x");
    let registered = Asn1Object::from_str("1.3.6.1.4.1.311.21.20").unwrap();
    let registered = registered.as_slice();
    type Row<'a> = (&'a [(u8, &'a [u8])], Option<&'a str>);
    let rows: &[Row<'_>] = &[
        (&[(URI, b"https://tam.example.org/otrp")], Some("https://tam.example.org/otrp")),
        (&[(URI, b"urn:x")], Some("urn:x")),
        (&[(DNS, b"TAM_x.acme.com")], Some("tam_x.acme.com")),
        (&[(DNS, b"id1.TAMxyz.com")], Some("id1.tamxyz.com")),
        (&[(URI, b"HTTPS://TAM.Example.org/Otrp")], Some("https://tam.example.org/Otrp")),
        (&[(REGISTERED, registered)], Some("1.3.6.1.4.1.311.21.20")),
        (&[(REGISTERED, &[0x2a])], Some("1.2")),
        (&[(REGISTERED, &[0x27, 0x7f])], Some("0.39.127")),
        (&[(REGISTERED, &[0x88, 0x37])], Some("2.999")),
        // The order of the kinds, and within a kind that of the certificate.
        (&[(DNS, b"a.example"), (URI, b"u:1"), (REGISTERED, &[0x2a])], Some("1.2")),
        (&[(DNS, b"a.example"), (URI, b"u:1"), (URI, b"u:2")], Some("u:1")),
        (
            &[(ADDRESS, &[192, 0, 2, 1]), (DNS, b"a.example"), (DNS, b"b.example")],
            Some("a.example"),
        ),
        // If the preferred one is bad, the next one is not used instead.
        (&[(DNS, b"a.example"), (URI, b"no colon")], None),
        (&[(URI, b"u:1"), (REGISTERED, &[0x80, 1])], None),
        (&[(ADDRESS, &[192, 0, 2, 1])], None),
        (&[(0x81, b"tam@example.org")], None),
        // Not what the kind demands, or what could be confused with another kind.
        (&[(URI, b"")], None),
        (&[(URI, b"tam.example.org")], None),
        (&[(URI, b":x")], None),
        (&[(URI, b"https:")], None),
        (&[(URI, b"1.2:3")], None),
        (&[(URI, b"https://a b")], None),
        (&[(URI, b"https://a\"b")], None),
        (&[(URI, b"https://a\\b")], None),
        (&[(URI, b"https://a\nb")], None),
        (&[(URI, b"https://a\0b")], None),
        (&[(URI, b"https://a\x7f")], None),
        (&[(URI, "https://caf\u{e9}".as_bytes())], None),
        (&[(URI, b"https://\xff")], None),
        (&[(DNS, b"")], None),
        (&[(DNS, b"*.example.org")], None),
        (&[(DNS, b"1.2.840")], None),
        (&[(DNS, b"a:b")], None),
        (&[(DNS, b"a..b")], None),
        (&[(DNS, b"a b")], None),
        (&[(DNS, b"a\0.example")], None),
        (&[(REGISTERED, b"")], None),
        (&[(REGISTERED, &[0x2a, 0x86])], None),
        (&[(REGISTERED, &[0x2a, 0x80, 1])], None),
        (
            &[(
                REGISTERED,
                &[
                    0x83, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
                ],
            )],
            None,
        ),
        (&[(REGISTERED, &[0x2a; TAM_ID_LIMIT])], None),
        // Length.
        (&[(URI, longest.as_bytes())], Some(&longest)),
        (&[(URI, too_long.as_bytes())], None),
    ];
    for (list, expected) in rows {
        let mut template = leaf("authority", p256());
        template.set(ALTERNATIVE_NAME, false, Some(&names(list)));
        let der = template.sign(&p256());
        let identity = Certificate::parse(&der).unwrap().tam_id();
        assert_eq!(identity.as_ref().map(|id| id.as_str()), *expected, "{list:x?}");
    }
    // A UUID as one number: ITU-T X.667, section 7.
    let number = "2.25.329800735698586629295641978511506172918";
    let registered = Asn1Object::from_str(number).unwrap();
    let mut template = leaf("authority", p256());
    template.set(ALTERNATIVE_NAME, false, Some(&names(&[(REGISTERED, registered.as_slice())])));
    let der = template.sign(&p256());
    assert_eq!(Certificate::parse(&der).unwrap().tam_id().unwrap().as_str(), number);
}

#[test]
fn concatenated_certificates_are_split() {
    let world = World::new();
    let (leaf, authority, root) = (world.leaf_der(), world.authority_der(), world.root_der());
    let all = [&leaf[..], &authority, &root].concat();
    assert_eq!(split_chain(&all).unwrap(), [&leaf[..], &authority, &root]);
    assert_eq!(split_chain(&leaf).unwrap(), [&leaf[..]]);
    assert_eq!(split_chain(&leaf.repeat(CHAIN_LIMIT)).unwrap().len(), CHAIN_LIMIT);
    assert_eq!(split_chain(&leaf.repeat(CHAIN_LIMIT + 1)), Err(Error::TooMany));

    let longest = element(0x30, &vec![0; CERTIFICATE_LIMIT - 4]);
    assert_eq!(split_chain(&longest).unwrap(), [&longest[..]]);
    let longer = element(0x30, &vec![0; CERTIFICATE_LIMIT - 3]);
    assert_eq!(split_chain(&longer), Err(Error::TooLong));

    assert_eq!(split_chain(&[]), Err(Error::Malformed));
    for spoiled in [
        [&all[..], &[0]].concat(),
        [&all[..], b"\n"].concat(),
        [&all[..], &[0x30]].concat(),
        [&all[..], &[5, 0]].concat(),
        [&[0], &all[..]].concat(),
        all[..all.len() - 1].to_vec(),
        b"-----BEGIN CERTIFICATE-----".to_vec(),
        vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
    ] {
        assert_eq!(split_chain(&spoiled), Err(Error::Malformed), "{:x?}", &spoiled[..4]);
    }

    let spoiled = [&leaf[..], &[0], &authority].concat();
    let results: Vec<_> = split_der(&spoiled).collect();
    assert_eq!(results, [Ok(&leaf[..]), Err(Error::Malformed)], "ends after an error");
}
