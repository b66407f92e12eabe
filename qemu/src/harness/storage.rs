//! The files of a device's secure storage, seen from outside.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Result;

/// The files of a folder at one moment: length and time of the last change, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing(BTreeMap<String, (u64, SystemTime)>);

impl Listing {
    /// Lists `folder` and its subfolders. A file that is deleted meanwhile is left out.
    pub fn of(folder: &Path) -> Result<Self> {
        let mut listing = Self::default();
        listing.add(folder, "")?;
        Ok(listing)
    }

    fn add(&mut self, folder: &Path, above: &str) -> Result<()> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = format!("{above}{}", entry.file_name().display());
            match entry.metadata() {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
                Ok(metadata) if metadata.is_dir() => {
                    self.add(&entry.path(), &format!("{name}/"))?;
                }
                Ok(metadata) => {
                    self.0.insert(name, (metadata.len(), metadata.modified()?));
                }
            }
        }
        Ok(())
    }

    /// How many files there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// How many octets they have.
    pub fn octets(&self) -> u64 {
        self.0.values().map(|(length, _)| length).sum()
    }

    /// Their names and lengths.
    pub fn lengths(&self) -> BTreeMap<String, u64> {
        self.0.iter().map(|(name, (length, _))| (name.clone(), *length)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_files_at_any_depth() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("tee")).unwrap();
        fs::write(folder.path().join("tee/0"), b"abc").unwrap();
        fs::write(folder.path().join("dirf.db"), b"").unwrap();
        let listing = Listing::of(folder.path()).unwrap();
        assert_eq!((listing.count(), listing.octets()), (2, 3));
        let lengths: Vec<_> = listing.lengths().into_iter().collect();
        assert_eq!(lengths, [("dirf.db".to_owned(), 0), ("tee/0".to_owned(), 3)]);
        fs::write(folder.path().join("tee/0"), b"abcd").unwrap();
        assert_ne!(Listing::of(folder.path()).unwrap(), listing);
        assert_eq!(Listing::of(&folder.path().join("missing")).unwrap(), Listing::default());
    }
}
