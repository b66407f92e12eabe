//! Reports what a device would refuse of a TAM's chain and OCSP responses.

use std::path::{Path, PathBuf};

use otrp_check::time::utc;
use otrp_check::{chain, ocsp};

use crate::certificate::now;
use crate::file::{read_certificates, read_ocsp_response};
use crate::{Error, Result};

/// How a device with the right time judges the chain in a file and the OCSP responses that are stapled
/// with it: a sentence if it accepts them, or one for each thing that it refuses. Without responses only
/// the chain is checked.
///
/// `roots` are files with the TAM roots that the device is built with. Without any, the root in the
/// chain is trusted.
///
/// # Errors
/// If a file cannot be read.
pub fn tam(
    chain_file: &Path,
    responses: &[PathBuf],
    roots: &[PathBuf],
) -> Result<std::result::Result<String, Vec<String>>> {
    let now = u64::try_from(now()).unwrap_or_default();
    let certificates = ders(chain_file)?;
    let mut anchors = Vec::new();
    for file in roots {
        anchors.extend(ders(file)?);
    }
    let certificates: Vec<&[u8]> = certificates.iter().map(Vec::as_slice).collect();
    let anchors: Vec<&[u8]> = anchors.iter().map(Vec::as_slice).collect();
    let file = chain_file.display();
    let path = match chain::check(&certificates, &anchors, now) {
        Ok(path) => path,
        Err(faults) => {
            return Ok(Err(faults.iter().map(|fault| format!("{file}: {fault}")).collect()));
        }
    };
    let accepted = |responses: &str| {
        let root = path.anchor.common_name();
        let end = path.first_end().map(|(_, end)| format!(" until {}", utc(end)));
        let end = end.unwrap_or_default();
        format!(
            "{file}: a device with the root {root:?} accepts the certificates of TAM {}{end}{responses}",
            path.tam_id
        )
    };
    if responses.is_empty() {
        return Ok(Ok(accepted("; OCSP responses were not given")));
    }
    let read: Vec<Vec<u8>> =
        responses.iter().map(|response| read_ocsp_response(response)).collect::<Result<_>>()?;
    let read: Vec<&[u8]> = read.iter().map(Vec::as_slice).collect();
    let faults = ocsp::check_all(&read, &path, now).err().unwrap_or_default();
    let sentences = faults.into_iter().map(|(position, sentence)| {
        let response = position.and_then(|position| responses.get(position));
        let place = response.map_or(chain_file, PathBuf::as_path).display();
        format!("{place}: {sentence}")
    });
    let sentences: Vec<String> = sentences.collect();
    Ok(if sentences.is_empty() {
        Ok(accepted(", and its OCSP responses now"))
    } else {
        Err(sentences)
    })
}

fn ders(file: &Path) -> Result<Vec<Vec<u8>>> {
    let certificates = read_certificates(file)?;
    certificates.iter().map(|it| it.to_der().map_err(Error::from)).collect()
}
