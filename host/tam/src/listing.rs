//! The device list of a running server, through a socket beside its state file.
//!
//! The server has the file locked, so a tool cannot read it. It connects to the socket instead,
//! which is accessible to the server's user and root, and reads all records as JSON.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::UnixListener;
use tokio::time::sleep;

use crate::log;
use crate::record::DeviceRecord;

/// How long a tool may take to read, and how long it waits for the server.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause after a failed attempt to accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The socket of a state file. Its path goes through the descriptor of the folder, which must stay
/// open, because the path of a socket must be short.
struct Place {
    folder: File,
    name: OsString,
}

impl Place {
    /// The place beside the file at `state`, links resolved.
    fn beside(state: &Path) -> io::Result<Self> {
        let state = state.canonicalize()?;
        let mut name = state.file_name().map(OsString::from).unwrap_or_default();
        name.push(".socket");
        Ok(Self { folder: File::open(state.parent().unwrap_or(Path::new("/")))?, name })
    }

    fn path(&self) -> PathBuf {
        Path::new("/proc/self/fd").join(self.folder.as_raw_fd().to_string()).join(&self.name)
    }
}

/// A socket that tools can connect to until this value is dropped.
pub struct Listing {
    place: Place,
    listener: UnixListener,
}

impl Listing {
    /// Opens the socket of the server with the state file `state`, and replaces one that a killed
    /// server left behind.
    ///
    /// # Errors
    /// If the folder cannot be written to, or the file's name is too long for a socket.
    pub fn open(state: &Path) -> anyhow::Result<Self> {
        let open = || {
            let place = Place::beside(state)?;
            let path = place.path();
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(&path)?;
            fs::set_permissions(&path, Permissions::from_mode(0o600))?;
            Ok(Self { place, listener })
        };
        open().with_context(|| format!("cannot create the socket beside {}", state.display()))
    }

    /// Answers each client with the list that `devices` returns. Never ends.
    pub async fn serve(
        self,
        devices: impl Fn() -> anyhow::Result<Vec<DeviceRecord>> + Send + Sync + 'static,
    ) {
        let devices = Arc::new(devices);
        // The socket's owner is the server's user.
        let owner = fs::metadata(self.place.path()).map_or(0, |metadata| metadata.uid());
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // A client may have connected before the socket's mode was set.
            if !stream.peer_cred().is_ok_and(|peer| [0, owner].contains(&peer.uid())) {
                continue;
            }
            let devices = devices.clone();
            tokio::task::spawn_blocking(move || {
                if let Err(error) = devices().and_then(|devices| answer(&devices, stream)) {
                    log::about_server(&format!("cannot list the devices: {error:#}"));
                }
            });
        }
    }
}

fn answer(devices: &[DeviceRecord], stream: tokio::net::UnixStream) -> anyhow::Result<()> {
    let list = serde_json::to_vec(devices)?;
    let mut stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // A tool may close its connection at any time.
    let _ = stream.write_all(&list);
    Ok(())
}

impl Drop for Listing {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.place.path());
    }
}

/// Whether a server with this state file is running, even if it does not answer this user.
#[must_use]
pub fn is_served(state: &Path) -> bool {
    match connect(state) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::PermissionDenied,
    }
}

fn connect(state: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(Place::beside(state)?.path())
}

/// The devices known to the server with this state file; `None` if no server is running.
///
/// # Errors
/// If the server's answer is not a list of devices, or this user may not ask it.
pub fn ask(state: &Path) -> anyhow::Result<Option<Vec<DeviceRecord>>> {
    let mut stream = match connect(state) {
        Ok(stream) => stream,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Err(error).context("its server lists devices for its own user and root");
        }
        Err(_) => return Ok(None),
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut list = Vec::new();
    stream.read_to_end(&mut list).context("its server does not answer")?;
    Ok(Some(serde_json::from_slice(&list).context("its server answers with no list of devices")?))
}
