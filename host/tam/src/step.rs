//! A step towards the desired state: one command to a device.

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

/// One command that brings a device closer to the desired state.
///
/// Contents are identified by their SHA-256, so a changed file is another step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Deletes an application.
    DeleteTa {
        /// The domain that it is in.
        domain: DomainName,
        /// Its identifier.
        taid: String,
    },
    /// Deletes an empty domain.
    DeleteSd {
        /// Its name.
        domain: DomainName,
    },
    /// Creates a domain.
    CreateSd {
        /// Its name.
        domain: DomainName,
        /// Digest of its first signer's certificate.
        certificate: String,
    },
    /// Changes the signers of a domain.
    UpdateSd {
        /// Its name.
        domain: DomainName,
        /// Digests of the certificates to add.
        add: Vec<String>,
        /// Digests of the certificates to remove.
        remove: Vec<String>,
    },
    /// Installs an application.
    InstallTa {
        /// The domain to install it in.
        domain: DomainName,
        /// Its identifier.
        taid: String,
        /// Digest of the image.
        image: String,
        /// Digest of the personalization data.
        personalization: Option<String>,
    },
    /// Replaces the image of an application, its personalization data, or both.
    UpdateTa {
        /// The domain that it is in.
        domain: DomainName,
        /// Its identifier.
        taid: String,
        /// Digest of the new image.
        image: Option<String>,
        /// Digest of the new personalization data.
        personalization: Option<String>,
    },
}

impl Step {
    /// Whether it does nothing but remove one signer. If it is refused as invalid, the domain does not
    /// have that signer.
    #[must_use]
    pub fn is_lone_removal(&self) -> bool {
        matches!(self, Self::UpdateSd { add, remove, .. } if add.is_empty() && remove.len() == 1)
    }

    /// Whether it leaves a doubt that the device's state does not resolve if its answer is lost.
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
