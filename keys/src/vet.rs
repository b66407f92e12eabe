//! What a device would refuse of a TAM's chain and OCSP responses, said before it does.

use std::path::{Path, PathBuf};

use otrp_check::{chain, ocsp};

use crate::certificate::now;
use crate::file::{read, read_certificates};
use crate::{Error, Result};

/// What a device whose clock is right would refuse of the chain in a file, and of the OCSP responses
/// that are stapled with it; a sentence each. Without responses only the chain is judged.
///
/// `roots` are files with the TAM roots that the device is built with. Without any the root in the
/// chain is taken for one.
///
/// # Errors
/// If a file cannot be read.
pub fn tam(chain_file: &Path, responses: &[PathBuf], roots: &[PathBuf]) -> Result<Vec<String>> {
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
        Err(faults) => return Ok(faults.iter().map(|fault| format!("{file}: {fault}")).collect()),
    };
    if responses.is_empty() {
        return Ok(Vec::new());
    }
    let read: Vec<Vec<u8>> =
        responses.iter().map(|response| read(response)).collect::<Result<_>>()?;
    let read: Vec<&[u8]> = read.iter().map(Vec::as_slice).collect();
    let faults = ocsp::check_all(&read, &path, now).err().unwrap_or_default();
    let sentences = faults.into_iter().map(|(position, sentence)| {
        let response = position.and_then(|position| responses.get(position));
        let place = response.map_or(chain_file, PathBuf::as_path).display();
        format!("{place}: {sentence}")
    });
    Ok(sentences.collect())
}

fn ders(file: &Path) -> Result<Vec<Vec<u8>>> {
    let certificates = read_certificates(file)?;
    certificates.iter().map(|it| it.to_der().map_err(Error::from)).collect()
}
