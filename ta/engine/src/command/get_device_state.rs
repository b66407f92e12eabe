//! GetDeviceState (OTrP draft, section 9.1).

use otrp_wire::copy::copy;
use otrp_wire::limits::CHAIN_BYTES_LIMIT;

use super::context::{Context, Given};
use crate::error::Error;
use crate::platform::{Platform, PortError, Store};
use crate::revocation::StapledTam;

/// Remembers a TAM, its certificates, their standing and the state that it is given. `clock` shows
/// seconds since 1970.
pub fn run<P: Platform>(
    context: &mut Context<'_, P>,
    stapled: &StapledTam<'_>,
    clock: u64,
) -> Result<Given, Error> {
    let Context { ports, registry, workspace, .. } = context;
    let tam = stapled.tam();
    let chains = workspace.chains();
    // The chain is kept in the working space until it is stored.
    let mut length: usize = 0;
    for certificate in tam.path().certificates() {
        let der = certificate.der();
        let end = length.saturating_add(der.len());
        if end > CHAIN_BYTES_LIMIT {
            return Err(PortError::Full.into());
        }
        let place = chains.get_mut(length..end).ok_or(Error::Internal)?;
        copy(place, der).ok_or(Error::Internal)?;
        length = end;
    }
    let (chain, stored_chain) = chains.split_at_mut_checked(length).ok_or(Error::Internal)?;
    // One that is lost, damaged or cannot be read is written anew, so that the answer can say that the
    // certificates are there. So is one with another form of a signature: a `kid` names the form
    // that the TAM has, and the normal world may have shown another one before.
    let has_new_chain = match registry.state().tam(tam.identity()) {
        Some(known) if known.chain_digest == tam.path().digest() => {
            ports.store.read(known.number.chain(), stored_chain) != Ok(Some(&*chain))
        }
        _ => true,
    };
    let known = registry.change().meet(stapled, has_new_chain, clock)?;
    if has_new_chain {
        registry.stage(&mut ports.store).put(known.number().chain(), chain)?;
    }
    let given = context.give_state(known)?;
    context.registry.commit(context.ports, context.workspace.record())?;
    Ok(given)
}
