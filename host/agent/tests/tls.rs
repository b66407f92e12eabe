//! HTTPS against OpenSSL: only the TAM that the given certificates vouch for.

mod support;

use std::io::Write;

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Name};
use otrp_agent::http::{Settings, Tam, TamError};
use rustls_pki_types::CertificateDer;
use support::{Server, message};

struct Signer {
    key: PKey<Private>,
    certificate: X509,
}

fn name(text: &str) -> X509Name {
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("CN", text).unwrap();
    name.build()
}

/// A certificate by `issuer`, or an authority's own; valid `days` from yesterday.
fn certificate(subject: &str, issuer: Option<&Signer>, days: u32) -> Signer {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&name(subject)).unwrap();
    let issuer_name = issuer
        .map_or(name(subject), |issuer| issuer.certificate.subject_name().to_owned().unwrap());
    builder.set_issuer_name(&issuer_name).unwrap();
    let now = Asn1Time::days_from_now(0).unwrap();
    let epoch = Asn1Time::from_unix(0).unwrap();
    let since = epoch.diff(&now).unwrap();
    let yesterday = (i64::from(since.days) - 1) * 86_400;
    builder.set_not_before(&Asn1Time::from_unix(yesterday).unwrap()).unwrap();
    let end = yesterday + i64::from(days) * 86_400;
    builder.set_not_after(&Asn1Time::from_unix(end).unwrap()).unwrap();
    builder.set_pubkey(&key).unwrap();
    let extension = match issuer {
        None => BasicConstraints::new().critical().ca().build().unwrap(),
        Some(issuer) => {
            let context = builder.x509v3_context(Some(&issuer.certificate), None);
            SubjectAlternativeName::new().ip("127.0.0.1").build(&context).unwrap()
        }
    };
    builder.append_extension(extension).unwrap();
    builder.sign(issuer.map_or(&key, |issuer| &issuer.key), MessageDigest::sha256()).unwrap();
    Signer { key, certificate: builder.build() }
}

fn server(identity: &Signer) -> Server {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    acceptor.set_private_key(&identity.key).unwrap();
    acceptor.set_certificate(&identity.certificate).unwrap();
    let acceptor = acceptor.build();
    Server::with_transport(vec![message(b"{}")], move |stream| {
        Some(Box::new(acceptor.accept(stream).ok()?))
    })
}

fn post(url: &str, root: Option<&Signer>) -> Result<Option<Vec<u8>>, TamError> {
    let roots = root.map(|root| vec![CertificateDer::from(root.certificate.to_der().unwrap())]);
    Tam::new(url, Settings { roots, ..Settings::default() }).unwrap().post(None)
}

#[test]
fn only_the_tam_that_the_given_certificates_vouch_for_is_talked_to() {
    let root = certificate("root", None, 30);
    let other = certificate("root", None, 30);
    let good = server(&certificate("tam", Some(&root), 30));
    let expired = server(&certificate("tam", Some(&root), 1));
    let url = |server: &Server, host: &str| format!("https://{host}:{}/", server.address.port());

    assert_eq!(post(&url(&good, "127.0.0.1"), Some(&root)).unwrap().unwrap(), b"{}");
    for (row, server, host, root) in [
        ("another root", &good, "127.0.0.1", Some(&other)),
        ("the public roots", &good, "127.0.0.1", None),
        ("another name", &good, "localhost", Some(&root)),
        ("expired", &expired, "127.0.0.1", Some(&root)),
    ] {
        let error = post(&url(server, host), root).expect_err(row);
        assert!(matches!(error, TamError::Tls { .. }), "{row}: {error:?}");
        assert_eq!(server.received().len(), usize::from(std::ptr::eq(server, &good)), "{row}");
    }
}

#[test]
fn a_server_without_tls_is_no_https_server() {
    let plain = Server::with_transport(vec![], |mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        None
    });
    let error = post(&format!("https://{}/", plain.address), None).expect_err("no TLS");
    assert!(matches!(error, TamError::Tls { .. }), "{error:?}");
}
