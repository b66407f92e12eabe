//! Compares the desired state with that of a device. A pure function.

use crate::desired::{DesiredDomain, DesiredState, DesiredTa};
use crate::dsi::{Dsi, SecurityDomain};
use crate::memory::Memory;
use crate::step::{DomainName, Step};

/// The steps to take, in order, and what is impossible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps. After each one the plan is made again, from the new state.
    pub steps: Vec<Step>,
    /// What is desired but impossible, one sentence each.
    pub conflicts: Vec<String>,
}

/// Compares the desired state with that of a device.
///
/// Deletions come first: they free names, UUIDs and space. `memory` is what this TAM knows about the
/// device beyond its state, which contains neither versions nor signers; what the TAM does not know is
/// sent again.
#[must_use]
pub fn plan(desired: &DesiredState, dsi: &Dsi, memory: &Memory) -> Plan {
    let present = &dsi.tee.sdlist.sd;
    let mut plan = Plan::default();
    for domain in present {
        plan_deletions(&mut plan, desired.domain(&domain.spid, &domain.name), domain, memory);
    }
    for wanted in &desired.domains {
        let found = present.iter().find(|sd| sd.spid == wanted.spid && sd.name == wanted.name);
        plan_domain(&mut plan, wanted, found, memory);
    }
    plan
}

fn plan_deletions(
    plan: &mut Plan,
    wanted: Option<&DesiredDomain>,
    found: &SecurityDomain,
    memory: &Memory,
) {
    let domain = DomainName { spid: found.spid.clone(), name: found.name.clone() };
    for installed in &found.talist {
        let wanted = wanted.and_then(|wanted| wanted.application(&installed.taid));
        // An update can replace personalization data but not remove it.
        let must_lose_data = memory.may_have_data(&domain.spid, &domain.name, &installed.taid)
            && wanted.is_some_and(|it| it.personalization.is_none());
        if wanted.is_none() || must_lose_data {
            let taid = installed.taid.clone();
            plan.steps.push(Step::DeleteTa { domain: domain.clone(), taid });
        }
    }
    if wanted.is_none() {
        plan.steps.push(Step::DeleteSd { domain });
    }
}

fn plan_domain(
    plan: &mut Plan,
    wanted: &DesiredDomain,
    found: Option<&SecurityDomain>,
    memory: &Memory,
) {
    let domain = DomainName { spid: wanted.spid.clone(), name: wanted.name.clone() };
    let digests = || wanted.certificates.iter().map(|certificate| certificate.digest.clone());
    let known = match found {
        None => {
            let certificate = digests().next().unwrap_or_default();
            plan.steps
                .push(Step::CreateSd { domain: domain.clone(), certificate: certificate.clone() });
            vec![certificate]
        }
        Some(_) => {
            let known = memory.domain(&domain.spid, &domain.name);
            let (certificates, doubtful) = known
                .map(|known| (known.certificates.clone(), known.doubtful.clone()))
                .unwrap_or_default();
            // To remove a signer that the domain does not have is refused as invalid, and so is an
            // invalid new one. Each doubtful signer is removed alone, so that the refusal is
            // unambiguous; and first, because the number of signers is limited.
            for digest in doubtful.into_iter().filter(|it| wanted.certificate(it).is_none()) {
                let (add, remove) = (Vec::new(), vec![digest]);
                plan.steps.push(Step::UpdateSd { domain: domain.clone(), add, remove });
            }
            certificates
        }
    };
    let add: Vec<String> = digests().filter(|digest| !known.contains(digest)).collect();
    let remove: Vec<String> =
        known.into_iter().filter(|digest| wanted.certificate(digest).is_none()).collect();
    if !add.is_empty() || !remove.is_empty() {
        plan.steps.push(Step::UpdateSd { domain: domain.clone(), add, remove });
    }
    for application in &wanted.applications {
        let installed = found.is_some_and(|found| {
            found.talist.iter().any(|installed| installed.taid == application.id)
        });
        if installed {
            plan_update(plan, &domain, application, memory);
        } else {
            plan.steps.push(Step::InstallTa {
                domain: domain.clone(),
                taid: application.id.clone(),
                image: application.image.digest.clone(),
                personalization: application.personalization.as_ref().map(|it| it.digest.clone()),
            });
        }
    }
}

fn plan_update(plan: &mut Plan, domain: &DomainName, wanted: &DesiredTa, memory: &Memory) {
    let wanted_data = wanted.personalization.as_ref().map(|data| data.digest.clone());
    let (image, personalization) = match memory.application(&domain.spid, &domain.name, &wanted.id)
    {
        None => (Some(wanted.image.digest.clone()), wanted_data),
        Some(known) => {
            if known.version > wanted.version {
                plan.conflicts.push(format!(
                    "{domain}/{}: version {} is installed, {} is desired, and versions may \
                         not fall",
                    wanted.id, known.version, wanted.version
                ));
                return;
            }
            let is_there = known.image == wanted.image.digest && !known.doubtful_image;
            let image = (!is_there).then(|| wanted.image.digest.clone());
            // A device drops the data if the image is signed by another key than before. Which key that
            // was is unknown, so the data is sent with each image.
            let sent =
                image.is_some() || memory.doubts_data(&domain.spid, &domain.name, &wanted.id);
            let changed = |data: &String| sent || Some(data) != known.personalization.as_ref();
            (image, wanted_data.filter(changed))
        }
    };
    if image.is_some() || personalization.is_some() {
        plan.steps.push(Step::UpdateTa {
            domain: domain.clone(),
            taid: wanted.id.clone(),
            image,
            personalization,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Blob;
    use crate::dsi::{InstalledTa, SdList, Tee};
    use crate::memory::{KnownDomain, KnownTa};

    /// `spid/name: ta ta; ...`
    fn dsi(text: &str) -> Dsi {
        let sd: Vec<SecurityDomain> = split(text, ';')
            .map(|domain| {
                let (names, applications) = domain.split_once(':').unwrap();
                let (spid, name) = names.split_once('/').unwrap();
                SecurityDomain {
                    name: name.into(),
                    spid: spid.into(),
                    talist: split(applications, ' ')
                        .map(|taid| InstalledTa { taid: taid.into(), taname: None })
                        .collect(),
                }
            })
            .collect();
        Dsi {
            tfwdata: None,
            tee: Tee {
                name: "optee".into(),
                ver: "1".into(),
                cert: String::new(),
                cacert: vec![],
                generation: None,
                sdlist: SdList { cnt: sd.len().to_string(), sd },
                teeaiklist: vec![],
            },
        }
    }

    fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
        text.split(separator).map(str::trim).filter(|part| !part.is_empty())
    }

    fn blob(text: &str) -> Blob {
        Blob { bytes: vec![], digest: text.into() }
    }

    /// `spid/name cert cert: ta=version ta=version+data; ...`; the image of version 2 is `i2`.
    fn desired(text: &str) -> DesiredState {
        let domains = split(text, ';').map(|domain| {
            let (head, applications) = domain.split_once(':').unwrap();
            let mut head = head.split(' ');
            let (spid, name) = head.next().unwrap().split_once('/').unwrap();
            DesiredDomain {
                spid: spid.into(),
                name: name.into(),
                certificates: head.map(blob).collect(),
                applications: split(applications, ' ')
                    .map(|application| {
                        let (id, version) = application.split_once('=').unwrap();
                        let (version, data) = version
                            .split_once('+')
                            .map_or((version, None), |(version, data)| (version, Some(blob(data))));
                        DesiredTa {
                            file: "ta".into(),
                            id: id.into(),
                            image: blob(&format!("i{version}")),
                            version: version.parse().unwrap(),
                            personalization: data,
                        }
                    })
                    .collect(),
            }
        });
        DesiredState { domains: domains.collect() }
    }

    /// What the TAM remembers after having brought a device to a desired state; a signer with a
    /// question mark is doubtful.
    fn memory(text: &str) -> Memory {
        let mut memory = Memory::default();
        for domain in desired(text).domains {
            let digests = domain.certificates.iter().map(|it| it.digest.as_str());
            memory.domains.push(KnownDomain {
                spid: domain.spid.clone(),
                name: domain.name.clone(),
                certificates: digests
                    .clone()
                    .filter(|it| !it.starts_with('?'))
                    .map(String::from)
                    .collect(),
                doubtful: digests.filter_map(|it| it.strip_prefix('?')).map(String::from).collect(),
            });
            for application in domain.applications {
                memory.applications.push(KnownTa {
                    spid: domain.spid.clone(),
                    domain: domain.name.clone(),
                    taid: application.id,
                    version: application.version,
                    image: application.image.digest,
                    personalization: application.personalization.map(|it| it.digest),
                    doubtful_image: false,
                });
            }
        }
        memory
    }

    /// A plan as text, the way the log shows it, with the contents behind.
    fn text(plan: &Plan) -> String {
        let steps = plan.steps.iter().map(|step| {
            let contents = match step {
                Step::DeleteTa { .. } | Step::DeleteSd { .. } => String::new(),
                Step::CreateSd { certificate, .. } => format!(" {certificate}"),
                Step::UpdateSd { add, remove, .. } => {
                    format!(" +{} -{}", add.join(","), remove.join(","))
                }
                Step::InstallTa { image, personalization, .. } => {
                    format!(" {image} {}", personalization.as_deref().unwrap_or("none"))
                }
                Step::UpdateTa { image, personalization, .. } => format!(
                    " {} {}",
                    image.as_deref().unwrap_or("same"),
                    personalization.as_deref().unwrap_or("same")
                ),
            };
            format!("{step}{contents}")
        });
        steps.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn an_unanswered_update_is_sent_again_or_reverted() {
        let domain = DomainName { spid: "sp".into(), name: "a".into() };
        for (image, data, expected) in [
            (Some("i2"), None, "UpdateTA sp/a/x i1 d1"),
            (None, Some("d2"), "UpdateTA sp/a/x same d1"),
            (Some("i2"), Some("d2"), "UpdateTA sp/a/x i1 d1"),
        ] {
            let update = Step::UpdateTa {
                domain: domain.clone(),
                taid: "x".into(),
                image: image.map(String::from),
                personalization: data.map(String::from),
            };
            assert!(update.leaves_doubt());
            let mut memory = memory("sp/a c1: x=1+d1");
            let desired = desired("sp/a c1: x=1+d1");
            memory.announce(&update);
            assert_eq!(text(&plan(&desired, &dsi("sp/a: x"), &memory)), expected);
            let again = Step::UpdateTa {
                domain: domain.clone(),
                taid: "x".into(),
                image: Some("i1".into()),
                personalization: Some("d1".into()),
            };
            memory.announce(&again);
            memory.record(&again, Some(1));
            assert_eq!(text(&plan(&desired, &dsi("sp/a: x"), &memory)), "");
        }
    }

    #[test]
    fn each_difference_has_its_steps() {
        // desired, on the device, remembered, steps
        let rows = [
            ("", "", "", ""),
            ("sp/a c1:", "", "", "CreateSD sp/a c1"),
            ("sp/a c1 c2:", "", "", "CreateSD sp/a c1; UpdateSD sp/a +c2 -"),
            ("sp/a c1: x=1", "", "", "CreateSD sp/a c1; InstallTA sp/a/x i1 none"),
            ("sp/a c1: x=1+d", "sp/a:", "sp/a c1:", "InstallTA sp/a/x i1 d"),
            ("sp/a c1: x=1", "sp/a: x", "sp/a c1: x=1", ""),
            // A higher version, and another image of the same.
            ("sp/a c1: x=2", "sp/a: x", "sp/a c1: x=1", "UpdateTA sp/a/x i2 same"),
            ("sp/a c1: x=1+d2", "sp/a: x", "sp/a c1: x=1+d1", "UpdateTA sp/a/x same d2"),
            ("sp/a c1: x=2+d2", "sp/a: x", "sp/a c1: x=1+d1", "UpdateTA sp/a/x i2 d2"),
            // Another signer's image would lose them.
            ("sp/a c1: x=2+d", "sp/a: x", "sp/a c1: x=1+d", "UpdateTA sp/a/x i2 d"),
            ("sp/a c1: x=1+d", "sp/a: x", "sp/a c1: x=1", "UpdateTA sp/a/x same d"),
            // Data that are no longer wanted go with the application, which comes back.
            ("sp/a c1: x=1", "sp/a: x", "sp/a c1: x=1+d", "DeleteTA sp/a/x"),
            ("sp/a c1: x=1", "sp/a:", "sp/a c1:", "InstallTA sp/a/x i1 none"),
            // Signers.
            ("sp/a c2:", "sp/a:", "sp/a c1:", "UpdateSD sp/a +c2 -c1"),
            ("sp/a c1 c2:", "sp/a:", "sp/a c1:", "UpdateSD sp/a +c2 -"),
            ("sp/a c1:", "sp/a:", "sp/a c1 c2:", "UpdateSD sp/a + -c2"),
            // Those that may be there or not.
            ("sp/a c1:", "sp/a:", "sp/a c1 ?c2:", "UpdateSD sp/a + -c2"),
            ("sp/a c1 c2:", "sp/a:", "sp/a c1 ?c2:", "UpdateSD sp/a +c2 -"),
            (
                "sp/a c3:",
                "sp/a:",
                "sp/a c1 ?c2 ?c4:",
                "UpdateSD sp/a + -c2; UpdateSD sp/a + -c4; UpdateSD sp/a +c3 -c1",
            ),
            ("sp/a c1:", "", "sp/a ?c1:", "CreateSD sp/a c1"),
            // Not remembered: sent again.
            ("sp/a c1: x=1+d", "sp/a: x", "", "UpdateSD sp/a +c1 -; UpdateTA sp/a/x i1 d"),
            // Not desired: deleted, the applications before the domain.
            ("", "sp/a: x y", "", "DeleteTA sp/a/x; DeleteTA sp/a/y; DeleteSD sp/a"),
            ("sp/a c1: y=1", "sp/a: x y", "sp/a c1: x=1 y=1", "DeleteTA sp/a/x"),
            // Names are those of one SP.
            ("sp2/a c1:", "sp1/a:", "sp1/a c1:", "DeleteSD sp1/a; CreateSD sp2/a c1"),
            // An application that moves leaves first: its UUID has one owner.
            (
                "sp/b c1: x=1",
                "sp/a: x; sp/b:",
                "sp/a c1: x=1; sp/b c1:",
                "DeleteTA sp/a/x; DeleteSD sp/a; InstallTA sp/b/x i1 none",
            ),
        ];
        for (wanted, found, known, steps) in rows {
            let plan = plan(&desired(wanted), &dsi(found), &memory(known));
            assert_eq!(text(&plan), steps, "{wanted:?} on {found:?} knowing {known:?}");
            assert!(plan.conflicts.is_empty(), "{:?}", plan.conflicts);
        }
    }

    #[test]
    fn a_lower_version_is_a_conflict_and_no_step() {
        let plan = plan(&desired("sp/a c1: x=1 y=1"), &dsi("sp/a: x"), &memory("sp/a c1: x=2"));
        assert_eq!(text(&plan), "InstallTA sp/a/y i1 none");
        assert_eq!(plan.conflicts.len(), 1);
        assert!(plan.conflicts[0].contains("version 2 is installed, 1 is desired"));
    }
}
