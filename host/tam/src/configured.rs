//! The current configuration: read again when one of its files has changed.
//!
//! If the new configuration is wrong, that is logged once, and the former one stays in use: a mistyped
//! name must not turn every device away. At the start there is no former one, so the server does not
//! start.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::bail;

use crate::check;
use crate::deletions::Guard;
use crate::desired::{Configuration, sentence};
use crate::log;

/// A file changed within this many seconds could change again without a new time stamp.
const SETTLED_AFTER: u64 = 1;

/// A configuration that follows changes of its files.
pub struct Configured {
    path: PathBuf,
    seen: Mutex<Seen>,
}

struct Seen {
    good: Arc<Configuration>,
    files: Files,
    /// The mistakes that were logged last.
    mistakes: Vec<String>,
    guard: Option<Guard>,
}

/// Files, with stamps that show whether they have changed.
struct Files {
    stamps: Vec<(PathBuf, Option<Stamp>)>,
    settled: bool,
}

/// Device, inode, length, and the times of the last changes of content and inode.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

impl Configured {
    /// Reads the configuration, and checks it as [`check::configuration`] does. Logs warnings.
    ///
    /// # Errors
    /// One line for each mistake.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        Self::read_with(path, None)
    }

    /// The same as [`Self::read`], with a guard against accidental deletions.
    ///
    /// # Errors
    /// One line for each mistake.
    pub fn read_guarded(path: &Path, guard: Guard) -> anyhow::Result<Self> {
        Self::read_with(path, Some(guard))
    }

    fn read_with(path: &Path, mut guard: Option<Guard>) -> anyhow::Result<Self> {
        let (files, configuration) = Configuration::read_named(path);
        let good = Arc::new(configuration?);
        let findings = check::configuration(&good, log::now());
        findings
            .warnings
            .iter()
            .for_each(|warning| log::about_server(&format!("warning: {warning}")));
        let mut errors = findings.errors;
        if let Some(guard) = &guard {
            errors.extend(guard.objection(&good)?);
        }
        if !errors.is_empty() {
            bail!("{}", errors.join("\n"));
        }
        if let Some(guard) = &mut guard {
            guard.accept(&good)?;
        }
        let seen = Seen { good, files: Files::of(files), mistakes: Vec::new(), guard };
        Ok(Self { path: path.into(), seen: Mutex::new(seen) })
    }

    /// The configuration as it is now, or as it was before it became wrong.
    #[must_use]
    pub fn current(&self) -> Arc<Configuration> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.files.have_changed() {
            self.follow(&mut seen);
        }
        seen.good.clone()
    }

    fn follow(&self, seen: &mut Seen) {
        let (files, configuration) = Configuration::read_named(&self.path);
        // Taken before anything is checked: later changes are noticed at the next call.
        seen.files = Files::of(files);
        let mistakes = match configuration {
            Ok(configuration) => {
                // OCSP responses are checked for each device, because they depend on the time.
                let mut errors = check::chains(&configuration.tam, log::now());
                errors.extend(check::desired(&configuration).errors);
                if let Some(guard) = &seen.guard {
                    let objection = guard.objection(&configuration);
                    errors.extend(objection.unwrap_or_else(|error| Some(sentence(&error))));
                }
                if errors.is_empty() {
                    if let Some(guard) = &mut seen.guard
                        && let Err(error) = guard.accept(&configuration)
                    {
                        let why = sentence(&error);
                        log::about_server(&format!(
                            "the next start may ask to confirm deletions: {why}"
                        ));
                    }
                    seen.good = Arc::new(configuration);
                }
                errors
            }
            Err(error) => sentence(&error).lines().map(String::from).collect(),
        };
        if mistakes != seen.mistakes {
            for mistake in &mistakes {
                log::about_server(&format!("the configuration is wrong: {mistake}"));
            }
            log::about_server(match mistakes.is_empty() {
                true => "the configuration is valid again",
                false => "the former configuration stays in use",
            });
            seen.mistakes = mistakes;
        }
    }
}

impl Files {
    fn of(files: Vec<PathBuf>) -> Self {
        let now = i64::try_from(log::now()).unwrap_or(i64::MAX);
        // ctime, because mtime can be set to anything. If it is in the future, because the clock
        // was set back, the next change will have another one. A missing file has changed once it
        // exists.
        let is_settled = |path: &PathBuf| {
            path.metadata().is_ok_and(|it| now.abs_diff(it.ctime()) > SETTLED_AFTER)
                || !path.exists()
        };
        let settled = files.iter().all(is_settled);
        let stamps = files.into_iter().map(|path| (path.clone(), stamp(&path))).collect();
        Self { stamps, settled }
    }

    fn have_changed(&self) -> bool {
        !self.settled || self.stamps.iter().any(|(path, before)| stamp(path) != *before)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let it = path.metadata().ok()?;
    let (changed, renamed) = ((it.mtime(), it.mtime_nsec()), (it.ctime(), it.ctime_nsec()));
    Some((it.dev(), it.ino(), it.size(), changed, renamed))
}
