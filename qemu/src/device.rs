//! Emulated devices: a folder with a hardware key, flash, secure storage and logs.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// The hardware unique key that the device's TEE derives all its keys from.
pub type HardwareKey = [u8; 16];

/// What QEMU's `virt` machine takes for the flash that only the secure world sees.
const FLASH_SIZE: u64 = 64 << 20;
/// The last two erase blocks hold the monotonic counter; see qemu/optee/flash_counter.c.
const COUNTER_SIZE: u64 = 2 * (256 << 10);

/// An emulated device, held exclusively: no two machines run on the same one.
#[derive(Debug)]
pub struct Device {
    directory: PathBuf,
    /// Held, not read: the lock on the folder goes with it.
    _lock: File,
}

impl Device {
    /// Opens the device in `directory`; where there is none, makes one with a new random key and
    /// empty storage. Fails when another process has the device open.
    pub fn open_or_create(directory: impl Into<PathBuf>) -> Result<Self> {
        // QEMU is given paths into it and must not depend on the current directory.
        let directory = std::path::absolute(directory.into())?;
        let storage = directory.join("storage");
        fs::create_dir_all(&storage)
            .with_context(|| format!("cannot make {}", storage.display()))?;
        let lock_path = directory.join("lock");
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

    /// Makes a new device of it: another hardware key, its counter at zero, nothing stored.
    pub fn wipe(&self) -> Result<()> {
        let storage = self.storage();
        fs::remove_dir_all(&storage)
            .with_context(|| format!("cannot remove {}", storage.display()))?;
        fs::create_dir(&storage)?;
        for file in [self.hardware_key_path(), self.flash_path()] {
            match fs::remove_file(file) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                _ => {}
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

    /// Writes what the device boots to its flash and returns the flash's file. The monotonic counter
    /// that OP-TEE keeps in the same flash stays; in a new flash it is erased.
    pub fn write_flash(&self, boot: &[u8]) -> Result<PathBuf> {
        let path = self.flash_path();
        self.open_flash(boot).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn open_flash(&self, boot: &[u8]) -> Result<()> {
        ensure!(
            u64::try_from(boot.len())? <= FLASH_SIZE - COUNTER_SIZE,
            "the image is too large for the flash"
        );
        let path = self.flash_path();
        let mut flash = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        if flash.metadata()?.len() != FLASH_SIZE {
            flash.seek(SeekFrom::Start(FLASH_SIZE - COUNTER_SIZE))?;
            flash.write_all(&vec![0xff; usize::try_from(COUNTER_SIZE)?])?;
        }
        flash.rewind()?;
        Ok(flash.write_all(boot)?)
    }

    fn flash_path(&self) -> PathBuf {
        self.directory.join("flash.bin")
    }

    fn hardware_key_path(&self) -> PathBuf {
        self.directory.join("huk")
    }

    fn make_hardware_key(&self) -> Result<()> {
        let mut key = HardwareKey::default();
        File::open("/dev/urandom")?.read_exact(&mut key)?;
        let path = self.hardware_key_path();
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(&key))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let path = device.write_flash(b"one").unwrap();
        let flash = fs::read(&path).unwrap();
        assert_eq!(flash.len(), 64 << 20);
        assert!(flash[(64 << 20) - (512 << 10)..].iter().all(|octet| *octet == 0xff));

        let mut file = OpenOptions::new().write(true).open(&path).unwrap();
        file.seek(SeekFrom::End(-8)).unwrap();
        file.write_all(b"counted!").unwrap();
        device.write_flash(b"other").unwrap();
        let flash = fs::read(&path).unwrap();
        assert!(flash.starts_with(b"other") && flash.ends_with(b"counted!"));

        device.wipe().unwrap();
        device.write_flash(b"other").unwrap();
        assert!(fs::read(&path).unwrap().ends_with(&[0xff; 8]));
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
