//! What a device boots: TF-A, OP-TEE, the kernel and the guest's file system.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::harness::board::Board;
use crate::harness::device::HardwareKey;

/// BL2, BL31 and OP-TEE's two parts with the names TF-A's BL1 and BL2 find them by: the UUIDs of
/// TF-A's include/tools_share/firmware_image_package.h.
const PACKAGED: [(&str, [u8; 16]); 4] = [
    ("bl2.bin", *b"\x5f\xf9\xec\x0b\x4d\x22\x3e\x4d\xa5\x44\xc3\x9d\x81\xc7\x3f\x0a"),
    ("bl31.bin", *b"\x47\xd4\x08\x6d\x4c\xfe\x98\x46\x9b\x95\x29\x50\xcb\xbd\x5a\x00"),
    ("tee-header_v2.bin", *b"\x05\xd0\xe1\x89\x53\xdc\x13\x47\x8d\x2b\x50\x0a\x4b\x7a\x3e\x38"),
    ("tee-pager_v2.bin", *b"\x0b\x70\xc2\x9b\x2a\x5a\x78\x40\x9f\x65\x0a\x56\x82\x73\x82\x88"),
];
const OPTEE: &str = "tee-pager_v2.bin";
/// Precedes the place of the hardware key in OP-TEE; see qemu/optee/device_huk.c.
const KEY_MARKER: &[u8] = b"@@DEVICE-HUK-01@";
/// The secure ROM that BL1 runs from (BL1_RO_SIZE), the same on all boards.
const BL1_SIZE_MAX: usize = 0x2_0000;

/// The default board.
pub const DEFAULT_BOARD: &str = "qemu";

/// What `make` has built for a board.
#[derive(Debug, Clone)]
pub struct Builds {
    cache: PathBuf,
    board: String,
}

impl Builds {
    /// For QEMU's own board, in this cache.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self { cache: cache.into(), board: DEFAULT_BOARD.to_owned() }
    }

    /// For another board.
    pub fn board(self, board: &str) -> Self {
        Self { board: board.to_owned(), ..self }
    }

    /// The folder of the development keys, which all boards share.
    pub fn keys(&self) -> PathBuf {
        self.cache.join("keys/dev")
    }

    /// The image that a variant's device boots: `development`, `rsa` or `lab`.
    pub fn image(&self, variant: &str) -> Result<Image> {
        Image::open(self.images().join(variant))
            .with_context(|| format!("there is no image {variant} for the board {}", self.board))
    }

    /// The program of a sample, by its file's name.
    pub fn sample(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.images().join("samples").join(name);
        fs::read(&path)
            .with_context(|| format!("cannot read {}; `make run` builds it", path.display()))
    }

    /// The folder of the emulated device of this name.
    pub fn device(&self, name: &str) -> PathBuf {
        self.folder().join("devices").join(name)
    }

    fn images(&self) -> PathBuf {
        self.folder().join("image")
    }

    fn folder(&self) -> PathBuf {
        if self.board == DEFAULT_BOARD {
            self.cache.clone()
        } else {
            self.cache.join("boards").join(&self.board)
        }
    }
}

/// A folder that `qemu/scripts/build/image.sh` has filled.
#[derive(Debug, Clone)]
pub struct Image {
    directory: PathBuf,
    board: Board,
}

impl Image {
    /// Opens the image in `directory`.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self> {
        let directory = std::path::absolute(directory.into())?;
        for file in ["bl1.bin", "kernel", "initrd.cpio"].into_iter().chain(PACKAGED.map(|p| p.0)) {
            ensure!(
                directory.join(file).is_file(),
                "{} is not there; say with --cache where the project's .cache is, or build the images with: make development lab rsa",
                directory.join(file).display()
            );
        }
        let board = Board::read(&directory.join("board"))?;
        Ok(Self { directory, board })
    }

    /// The board it is for.
    pub const fn board(&self) -> &Board {
        &self.board
    }

    /// The folder it lies in.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// One of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// What the device with this hardware key boots from: the first stage, and TF-A's package.
    pub fn boot_file(&self, key: &HardwareKey) -> Result<Vec<u8>> {
        let first_stage = read(&self.directory, "bl1.bin")?;
        ensure!(first_stage.len() <= BL1_SIZE_MAX, "bl1.bin is too large for the boot ROM");
        let mut parts = Vec::new();
        for (file, uuid) in PACKAGED {
            let mut content = read(&self.directory, file)?;
            if file == OPTEE {
                set_hardware_key(&mut content, key)?;
            }
            parts.push((uuid, content));
        }
        let package = package(&parts);
        ensure!(
            package.len() <= self.board.package_limit,
            "the package is too large for the board"
        );
        let mut boot = first_stage;
        boot.resize(self.board.package_offset, 0);
        boot.extend(package);
        Ok(boot)
    }
}

fn read(directory: &Path, file: &str) -> Result<Vec<u8>> {
    let path = directory.join(file);
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn set_hardware_key(optee: &mut [u8], key: &HardwareKey) -> Result<()> {
    let mut places = optee
        .windows(KEY_MARKER.len())
        .enumerate()
        .filter_map(|(offset, window)| (window == KEY_MARKER).then_some(offset + KEY_MARKER.len()));
    let (first, second) = (places.next(), places.next());
    let place = first
        .filter(|_| second.is_none())
        .and_then(|start| optee.get_mut(start..start + key.len()));
    place.with_context(|| format!("{OPTEE} has no place for a hardware key"))?.copy_from_slice(key);
    Ok(())
}

/// A firmware image package as TF-A's fiptool writes it: a header, a table with an entry for each part
/// and one that ends it, and the parts.
fn package(parts: &[([u8; 16], Vec<u8>)]) -> Vec<u8> {
    const HEADER_SIZE: usize = 16;
    const ENTRY_SIZE: usize = 40;
    let mut table = Vec::new();
    table.extend(0xAA64_0001_u32.to_le_bytes());
    table.extend(0x1234_5678_u32.to_le_bytes());
    table.extend(0_u64.to_le_bytes());
    let mut entry = |uuid: &[u8; 16], offset: usize, size: usize| {
        table.extend(uuid);
        table.extend((offset as u64).to_le_bytes());
        table.extend((size as u64).to_le_bytes());
        table.extend(0_u64.to_le_bytes());
    };
    let mut offset = HEADER_SIZE + ENTRY_SIZE * (parts.len() + 1);
    for (uuid, content) in parts {
        entry(uuid, offset, content.len());
        offset += content.len();
    }
    entry(&[0; 16], offset, 0);
    for (_, content) in parts {
        table.extend(content);
    }
    table
}

/// A board's name, which is that of its settings and of the folders of its builds.
///
/// # Errors
/// If it is none.
pub fn board_name(text: &str) -> Result<String> {
    let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
    ensure!(
        !text.is_empty() && text.chars().all(plain),
        "a board is the name of a file in qemu/boards without its ending: letters, digits, - and _"
    );
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with TF-A 2.12's own tool: `fiptool create --tb-fw a --soc-fw b --tos-fw c
    /// --tos-fw-extra1 d`, the files holding "bl2", "bl31!", "header" and "pager".
    const BY_FIPTOOL: &str = "010064aa785634120000000000000000\
        5ff9ec0b4d223e4da544c39d81c73f0ad80000000000000003000000000000000000000000000000\
        47d4086d4cfe98469b952950cbbd5a00db0000000000000005000000000000000000000000000000\
        05d0e18953dc13478d2b500a4b7a3e38e00000000000000006000000000000000000000000000000\
        0b70c29b2a5a78409f650a5682738288e60000000000000005000000000000000000000000000000\
        00000000000000000000000000000000eb0000000000000000000000000000000000000000000000\
        626c32626c3331216865616465727061676572";

    #[test]
    fn packs_as_fiptool_does() {
        let contents: [&[u8]; 4] = [b"bl2", b"bl31!", b"header", b"pager"];
        let parts: Vec<_> = PACKAGED
            .iter()
            .zip(contents)
            .map(|((_, uuid), content)| (*uuid, content.to_vec()))
            .collect();
        assert_eq!(hex::encode(package(&parts)), BY_FIPTOOL);
    }

    #[test]
    fn writes_the_key_behind_its_marker_only() {
        let mut optee = [b"code".as_slice(), KEY_MARKER, &[0; 16], b"data"].concat();
        set_hardware_key(&mut optee, &[7; 16]).unwrap();
        assert_eq!(optee, [b"code".as_slice(), KEY_MARKER, &[7; 16], b"data"].concat());
    }

    #[test]
    fn refuses_an_optee_without_one_place_for_the_key() {
        let once = [KEY_MARKER, &[0; 16]].concat();
        for mut optee in [b"stock".to_vec(), KEY_MARKER.to_vec(), [once.clone(), once].concat()] {
            set_hardware_key(&mut optee, &[7; 16]).unwrap_err();
        }
    }
}
