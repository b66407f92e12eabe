//! Errors about a state file that is damaged or not a database, with the remedy.

use std::cell::RefCell;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use anyhow::bail;
use redb::{DatabaseError, StorageError, TableError};

/// The first bytes of a file of redb.
const MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";

thread_local! {
    /// The database that this thread is working on.
    static AT_WORK: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

/// The error message for a panic on this thread, if it happened in the database: redb trusts its file,
/// so a damaged one can cause a panic. The program prints it if panics do not unwind.
#[must_use]
pub fn on_this_thread() -> Option<String> {
    let path = AT_WORK.try_with(|path| path.try_borrow().ok()?.clone()).ok()??;
    Some(unusable(&path, "is damaged or cut short"))
}

fn unusable(path: &Path, how: &str) -> String {
    let path = path.display();
    format!(
        "the state file {path} {how}. Restore it from a copy, or move it away, without \
         {path}.desired, and start again: nothing on any device is lost with it, but the TAM then knows no device until \
         it connects, sends each its applications and signers once more, and does not take back \
         signers and personalization data that were taken out of the configuration meanwhile"
    )
}

/// Runs `work` on the database at `path`, and adds the file to every error.
///
/// # Errors
/// If `work` fails or panics.
pub(crate) fn guarded<T>(
    path: &Path,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    AT_WORK.with(|at| at.replace(Some(path.to_path_buf())));
    let worked = catch_unwind(AssertUnwindSafe(work));
    AT_WORK.with(|at| at.replace(None));
    let Ok(worked) = worked else { bail!("{}", unusable(path, "is damaged or cut short")) };
    worked.map_err(|error| match error.downcast_ref::<Unusable>() {
        Some(Unusable(how)) => anyhow::anyhow!("{}", unusable(path, how)),
        None if error.chain().any(is_damage) => {
            error.context(unusable(path, "is damaged or cut short"))
        }
        None => error.context(format!("the state file {}", path.display())),
    })
}

fn is_damage(cause: &(dyn std::error::Error + 'static)) -> bool {
    let of_storage = |error: &StorageError| match error {
        StorageError::Corrupted(_) => true,
        StorageError::Io(error) => {
            matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
        }
        _ => false,
    };
    cause.downcast_ref().is_some_and(of_storage)
        || matches!(cause.downcast_ref(), Some(DatabaseError::Storage(error)) if of_storage(error))
        || matches!(cause.downcast_ref(), Some(TableError::Storage(error)) if of_storage(error))
}

/// A file that is not a usable database: a predicate about it.
#[derive(Debug, thiserror::Error)]
#[error("it {0}")]
struct Unusable(&'static str);

/// Checks that a file begins as a database does.
///
/// # Errors
/// [`Unusable`], or if the file cannot be read.
pub(crate) fn check_beginning(file: &mut File) -> anyhow::Result<()> {
    let mut beginning = Vec::new();
    file.rewind()?;
    file.take(4096).read_to_end(&mut beginning)?;
    if beginning.starts_with(MAGIC) {
        return Ok(());
    }
    Err(Unusable(if beginning.is_empty() {
        "is empty"
    } else if beginning.iter().all(|byte| *byte == 0) {
        "holds zeros in place of a database"
    } else if MAGIC.starts_with(&beginning) {
        "is damaged or cut short"
    } else {
        "is not a database of this program"
    })
    .into())
}
