//! What the TAM knows about a device from the steps it took.
//!
//! No input or output here: the database is [`crate::store`].

use serde::{Deserialize, Serialize};

use crate::dsi::Dsi;
use crate::step::{DomainName, Step};

/// What the TAM knows about a device beyond the device's own state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Signers of domains.
    pub domains: Vec<KnownDomain>,
    /// Installed applications.
    pub applications: Vec<KnownTa>,
    /// Applications that may or may not have personalization data: the device has not answered the
    /// request that carries it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubtful_data: Vec<TaName>,
}

/// The name of an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaName {
    /// The service provider.
    pub spid: String,
    /// The name of the security domain.
    pub domain: String,
    /// The application.
    pub taid: String,
}

impl TaName {
    fn new(domain: &DomainName, taid: &str) -> Self {
        Self { spid: domain.spid.clone(), domain: domain.name.clone(), taid: taid.into() }
    }
}

/// A security domain with the signers that this TAM added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownDomain {
    /// The service provider.
    pub spid: String,
    /// The name.
    pub name: String,
    /// SHA-256 of the signers' certificates, in hexadecimal.
    pub certificates: Vec<String>,
    /// The same for signers that the domain may or may not have: the device has not answered the
    /// request that adds or removes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubtful: Vec<String>,
}

impl KnownDomain {
    fn doubt(&mut self, digests: &[String]) {
        self.forget(|digest| digests.contains(digest));
        self.doubtful.extend_from_slice(digests);
    }

    fn trust(&mut self, digests: &[String]) {
        self.forget(|digest| digests.contains(digest));
        self.certificates.extend_from_slice(digests);
    }

    fn forget(&mut self, is_meant: impl Fn(&String) -> bool) {
        self.certificates.retain(|digest| !is_meant(digest));
        self.doubtful.retain(|digest| !is_meant(digest));
    }
}

/// An application that this TAM installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownTa {
    /// The service provider.
    pub spid: String,
    /// The name of the security domain.
    pub domain: String,
    /// The application.
    pub taid: String,
    /// The version.
    pub version: u32,
    /// SHA-256 of the signed image, in hexadecimal.
    pub image: String,
    /// SHA-256 of the personalization data, in hexadecimal.
    pub personalization: Option<String>,
    /// Whether another image may be installed: the device has not answered the request that carries it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub doubtful_image: bool,
}

impl Memory {
    /// The domain of this name, if this TAM created it or changed its signers.
    #[must_use]
    pub fn domain(&self, spid: &str, name: &str) -> Option<&KnownDomain> {
        self.domains.iter().find(|domain| domain.spid == spid && domain.name == name)
    }

    fn change_domain(&mut self, name: &DomainName, change: impl FnOnce(&mut KnownDomain)) {
        let is_it = |domain: &KnownDomain| domain.spid == name.spid && domain.name == name.name;
        let place = self.domains.iter().position(is_it);
        let mut domain = place.map_or_else(
            || KnownDomain {
                spid: name.spid.clone(),
                name: name.name.clone(),
                certificates: Vec::new(),
                doubtful: Vec::new(),
            },
            |place| self.domains.remove(place),
        );
        change(&mut domain);
        self.domains.push(domain);
    }

    /// The application of this name, if this TAM installed it.
    #[must_use]
    pub fn application(&self, spid: &str, domain: &str, taid: &str) -> Option<&KnownTa> {
        self.applications
            .iter()
            .find(|it| it.spid == spid && it.domain == domain && it.taid == taid)
    }

    /// Whether an application has personalization data, or may have.
    #[must_use]
    pub fn may_have_data(&self, spid: &str, domain: &str, taid: &str) -> bool {
        self.application(spid, domain, taid).is_some_and(|it| it.personalization.is_some())
            || self.doubts_data(spid, domain, taid)
    }

    /// Whether an application may have other personalization data than the known one.
    #[must_use]
    pub fn doubts_data(&self, spid: &str, domain: &str, taid: &str) -> bool {
        self.doubtful_data
            .iter()
            .any(|it| it.spid == spid && it.domain == domain && it.taid == taid)
    }

    fn change_application(
        &mut self,
        domain: &DomainName,
        taid: &str,
        change: impl FnOnce(&mut KnownTa),
    ) {
        let mut applications = self.applications.iter_mut();
        let found = applications
            .find(|it| it.spid == domain.spid && it.domain == domain.name && it.taid == taid);
        if let Some(found) = found {
            change(found);
        }
    }

    /// Notes that a step is about to be requested. Until it is answered, the signers that it adds or
    /// removes are doubtful, and so are the image and the data that it carries.
    pub fn announce(&mut self, step: &Step) {
        if let Step::UpdateTa { domain, taid, image: Some(_), .. } = step {
            self.change_application(domain, taid, |it| it.doubtful_image = true);
        }
        match step {
            Step::CreateSd { domain, certificate } => {
                self.change_domain(domain, |domain| {
                    domain.doubt(std::slice::from_ref(certificate))
                });
            }
            Step::UpdateSd { domain, add, remove } => {
                self.change_domain(domain, |domain| {
                    domain.doubt(add);
                    domain.doubt(remove);
                });
            }
            Step::InstallTa { domain, taid, personalization: Some(_), .. }
            | Step::UpdateTa { domain, taid, personalization: Some(_), .. } => {
                let application = TaName::new(domain, taid);
                if !self.doubtful_data.contains(&application) {
                    self.doubtful_data.push(application);
                }
            }
            _ => {}
        }
    }

    /// Notes that a step was refused and changed nothing: signers that it would have removed are still
    /// there. This does not hold for a signer that was to be removed alone, because that is requested
    /// when it is doubtful whether the domain has it. Images and data stay doubtful, because they may
    /// have been so before; they are sent once more.
    pub fn withdraw(&mut self, step: &Step) {
        if let Step::UpdateSd { domain, remove, .. } = step
            && !step.is_lone_removal()
        {
            self.change_domain(domain, |domain| domain.trust(remove));
        }
    }

    /// Notes that a step succeeded. `version` is that of the image that it carried.
    pub fn record(&mut self, step: &Step, version: Option<u32>) {
        match step {
            Step::DeleteTa { domain, taid } => {
                self.forget_application(domain, taid);
                self.settle_data(domain, taid);
            }
            Step::DeleteSd { domain } => {
                self.domains.retain(|it| it.spid != domain.spid || it.name != domain.name);
                self.applications.retain(|it| it.spid != domain.spid || it.domain != domain.name);
                self.doubtful_data.retain(|it| it.spid != domain.spid || it.domain != domain.name);
            }
            Step::CreateSd { domain, certificate } => {
                self.change_domain(domain, |domain| {
                    domain.forget(|_| true);
                    domain.trust(std::slice::from_ref(certificate));
                });
            }
            Step::UpdateSd { domain, add, remove } => {
                self.change_domain(domain, |domain| {
                    domain.forget(|digest| remove.contains(digest));
                    domain.trust(add);
                });
            }
            Step::InstallTa { domain, taid, image, personalization } => {
                self.settle_data(domain, taid);
                self.replace_application(
                    domain,
                    taid,
                    Some(image),
                    personalization.as_ref(),
                    version,
                );
            }
            Step::UpdateTa { domain, taid, image, personalization } => {
                if personalization.is_some() {
                    self.settle_data(domain, taid);
                }
                self.replace_application(
                    domain,
                    taid,
                    image.as_ref(),
                    personalization.as_ref(),
                    version,
                );
            }
        }
    }

    fn forget_application(&mut self, domain: &DomainName, taid: &str) {
        self.applications
            .retain(|it| it.spid != domain.spid || it.domain != domain.name || it.taid != taid);
    }

    fn settle_data(&mut self, domain: &DomainName, taid: &str) {
        let application = TaName::new(domain, taid);
        self.doubtful_data.retain(|it| *it != application);
    }

    /// What an update does not carry stays as known, or as unknown, as it was.
    fn replace_application(
        &mut self,
        domain: &DomainName,
        taid: &str,
        image: Option<&String>,
        personalization: Option<&String>,
        version: Option<u32>,
    ) {
        let before = self.application(&domain.spid, &domain.name, taid).cloned();
        self.forget_application(domain, taid);
        let doubtful_image = image.is_none() && before.as_ref().is_some_and(|it| it.doubtful_image);
        let image = image.cloned().or_else(|| before.as_ref().map(|it| it.image.clone()));
        let version = version.or_else(|| before.as_ref().map(|it| it.version));
        let (Some(image), Some(version)) = (image, version) else { return };
        self.applications.push(KnownTa {
            spid: domain.spid.clone(),
            domain: domain.name.clone(),
            taid: String::from(taid),
            version,
            image,
            personalization: personalization
                .cloned()
                .or_else(|| before.and_then(|it| it.personalization)),
            doubtful_image,
        });
    }

    /// Forgets what the device no longer has.
    pub fn keep_only(&mut self, dsi: &Dsi) {
        let find = |spid: &str, name: &str| {
            dsi.tee.sdlist.sd.iter().find(|sd| sd.spid == spid && sd.name == name)
        };
        self.domains.retain(|it| find(&it.spid, &it.name).is_some());
        let is_there = |spid: &str, domain: &str, taid: &str| {
            find(spid, domain)
                .is_some_and(|sd| sd.talist.iter().any(|installed| installed.taid == taid))
        };
        self.applications.retain(|it| is_there(&it.spid, &it.domain, &it.taid));
        self.doubtful_data.retain(|it| is_there(&it.spid, &it.domain, &it.taid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signers_are_doubtful_until_there_is_an_answer() {
        let domain = DomainName { spid: "sp".into(), name: "a".into() };
        let mut memory = Memory::default();
        let check = |memory: &Memory, certificates: &[&str], doubtful: &[&str]| {
            let domain = memory.domain("sp", "a").unwrap();
            assert_eq!(domain.certificates, certificates);
            assert_eq!(domain.doubtful, doubtful);
        };
        let create = Step::CreateSd { domain: domain.clone(), certificate: "c1".into() };
        memory.announce(&create);
        check(&memory, &[], &["c1"]);
        memory.record(&create, None);
        check(&memory, &["c1"], &[]);

        let update = |add: &[&str], remove: &[&str]| Step::UpdateSd {
            domain: domain.clone(),
            add: add.iter().copied().map(String::from).collect(),
            remove: remove.iter().copied().map(String::from).collect(),
        };
        let replace = update(&["c2"], &["c1"]);
        memory.announce(&replace);
        check(&memory, &[], &["c2", "c1"]);
        memory.withdraw(&replace);
        check(&memory, &["c1"], &["c2"]);
        memory.announce(&replace);
        memory.record(&replace, None);
        check(&memory, &["c2"], &[]);

        // It is unknown whether the domain has it, and a refusal for another reason does not tell.
        let remove = update(&[], &["c2"]);
        memory.announce(&remove);
        memory.withdraw(&remove);
        check(&memory, &[], &["c2"]);
        memory.record(&remove, None);
        check(&memory, &[], &[]);
    }

    #[test]
    fn memory_follows_the_steps() {
        let domain = DomainName { spid: "sp".into(), name: "a".into() };
        let mut memory = Memory::default();
        memory.record(&Step::CreateSd { domain: domain.clone(), certificate: "c1".into() }, None);
        let update = Step::UpdateSd {
            domain: domain.clone(),
            add: vec!["c2".into()],
            remove: vec!["c1".into()],
        };
        memory.record(&update, None);
        assert_eq!(memory.domain("sp", "a").unwrap().certificates, ["c2"]);
        let install = Step::InstallTa {
            domain: domain.clone(),
            taid: "x".into(),
            image: "i1".into(),
            personalization: Some("d1".into()),
        };
        memory.record(&install, Some(1));
        let update = Step::UpdateTa {
            domain: domain.clone(),
            taid: "x".into(),
            image: Some("i2".into()),
            personalization: None,
        };
        memory.record(&update, Some(2));
        let known = memory.application("sp", "a", "x").unwrap();
        assert_eq!((known.version, known.image.as_str()), (2, "i2"));
        assert_eq!(known.personalization.as_deref(), Some("d1"));
        // Data alone, for an unknown application: the image stays unknown.
        let update = Step::UpdateTa {
            domain: domain.clone(),
            taid: "y".into(),
            image: None,
            personalization: Some("d".into()),
        };
        memory.record(&update, None);
        assert!(memory.application("sp", "a", "y").is_none());
        memory.record(&Step::DeleteTa { domain: domain.clone(), taid: "x".into() }, None);
        assert!(memory.applications.is_empty());
        memory.record(&Step::DeleteSd { domain }, None);
        assert_eq!(memory, Memory::default());
    }
}
