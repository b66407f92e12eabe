//! GetTAInformation: what client applications may ask about a trusted application.

use otrp_wire::dsi::{Array, Base64};
use otrp_wire::limits::CHAIN_BYTES_LIMIT;
use otrp_wire::request::TaQuery;
use otrp_wire::response::Writer;
use serde::Serialize;

use crate::error::Error;
use crate::platform::{Platform, Ports};
use crate::registry::{Sd, State, Ta, Tam, load_chain};
use crate::reply;
use crate::sp_certificates::SpCertificates;

/// Why there is no information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// The query is malformed.
    Malformed,
    /// There is no such trusted application.
    NotFound,
    /// There are several, and the query does not tell which is meant.
    Ambiguous,
    /// The buffer is shorter than [`otrp_wire::limits::REPLY_LIMIT`].
    ShortBuffer,
    /// The engine or a port failed.
    Failed(Error),
}

impl From<Error> for QueryError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// `TAInformationTBS` (OTrP draft, section 6.4.2).
#[derive(Serialize)]
struct Information<'a, S, T> {
    taid: &'a str,
    tamid: &'a str,
    spid: &'a str,
    signercert: Base64<'a>,
    signercacerts: S,
    tamcert: Base64<'a>,
    tamcacerts: T,
}

#[derive(Serialize)]
struct Document<T> {
    #[serde(rename = "TAInformationTBS")]
    information: T,
}

/// Writes what a query, which is scratch, asks for, signed by the service provider's attestation key.
///
/// # Errors
/// [`QueryError`].
pub fn answer<'o, P: Platform>(
    ports: &mut Ports<P>,
    state: &State,
    query: &mut [u8],
    out: &'o mut [u8],
) -> Result<&'o [u8], QueryError> {
    let asked = TaQuery::read(query).map_err(|_| QueryError::Malformed)?;
    let (sp, ta) = (asked.sp_id.text(query), asked.ta_id.text(query));
    let mut found = state.tas().iter().filter(|known| known.id.as_str() == ta).filter_map(|ta| {
        let sd = state.sd(ta.sd)?;
        let tam = state.tam_numbered(sd.tam)?;
        let is_asked_for = sd.sp.as_str() == sp
            && asked.tam_id.as_ref().is_none_or(|id| *id == tam.id)
            && asked.sd_name.as_ref().is_none_or(|name| *name == sd.name);
        is_asked_for.then_some((ta, sd, tam))
    });
    let (ta, sd, tam) = match (found.next(), found.next()) {
        (Some(only), None) => only,
        (None, _) => return Err(QueryError::NotFound),
        (Some(_), Some(_)) => return Err(QueryError::Ambiguous),
    };
    let aik = state.aik(sd.tam, &sd.sp).ok_or(Error::Internal)?;

    let length = write(ports, (ta, sd, tam), out)?;

    // A JWK of 2048 bits and what stands around it.
    let mut header_room = [0; 448];
    let mut header = Writer::new(&mut header_room);
    header.text(r#""header":{"signer":"#).map_err(Error::from)?;
    reply::jwk(&mut header, &aik.key.public)?;
    header.text("},").map_err(Error::from)?;
    let header = core::str::from_utf8(header.finish()).map_err(|_| Error::Internal)?;
    let writer = Writer::resume(out, length).ok_or(Error::Internal)?;
    Ok(reply::sign(ports, &aik.key, "TAInformation", header, writer)?)
}

/// Writes the payload to the start of the buffer; returns its length.
fn write<P: Platform>(
    ports: &mut Ports<P>,
    (ta, sd, tam): (&Ta, &Sd, &Tam),
    out: &mut [u8],
) -> Result<usize, QueryError> {
    // The certificates are kept at the end of the buffer while the text is written at its start.
    let half = out.len() / 2;
    let (front, back) = out.split_at_mut(half);
    let (room, back) = back.split_at_mut_checked(CHAIN_BYTES_LIMIT).ok_or(Error::Internal)?;
    // If the TAM's certificates are lost, the rest is reported without them until the TAM asks for the
    // state again.
    let chain = load_chain(&mut ports.store, tam.number, room)?.unwrap_or_default();
    let (tam_certificate, authorities) = match chain.split_first() {
        Some((leaf, authorities)) => (*leaf, authorities),
        None => (&[][..], &[][..]),
    };
    let certificates = SpCertificates::load(&mut ports.store, sd.number, back)?;
    let signer = certificates.signer(&ta.signer).ok_or(Error::Internal)?;
    let document = Document {
        information: Information {
            taid: ta.id.as_str(),
            tamid: tam.id.as_str(),
            spid: sd.sp.as_str(),
            signercert: Base64(signer),
            // The service provider's certificate need not chain anywhere (section 14.6).
            signercacerts: Array(core::iter::empty::<Base64<'_>>),
            tamcert: Base64(tam_certificate),
            tamcacerts: Array(|| authorities.iter().map(|der| Base64(der))),
        },
    };
    let mut writer = Writer::new(front);
    writer.json(&document).map_err(Error::from)?;
    Ok(writer.len())
}
