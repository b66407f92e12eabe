//! One command that brings a device nearer to the desired state.

use std::fmt;

use crate::foreign::Foreign;

/// A security domain by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DomainName {
    /// Its service provider.
    pub spid: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for DomainName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", Foreign::new(&self.spid), Foreign::new(&self.name))
    }
}

/// One command that brings a device nearer to the desired state.
///
/// Contents are named by their SHA-256: a changed file makes another step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Deletes an application.
    DeleteTa {
        /// Where it is.
        domain: DomainName,
        /// Which.
        taid: String,
    },
    /// Deletes an empty domain.
    DeleteSd {
        /// Which.
        domain: DomainName,
    },
    /// Creates a domain.
    CreateSd {
        /// Which.
        domain: DomainName,
        /// Its first signer.
        certificate: String,
    },
    /// Changes the signers of a domain.
    UpdateSd {
        /// Which.
        domain: DomainName,
        /// Signers to add.
        add: Vec<String>,
        /// Signers to remove.
        remove: Vec<String>,
    },
    /// Installs an application.
    InstallTa {
        /// Where.
        domain: DomainName,
        /// Which.
        taid: String,
        /// The image.
        image: String,
        /// The personalization data.
        personalization: Option<String>,
    },
    /// Replaces what changed of an application.
    UpdateTa {
        /// Where it is.
        domain: DomainName,
        /// Which.
        taid: String,
        /// The new image.
        image: Option<String>,
        /// The new personalization data.
        personalization: Option<String>,
    },
}

impl Step {
    /// Whether it only removes one signer: that it is none can be the only reason to refuse it as
    /// invalid.
    #[must_use]
    pub fn is_lone_removal(&self) -> bool {
        matches!(self, Self::UpdateSd { add, remove, .. } if add.is_empty() && remove.len() == 1)
    }

    /// Whether without an answer it leaves a doubt that the device's state does not resolve.
    #[must_use]
    pub const fn leaves_doubt(&self) -> bool {
        matches!(
            self,
            Self::CreateSd { .. }
                | Self::UpdateSd { .. }
                | Self::InstallTa { personalization: Some(_), .. }
                | Self::UpdateTa { .. }
        )
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeleteTa { domain, taid } => {
                write!(formatter, "DeleteTA {domain}/{}", Foreign::new(taid))
            }
            Self::DeleteSd { domain } => write!(formatter, "DeleteSD {domain}"),
            Self::CreateSd { domain, .. } => write!(formatter, "CreateSD {domain}"),
            Self::UpdateSd { domain, .. } => write!(formatter, "UpdateSD {domain}"),
            Self::InstallTa { domain, taid, .. } => {
                write!(formatter, "InstallTA {domain}/{}", Foreign::new(taid))
            }
            Self::UpdateTa { domain, taid, .. } => {
                write!(formatter, "UpdateTA {domain}/{}", Foreign::new(taid))
            }
        }
    }
}
