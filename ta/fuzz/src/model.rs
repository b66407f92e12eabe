//! What a device holds, and what each command does to it: the rules without the cryptography.

use std::collections::{BTreeMap, BTreeSet};

/// A TAM, a service provider, a domain's name, an application's name and a UUID, by number.
pub(crate) type Tam = u8;
pub(crate) type Provider = u8;
pub(crate) type Domain = u8;
pub(crate) type Application = u8;
pub(crate) type Uuid = u8;

/// The UUID and the version of each application in a domain.
pub(crate) type Applications = BTreeMap<Application, (Uuid, u32)>;

/// A command, without its cryptography.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    CreateSd(Provider, Domain),
    /// Gives the domain another provider and name, and perhaps that provider a new key.
    UpdateSd(Provider, Domain, Provider, Domain, bool),
    /// By its name alone, perhaps with what is in it.
    DeleteSd(Domain, bool),
    InstallTa(Provider, Domain, Application, Uuid, u32),
    UpdateTa(Provider, Domain, Application, Uuid, u32),
    DeleteTa(Domain, Application),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    /// Each domain and the applications in it.
    pub(crate) domains: BTreeMap<(Tam, Provider, Domain), Applications>,
    /// Whose a deleted application's UUID is, and its highest version.
    floors: BTreeMap<Uuid, (Tam, Provider, u32)>,
}

type Refusal = &'static str;

impl Model {
    /// The state after a command of `tam`, or why it is refused.
    pub(crate) fn after(&self, tam: Tam, operation: Operation) -> Result<Self, Refusal> {
        let mut next = self.clone();
        match operation {
            Operation::CreateSd(sp, name) => {
                if next.domains.insert((tam, sp, name), BTreeMap::new()).is_some() {
                    return Err("ERR_SD_ALREADY_EXISTS");
                }
            }
            Operation::UpdateSd(sp, name, new_sp, new_name, _) => {
                let old = next.domains.remove(&(tam, sp, name)).ok_or("ERR_SD_NOT_FOUND")?;
                if sp != new_sp && !old.is_empty() {
                    return Err("ERR_SD_NOT_EMPTY");
                }
                if next.domains.insert((tam, new_sp, new_name), old).is_some() {
                    return Err("ERR_SDNAME_ALREADY_USED");
                }
            }
            Operation::DeleteSd(name, with_tas) => {
                let key = self.only(tam, name)?;
                let tas = next.domains.remove(&key).unwrap_or_default();
                if !with_tas && !tas.is_empty() {
                    return Err("ERR_SD_NOT_EMPTY");
                }
                next.floors.extend(tas.into_values().map(|(uuid, at)| (uuid, (tam, key.1, at))));
            }
            Operation::InstallTa(sp, name, id, uuid, version) => {
                let tas = next.domain(tam, sp, name)?;
                if tas.insert(id, (uuid, version)).is_some() {
                    return Err("ERR_TA_ALREADY_INSTALLED");
                }
                let floor = next.floors.remove(&uuid);
                let foreign = floor.is_some_and(|floor| (floor.0, floor.1) != (tam, sp));
                let old = floor.is_some_and(|(.., floor)| version < floor);
                if self.uuids().contains(&uuid) || foreign || old {
                    return Err("ERR_TA_INVALID");
                }
            }
            Operation::UpdateTa(sp, name, id, uuid, version) => {
                let tas = next.domain(tam, sp, name)?;
                let ta = tas.get_mut(&id).ok_or("ERR_TA_NOT_FOUND")?;
                if ta.0 != uuid || version < ta.1 {
                    return Err("ERR_TA_INVALID");
                }
                ta.1 = version;
            }
            Operation::DeleteTa(name, id) => {
                let key = self.only(tam, name)?;
                let tas = next.domain(tam, key.1, name)?;
                let (uuid, version) = tas.remove(&id).ok_or("ERR_TA_NOT_FOUND")?;
                next.floors.insert(uuid, (tam, key.1, version));
            }
        }
        Ok(next)
    }

    /// The domain of this name, if one provider only has one.
    fn only(&self, tam: Tam, name: Domain) -> Result<(Tam, Provider, Domain), Refusal> {
        let mut found = self.domains.keys().filter(|key| key.0 == tam && key.2 == name);
        match (found.next(), found.next()) {
            (Some(key), None) => Ok(*key),
            _ => Err("ERR_SD_NOT_FOUND"),
        }
    }

    /// What is in the domain of an image.
    fn domain(
        &mut self,
        tam: Tam,
        sp: Provider,
        name: Domain,
    ) -> Result<&mut Applications, Refusal> {
        let others = self.domains.keys().any(|key| key.0 == tam && key.2 == name);
        let refusal = if others { "ERR_TA_INVALID" } else { "ERR_SD_NOT_FOUND" };
        self.domains.get_mut(&(tam, sp, name)).ok_or(refusal)
    }

    fn uuids(&self) -> BTreeSet<Uuid> {
        self.versions().into_keys().collect()
    }

    /// What would load, with its version.
    pub(crate) fn versions(&self) -> BTreeMap<Uuid, u32> {
        self.domains.values().flat_map(BTreeMap::values).copied().collect()
    }

    /// The providers of a TAM: each has a key.
    pub(crate) fn providers(&self, tam: Tam) -> BTreeSet<Provider> {
        self.domains.keys().filter(|key| key.0 == tam).map(|key| key.1).collect()
    }
}
