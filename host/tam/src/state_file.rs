//! The state file as a file: made for its owner alone, and held by one server.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::listing;
use crate::log;
use crate::store::{PATIENCE, check_beginning};

/// The file at `path`, for this process alone.
pub(crate) fn own(path: &Path) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let (mut file, is_new) = match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let made = options.create_new(true).mode(0o600).open(path);
            (made.context("it cannot be made")?, true)
        }
        opened => (opened.context("it cannot be opened")?, false),
    };
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if listing::is_served(path) => {
                bail!("another server uses it, and a server needs one of its own (--state)")
            }
            // Somebody who lists devices has it for a moment.
            Err(TryLockError::WouldBlock) if start.elapsed() < PATIENCE => {
                sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => bail!(
                "another process has held it for {} seconds, and a server needs one of its own \
                 (--state)",
                PATIENCE.as_secs()
            ),
            Err(TryLockError::Error(error)) => return Err(error).context("it cannot be locked"),
        }
    }
    if !is_new {
        check_beginning(&mut file)?;
        let mode = file.metadata()?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let name = path.display();
            let line = match file.set_permissions(Permissions::from_mode(0o600)) {
                Ok(()) => {
                    format!("others could open the state file {name}, mode {mode:o}: now 600")
                }
                Err(error) => format!(
                    "warning: others can open the state file {name}, mode {mode:o}, and that cannot \
                     be changed: {error}"
                ),
            };
            log::of_server(&line);
        }
    }
    Ok(file)
}
