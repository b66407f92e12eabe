//! The state file as a file: its mode, and its lock by one server.
//!
//! A user who can read a file can lock it, so the mode is repaired before the lock is taken: a file of
//! an older version or restored from a backup may be accessible to others. A process that opened it
//! earlier keeps its lock; if that process is not a server, the server puts a copy in the file's place.
//! A server locks the file exclusively, as its own user, and answers on its socket once it serves.

use std::fs::{self, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Seek as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::damage::check_beginning;
use crate::listing;
use crate::log;

/// How long to wait for another process to finish with the database.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
const HELD: &str = "and a server needs one of its own (--state)";

/// Opens or creates the file at `path`, locked for this process alone.
///
/// # Errors
/// If it cannot be created or opened, is not a database, or belongs to another server.
pub(crate) fn own(path: &Path) -> anyhow::Result<File> {
    let start = Instant::now();
    loop {
        let (mut file, is_new) = open(path)?;
        // A file that is not a database may belong to something else, and is left unchanged.
        let is_ours = !is_new && check_beginning(&mut file).is_ok();
        if is_ours {
            repair_mode(path, &file)?;
        }
        let locked = match lock(path, &file, start)? {
            true => Some(file),
            false => match take_over(path, &file)? {
                TakenOver::Yes(copy) => Some(copy),
                TakenOver::Changed => None,
                TakenOver::No => {
                    bail!("another process has held it for {} seconds, {HELD}", PATIENCE.as_secs())
                }
            },
        };
        // Another server may have replaced it by a copy meanwhile.
        if let Some(mut file) = locked
            && is_same(&fs::metadata(path)?, &file.metadata()?)
        {
            if !is_new {
                check_beginning(&mut file)?;
            }
            return Ok(file);
        }
        ensure!(start.elapsed() < PATIENCE * 3, "other processes replace it, {HELD}");
    }
}

fn open(path: &Path) -> anyhow::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let made = options.create_new(true).mode(0o600).open(path);
            Ok((made.context("it cannot be created")?, true))
        }
        opened => Ok((opened.context("it cannot be opened")?, false)),
    }
}

fn repair_mode(path: &Path, file: &File) -> anyhow::Result<()> {
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let name = path.display();
    log::about_server(&match file.set_permissions(Permissions::from_mode(0o600)) {
        Ok(()) => format!("others could open the state file {name}, mode {mode:o}: now 600"),
        Err(error) => format!(
            "warning: others can open the state file {name}, mode {mode:o}, and that cannot be \
             changed: {error}"
        ),
    });
    Ok(())
}

/// Locks the file; `false` if a process that is not a server has held it for too long.
fn lock(path: &Path, file: &File, start: Instant) -> anyhow::Result<bool> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if listing::is_served(path) => {
                bail!("another server uses it, {HELD}")
            }
            // A tool that lists devices holds it for a moment.
            Err(TryLockError::WouldBlock) if start.elapsed() < PATIENCE => {
                sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error).context("it cannot be locked"),
        }
    }
}

/// The result of an attempt to replace a file by a copy.
enum TakenOver {
    /// Replaced by this copy, which this process has locked.
    Yes(File),
    /// Another process has replaced the file meanwhile.
    Changed,
    /// The file may belong to another server.
    No,
}

/// Replaces a file that is locked by a process other than a server by a copy.
///
/// One process at a time does this: it locks the copy before it writes it, keeps the lock until it
/// ends, and checks once more which file it is about to replace.
fn take_over(path: &Path, original: &File) -> anyhow::Result<TakenOver> {
    let path = path.canonicalize()?;
    let found = original.metadata()?;
    // Its other names would still lead to the old file.
    if found.nlink() != 1 || !is_without_server(original, &found) {
        return Ok(TakenOver::No);
    }
    let mut name = path.clone().into_os_string();
    name.push(".copy");
    let name = PathBuf::from(name);
    let copy = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&name)
        .with_context(|| format!("cannot create {}", name.display()))?;
    let made = copy.metadata()?;
    let is_private = made.mode() & 0o077 == 0 && made.nlink() == 1 && made.uid() == own_user()?;
    match (fs::symlink_metadata(&name), copy.try_lock()) {
        (_, Err(TryLockError::WouldBlock)) => return Ok(TakenOver::No),
        (_, Err(TryLockError::Error(error))) => return Err(error).context("cannot lock a copy"),
        (Ok(named), Ok(())) if is_same(&named, &made) && is_private => {}
        // Another process has finished and renamed it.
        (Err(error), Ok(())) if error.kind() == ErrorKind::NotFound => {
            return Ok(TakenOver::Changed);
        }
        _ => bail!("{} is not a file of this user alone: remove it", name.display()),
    }
    if !is_same(&fs::symlink_metadata(&path)?, &found) {
        fs::remove_file(&name)?;
        return Ok(TakenOver::Changed);
    }
    copy_into(original, &copy, &found).context("it cannot be copied")?;
    // The other lock may have ended meanwhile, and a server may have started.
    if !is_without_server(original, &found) {
        fs::remove_file(&name)?;
        return Ok(TakenOver::No);
    }
    fs::rename(&name, &path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
    log::about_server(&format!(
        "the state file {} was locked by a process that is not a server, so a copy is in its place",
        path.display()
    ));
    Ok(TakenOver::Yes(copy))
}

fn copy_into(mut original: &File, mut copy: &File, found: &Metadata) -> io::Result<()> {
    original.rewind()?;
    copy.set_len(0)?;
    io::copy(&mut original, &mut copy)?;
    let made = copy.metadata()?;
    if (made.uid(), made.gid()) != (found.uid(), found.gid()) {
        fchown(copy, Some(found.uid()), Some(found.gid()))?;
    }
    copy.sync_all()
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// The user of this process.
fn own_user() -> io::Result<u32> {
    Ok(fs::metadata("/proc/self")?.uid())
}

/// Whether no server has the file locked. A server's lock is exclusive, and its process belongs to the
/// file's owner, this user or root. A lock whose owner is unknown is assumed to be a server's.
fn is_without_server(file: &File, found: &Metadata) -> bool {
    if file.try_lock_shared().is_ok() {
        return true;
    }
    let (Ok(locks), Ok(user)) = (fs::read_to_string("/proc/locks"), own_user()) else {
        return false;
    };
    let users = [0, user, found.uid()];
    // A process that is not listed has ended and passed its lock on, or is another user's and hidden.
    let is_stranger = |process: &u32| {
        fs::metadata(format!("/proc/{process}")).map_or(true, |it| !users.contains(&it.uid()))
    };
    let holders = holders(&locks, found.dev(), found.ino());
    !holders.is_empty() && holders.iter().all(is_stranger)
}

/// The processes that hold an flock(2) lock on a file, from the text of /proc/locks (proc_locks(5)).
fn holders(locks: &str, device: u64, inode: u64) -> Vec<u32> {
    // The encoding of makedev(3).
    let major = device >> 8 & 0xfff | device >> 32 & 0xffff_f000;
    let minor = device & 0xff | device >> 12 & 0xffff_ff00;
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    let holder = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        // Waiting processes have an arrow here.
        (fields.next()? == "FLOCK").then_some(())?;
        let process = fields.nth(2)?.parse().ok()?;
        (fields.next()? == file).then_some(process)
    };
    locks.lines().filter_map(holder).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, Command, Stdio};

    use crate::record::DeviceRecord;
    use crate::store::Store;

    use super::*;

    /// A state file with a device, which others can read.
    fn scene() -> (tempfile::TempDir, PathBuf, Vec<DeviceRecord>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.redb");
        let store = Store::open(&path).unwrap();
        store.replace(&DeviceRecord::new("a".into()), None).unwrap();
        let devices = store.devices().unwrap();
        drop(store);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        (folder, path, devices)
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o777
    }

    #[test]
    fn a_reader_that_locks_the_file_does_not_stop_the_server() {
        let (folder, path, devices) = scene();
        let link = folder.path().join("link.redb");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let reader = File::open(&path).unwrap();
        reader.lock_shared().unwrap();
        // What a server left that was killed before it was finished.
        let mut rest = OpenOptions::new();
        let rest = rest.write(true).create_new(true).mode(0o600);
        let mut rest = rest.open(folder.path().join("state.redb.copy")).unwrap();
        rest.write_all(&vec![7; 9 << 20]).unwrap();
        let store = Store::open(&link).unwrap();
        assert_eq!(store.devices().unwrap(), devices);
        assert!(link.is_symlink(), "the file is replaced, and not the link to it");
        assert_eq!(mode(&path), 0o600);
        assert!(!is_same(&path.metadata().unwrap(), &reader.metadata().unwrap()));
        assert!(!folder.path().join("state.redb.copy").exists());
        // It is this server's.
        assert!(File::open(&path).unwrap().try_lock_shared().is_err());
        store.replace(&DeviceRecord::new("b".into()), None).unwrap().unwrap();
        drop(store);
        assert_eq!(Store::open(&path).unwrap().devices().unwrap().len(), 2);
    }

    /// Of several servers that find the same reader, one starts.
    #[test]
    fn a_copy_has_one_server() {
        let (_folder, path, _) = scene();
        let reader = File::open(&path).unwrap();
        reader.lock_shared().unwrap();
        let opened: Vec<_> = std::thread::scope(|scope| {
            let servers: Vec<_> = (0..4).map(|_| scope.spawn(|| Store::open(&path))).collect();
            servers.into_iter().map(|server| server.join().unwrap()).collect()
        });
        let refused: Vec<_> = opened.iter().filter_map(|it| it.as_ref().err()).collect();
        assert_eq!(refused.len(), 3);
        for error in refused {
            assert!(format!("{error:#}").contains("needs one of its own"), "{error:#}");
        }
    }

    #[test]
    fn a_file_that_may_be_a_servers_is_left_alone() {
        // An exclusive lock of a process of this user, which has no socket.
        let (_folder, path, _) = scene();
        let server = File::open(&path).unwrap();
        server.lock().unwrap();
        let error = format!("{:#}", Store::open(&path).err().unwrap());
        assert!(error.contains("another process has held it for 5 seconds"), "{error}");
        assert!(is_same(&path.metadata().unwrap(), &server.metadata().unwrap()));
        assert_eq!(mode(&path), 0o600, "nobody else can lock it any more");
        // A file with another name, under which it would stay the same.
        let (folder, path, _) = scene();
        fs::hard_link(&path, folder.path().join("other.redb")).unwrap();
        let reader = File::open(&path).unwrap();
        reader.lock_shared().unwrap();
        assert!(Store::open(&path).is_err());
    }

    #[test]
    fn an_existing_file_is_not_overwritten_by_the_copy() {
        let (folder, path, _) = scene();
        let (copy, other) = (folder.path().join("state.redb.copy"), folder.path().join("other"));
        let reader = File::open(&path).unwrap();
        reader.lock_shared().unwrap();
        let private = || {
            fs::write(&other, "precious").unwrap();
            fs::set_permissions(&other, Permissions::from_mode(0o600)).unwrap();
        };
        let rows: [(&str, &dyn Fn()); 3] = [
            ("a link", &|| std::os::unix::fs::symlink(&other, &copy).unwrap()),
            ("a second name", &|| fs::hard_link(&other, &copy).unwrap()),
            ("a file for everybody", &|| {
                fs::write(&copy, "precious").unwrap();
                fs::set_permissions(&copy, Permissions::from_mode(0o644)).unwrap();
            }),
        ];
        for (what, place) in rows {
            private();
            place();
            let refused = match take_over(&path, &File::open(&path).unwrap()) {
                Ok(_) => panic!("{what}: it is taken"),
                Err(refused) => format!("{refused:#}"),
            };
            assert!(refused.contains("is not a file of this user alone"), "{what}: {refused}");
            assert_eq!(fs::read(&copy).unwrap(), b"precious", "{what}");
            fs::remove_file(&copy).unwrap();
        }
    }

    #[test]
    fn what_is_not_a_database_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        fs::write(&path, "not a database").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(Store::open(&path).is_err());
        assert_eq!(mode(&path), 0o644);
    }

    /// flock(1) as another user, which only root can start. `command` says when it has the lock.
    fn stranger(path: &Path, command: &str) -> Child {
        let mut child = Command::new("sh")
            .args(["-c", command])
            .uid(65534)
            .current_dir("/")
            .stdin(File::open(path).unwrap())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "locked\n");
        child
    }

    #[test]
    fn an_exclusive_lock_of_another_user_does_not_stop_the_server() {
        if own_user().unwrap() != 0 {
            return;
        }
        for command in [
            // The process that took the lock has it.
            "exec flock -x /proc/self/fd/0 sh -c 'echo locked; exec sleep 60'",
            // It has ended, and its parent has it.
            "flock -x 0; echo locked; exec sleep 60",
        ] {
            let (_folder, path, devices) = scene();
            let mut stranger = stranger(&path, command);
            let opened = Store::open(&path);
            stranger.kill().unwrap();
            stranger.wait().unwrap();
            assert_eq!(opened.unwrap().devices().unwrap(), devices, "{command}");
        }
    }

    /// Lines as Linux 6.1 writes them.
    #[test]
    fn the_holders_of_a_file_are_read() {
        let locks = "1: FLOCK  ADVISORY  WRITE 8193 fe:00:6112819 0 EOF\n\
                     2: POSIX  ADVISORY  WRITE 77 fe:00:6112819 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 78 fe:00:6112819 0 EOF\n\
                     3: FLOCK  ADVISORY  READ 8194 103:1234:7 0 EOF\n\
                     4: FLOCK  ADVISORY  READ 8195 103:1234:7 0 EOF\n\
                     nonsense\n";
        // By `python3 -c 'import os; print(os.makedev(254, 0), os.makedev(0x103, 0x1234))'`.
        for (device, inode, expected) in [
            (65024, 6_112_819, &[8193][..]),
            (65024, 6_112_818, &[]),
            (18_940_724, 7, &[8194, 8195]),
        ] {
            assert_eq!(holders(locks, device, inode), expected, "{device} {inode}");
        }
    }
}
