//! Emulated devices: a folder with a hardware key, boot file, secure storage and logs.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::harness::board::{Board, Flash};

/// The hardware unique key that the device's TEE derives all its keys from.
pub type HardwareKey = [u8; 16];

/// What a new device has of the image's disk, where its board has one.
const DISK: &str = "disk.img";
/// Its hardware key.
const KEY: &str = "huk";
/// The mode of a file that a hardware key is in.
const OWNER_ONLY: u32 = 0o600;
/// The file that is locked while a device is in use.
const LOCK: &str = "lock";

/// An emulated device, held exclusively: no two machines run on the same one.
#[derive(Debug)]
pub struct Device {
    directory: PathBuf,
    /// Held, not read: the lock on the folder goes with it.
    _lock: File,
}

impl Device {
    /// Opens the device in `directory`; if there is none, creates one with a new random key and empty
    /// storage. Fails if another process has the device open.
    pub fn open_or_create(directory: impl Into<PathBuf>) -> Result<Self> {
        // QEMU is given paths into it and must not depend on the current directory.
        let directory = std::path::absolute(directory.into())?;
        let storage = directory.join("storage");
        fs::create_dir_all(&storage)
            .with_context(|| format!("cannot make {}", storage.display()))?;
        let lock_path = directory.join(LOCK);
        let lock = File::create(&lock_path)
            .with_context(|| format!("cannot make {}", lock_path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("the device {} is in use by another process", directory.display())
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let device = Self { directory, _lock: lock };
        if !device.hardware_key_path().exists() {
            device.make_hardware_key()?;
        }
        Ok(device)
    }

    /// Turns it into a new device: another hardware key, its counter at zero, nothing stored.
    pub fn wipe(&self) -> Result<()> {
        let storage = self.storage();
        fs::remove_dir_all(&storage)
            .with_context(|| format!("cannot remove {}", storage.display()))?;
        fs::create_dir(&storage)?;
        // Key, disk, boot files with a counter, and the logs of what it was.
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_type()?.is_file() && entry.file_name() != LOCK {
                fs::remove_file(entry.path())?;
            }
        }
        self.make_hardware_key()
    }

    /// The folder the device lies in; logs of the last boot are there.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The folder that the guest's tee-supplicant keeps secure storage in, live while it runs.
    pub fn storage(&self) -> PathBuf {
        self.directory.join("storage")
    }

    /// The device's hardware unique key.
    pub fn hardware_key(&self) -> Result<HardwareKey> {
        let path = self.hardware_key_path();
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        bytes.try_into().map_err(|_| anyhow::anyhow!("{} does not hold 16 octets", path.display()))
    }

    /// Writes what the device boots from.
    pub fn write_boot_file(&self, board: &Board, boot: &[u8]) -> Result<()> {
        write_boot_file(&self.directory.join(&board.boot_file), board, boot)
    }

    /// Copies this disk to a device that has none.
    pub fn make_disk(&self, disk: &Path) -> Result<()> {
        let own = self.directory.join(DISK);
        if own.exists() {
            return Ok(());
        }
        let copy = || fs::copy(disk, &own);
        copy().with_context(|| format!("cannot copy {}", disk.display()))?;
        Ok(())
    }

    fn hardware_key_path(&self) -> PathBuf {
        self.directory.join(KEY)
    }

    fn make_hardware_key(&self) -> Result<()> {
        let key = random_key()?;
        let path = self.hardware_key_path();
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(OWNER_ONLY)
            .open(&path)
            .and_then(|mut file| file.write_all(&key))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A device's name, which is that of its folder among the others: without a slash, and not hidden. QEMU
/// takes a comma for the end of a path, and a list of devices has a line for each.
pub fn name(text: &str) -> Result<String> {
    ensure!(
        !text.is_empty()
            && !text.starts_with('.')
            && !text.contains(['/', ','])
            && !text.contains(char::is_control),
        "a device's name has no slash in it, no comma, no control character, and no dot in front"
    );
    Ok(text.to_owned())
}

/// A new device's hardware key.
pub fn random_key() -> Result<HardwareKey> {
    let mut key = HardwareKey::default();
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    Ok(key)
}

/// Writes a boot file, which holds the hardware key: only its owner may read it. Where it is a flash, the
/// monotonic counter that OP-TEE keeps in it stays; in a new flash it is erased.
pub fn write_boot_file(path: &Path, board: &Board, boot: &[u8]) -> Result<()> {
    let written = match board.flash {
        Some(flash) => write_flash(path, flash, boot),
        None => open_secret(path, true).and_then(|mut file| Ok(file.write_all(boot)?)),
    };
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Opens a file for writing that nobody but its owner may read, whoever made it.
fn open_secret(path: &Path, truncate: bool) -> Result<File> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(truncate).mode(OWNER_ONLY).open(path)?;
    file.set_permissions(Permissions::from_mode(OWNER_ONLY))?;
    Ok(file)
}

fn write_flash(path: &Path, Flash { size, counter_size }: Flash, boot: &[u8]) -> Result<()> {
    let counter = size.checked_sub(counter_size).context("the counter is larger than its flash")?;
    ensure!(u64::try_from(boot.len())? <= counter, "the image is too large for the flash");
    let mut flash = open_secret(path, false)?;
    if flash.metadata()?.len() != size {
        flash.seek(SeekFrom::Start(counter))?;
        flash.write_all(&vec![0xff; usize::try_from(counter_size)?])?;
    }
    flash.rewind()?;
    Ok(flash.write_all(boot)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::board::Control;

    fn board() -> Board {
        Board {
            boot_file: "boot".into(),
            package_offset: 0,
            package_limit: 0,
            flash: None,
            device_tree: None,
            disk: None,
            control: Control::Descriptor,
            initrd_address: 0,
            command_line: String::new(),
            arguments: Vec::new(),
            driven: Vec::new(),
            terminal: Vec::new(),
        }
    }

    #[test]
    fn keeps_key_and_storage_until_wiped() {
        let folder = tempfile::tempdir().unwrap();
        let device = Device::open_or_create(folder.path()).unwrap();
        let key = device.hardware_key().unwrap();
        fs::write(device.storage().join("object"), b"data").unwrap();
        drop(device);

        let device = Device::open_or_create(folder.path()).unwrap();
        assert_eq!(device.hardware_key().unwrap(), key);
        assert!(device.storage().join("object").exists());

        device.wipe().unwrap();
        assert_ne!(device.hardware_key().unwrap(), key);
        assert!(!device.storage().join("object").exists());
    }

    #[test]
    fn keeps_the_counter_in_the_flash_until_wiped() {
        let folder = tempfile::tempdir().unwrap();
        let device = Device::open_or_create(folder.path()).unwrap();
        let path = device.directory().join("flash.bin");
        let write = |boot: &[u8]| {
            write_flash(&path, Flash { size: 64 << 20, counter_size: 512 << 10 }, boot).unwrap();
        };
        write(b"one");
        let flash = fs::read(&path).unwrap();
        assert_eq!(flash.len(), 64 << 20);
        assert!(flash[(64 << 20) - (512 << 10)..].iter().all(|octet| *octet == 0xff));

        let mut file = OpenOptions::new().write(true).open(&path).unwrap();
        file.seek(SeekFrom::End(-8)).unwrap();
        file.write_all(b"counted!").unwrap();
        write(b"other");
        let flash = fs::read(&path).unwrap();
        assert!(flash.starts_with(b"other") && flash.ends_with(b"counted!"));

        device.wipe().unwrap();
        write(b"other");
        assert!(fs::read(&path).unwrap().ends_with(&[0xff; 8]));
    }

    #[test]
    fn what_holds_a_hardware_key_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let device = Device::open_or_create(folder.path()).unwrap();
        let mode = |name: &str| {
            fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o7777
        };
        assert_eq!(mode("huk"), 0o600);
        // One that was there before, readable by all, too.
        for (name, flash) in
            [("flash.bin", Some(Flash { size: 4096, counter_size: 512 })), ("stub.bin", None)]
        {
            for already in [false, true] {
                let path = folder.path().join(name);
                let _ = fs::remove_file(&path);
                if already {
                    fs::write(&path, "old").unwrap();
                    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
                }
                let board = Board { flash, ..board() };
                write_boot_file(&path, &board, b"boot").unwrap();
                assert_eq!(mode(name), 0o600, "{name}, {already}");
                assert!(fs::read(&path).unwrap().starts_with(b"boot"));
            }
        }
        drop(device);
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        for good in ["shell", "my device", "a.b", "\u{e4}"] {
            assert_eq!(name(good).unwrap(), good);
        }
        for bad in ["", ".", "..", ".hidden", "../../x", "a/b", "/tmp/x", "a,b", "a\nb", "a\tb"] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn two_devices_have_two_keys() {
        let folder = tempfile::tempdir().unwrap();
        let one = Device::open_or_create(folder.path().join("one")).unwrap();
        let two = Device::open_or_create(folder.path().join("two")).unwrap();
        assert_ne!(one.hardware_key().unwrap(), two.hardware_key().unwrap());
    }

    #[test]
    fn is_held_exclusively() {
        let folder = tempfile::tempdir().unwrap();
        let _device = Device::open_or_create(folder.path()).unwrap();
        let error = Device::open_or_create(folder.path()).unwrap_err();
        assert!(error.to_string().contains("in use"), "{error}");
    }
}
