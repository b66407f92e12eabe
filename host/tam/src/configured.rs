//! The configuration as it is now: read anew when a file of it has changed.
//!
//! A change that is wrong is said in the log, once, and what was read before stays in use: an
//! operator who mistypes a name shall not turn every device away. At the start there is nothing
//! before, so the server does not start.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::bail;

use crate::check;
use crate::deletions::Guard;
use crate::desired::{Configuration, sentence};
use crate::log;

/// A file that is no more seconds old than this could change again without its time of change changing.
const SETTLED_AFTER: u64 = 1;

/// A configuration that follows its files.
pub struct Configured {
    path: PathBuf,
    seen: Mutex<Seen>,
}

struct Seen {
    good: Arc<Configuration>,
    files: Files,
    /// What was said of the files last.
    mistakes: Vec<String>,
    guard: Option<Guard>,
}

/// Files, and what tells whether they changed.
struct Files {
    stamps: Vec<(PathBuf, Option<Stamp>)>,
    settled: bool,
}

/// Device, inode, length, and the times of the last changes of content and inode.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

impl Configured {
    /// Reads the configuration, and checks it as [`check::configuration`] does. Warnings go to the
    /// log.
    ///
    /// # Errors
    /// A line for each mistake.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        Self::read_with(path, None)
    }

    /// The same, with a guard against deletions that nobody means.
    ///
    /// # Errors
    /// A line for each mistake.
    pub fn read_guarded(path: &Path, guard: Guard) -> anyhow::Result<Self> {
        Self::read_with(path, Some(guard))
    }

    fn read_with(path: &Path, mut guard: Option<Guard>) -> anyhow::Result<Self> {
        let (files, configuration) = Configuration::read_named(path);
        let good = Arc::new(configuration?);
        let findings = check::configuration(&good, log::now());
        findings.warnings.iter().for_each(|warning| log::of_server(&format!("warning: {warning}")));
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

    /// What is configured now, or was before a mistake was made.
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
        // Before anything is judged: what changes from here on is seen the next time.
        seen.files = Files::of(files);
        let mistakes = match configuration {
            Ok(configuration) => {
                // Responses are judged at each question, by the clock.
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
                        log::of_server(&format!("the next start may ask about deletions: {why}"));
                    }
                    seen.good = Arc::new(configuration);
                }
                errors
            }
            Err(error) => sentence(&error).lines().map(String::from).collect(),
        };
        if mistakes != seen.mistakes {
            for mistake in &mistakes {
                log::of_server(&format!("the configuration is wrong: {mistake}"));
            }
            log::of_server(match mistakes.is_empty() {
                true => "the configuration is right again",
                false => "the configuration of before stays in use",
            });
            seen.mistakes = mistakes;
        }
    }
}

impl Files {
    fn of(files: Vec<PathBuf>) -> Self {
        let now = i64::try_from(log::now()).unwrap_or(i64::MAX);
        // By the time that the system sets at each change, not by the one that anybody may set. If it
        // is in the future, because the clock was set back, the next change has another one. A file
        // that is missing has changed when it is there.
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
