//! The settings of a board's emulation: the file `board` of an image.
//!
//! `qemu/scripts/build/assemble.sh` writes it from `qemu/boards/<board>.conf`, a setting or one
//! argument of QEMU a line. Words in braces stand for what is known when a device starts.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// How the guest is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// QEMU's standard input is one end of it.
    Descriptor,
    /// The guest opens a connection to the host, whose address is on its command line.
    Network,
}

/// The flash of a board whose boot file is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flash {
    /// In octets.
    pub size: u64,
    /// How many octets at its end the device keeps its monotonic counter in.
    pub counter_size: u64,
}

/// The settings of a board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// The name of the file that starts with the first boot stage.
    pub boot_file: String,
    /// Where in it the first stage finds TF-A's package.
    pub package_offset: usize,
    /// Largest size of the package, in octets.
    pub package_limit: usize,
    /// Present where the boot file is a flash that keeps what is written to it.
    pub flash: Option<Flash>,
    /// The device tree of the image, where QEMU makes none.
    pub device_tree: Option<String>,
    /// What a new device's disk is a copy of.
    pub disk: Option<String>,
    /// How the guest is driven.
    pub control: Control,
    /// Where the guest's file system is put.
    pub initrd_address: u64,
    /// The kernel's.
    pub command_line: String,
    /// QEMU's arguments.
    pub arguments: Vec<String>,
    /// More of them where the host drives the guest.
    pub driven: Vec<String>,
    /// More of them where a person at the terminal does.
    pub terminal: Vec<String>,
}

impl Board {
    /// Reads the settings in `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("{} is not there; `make run` builds it", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let settings: Vec<_> = text
            .lines()
            .map(|line| line.split_once('=').with_context(|| format!("{line:?} sets nothing")))
            .collect::<Result<_>>()?;
        let all = |name: &str| -> Vec<String> {
            let values = settings.iter().filter(|(key, _)| *key == name);
            values.map(|(_, value)| (*value).to_owned()).collect()
        };
        let one = |name: &str| all(name).into_iter().next();
        let needed = |name: &str| one(name).with_context(|| format!("{name} is missing"));
        let size = |name: &str| one(name).map(|value| number(&value)).transpose();
        let flash = match (size("flash-size")?, size("flash-counter-size")?) {
            (None, None) => None,
            (Some(size), Some(counter_size)) => {
                ensure!(counter_size <= size, "the counter is larger than its flash");
                Some(Flash { size, counter_size })
            }
            _ => bail!("a flash has a size and a counter"),
        };
        Ok(Self {
            boot_file: needed("boot-file")?,
            package_offset: usize::try_from(number(&needed("package-offset")?)?)?,
            package_limit: size("package-limit")?.map_or(Ok(usize::MAX), usize::try_from)?,
            flash,
            device_tree: one("device-tree"),
            disk: one("disk"),
            control: match needed("control")?.as_str() {
                "descriptor" => Control::Descriptor,
                "network" => Control::Network,
                other => bail!("there is no control over {other:?}"),
            },
            initrd_address: number(&needed("initrd-address")?)?,
            command_line: needed("command-line")?,
            arguments: all("qemu"),
            driven: all("qemu-driven"),
            terminal: all("qemu-terminal"),
        })
    }
}

/// A number as the settings write it, decimal or hexadecimal.
fn number(text: &str) -> Result<u64> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.with_context(|| format!("{text:?} is no number"))
}

/// The values of the words in braces.
#[derive(Clone, Debug, Default)]
pub struct Words(Vec<(&'static str, String)>);

impl Words {
    /// With one more word.
    pub fn word(mut self, name: &'static str, value: impl ToString) -> Self {
        self.0.push((name, value.to_string()));
        self
    }

    /// With a path. Commas in it are doubled, as QEMU wants them in options.
    pub fn path(self, name: &'static str, path: &Path) -> Result<Self> {
        let path = path.to_str().context("the path is no text")?;
        Ok(self.word(name, path.replace(',', ",,")))
    }

    /// `text` with the words in it replaced; an error if it contains an unknown one.
    pub fn fill(&self, text: &str) -> Result<String> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').context("a brace stays open")?;
            let known = self.0.iter().find(|(word, _)| *word == name);
            let (_, value) = known.with_context(|| format!("nothing is known of {{{name}}}"))?;
            filled.push_str(before);
            filled.push_str(value);
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: &str = "boot-file=flash.bin\npackage-offset=0x40000\nflash-size=0x4000000\n\
        flash-counter-size=524288\ncontrol=descriptor\ncommand-line=console=ttyAMA0 {control}\n\
        initrd-address=0x48000000\nqemu=-machine\nqemu=virt,secure=on\nqemu-driven=-serial\n";

    #[test]
    fn settings_are_read() {
        let board = Board::parse(SETTINGS).unwrap();
        assert_eq!(board.package_offset, 0x4_0000);
        assert_eq!(board.flash, Some(Flash { size: 64 << 20, counter_size: 512 << 10 }));
        assert_eq!(board.command_line, "console=ttyAMA0 {control}");
        assert_eq!(board.arguments, ["-machine", "virt,secure=on"]);
        assert_eq!(board.driven, ["-serial"]);
        assert_eq!((board.device_tree, board.control), (None, Control::Descriptor));
    }

    #[test]
    fn settings_that_say_too_little_or_nonsense_are_refused() {
        for (from, to) in [
            ("boot-file=flash.bin\n", ""),
            ("=0x40000", "=4 KiB"),
            ("control=descriptor", "control=telepathy"),
            ("flash-counter-size=524288\n", ""),
            ("flash-counter-size=524288", "flash-counter-size=0x4000001"),
            ("qemu=-machine", "-machine"),
        ] {
            let text = SETTINGS.replace(from, to);
            assert_ne!(text, SETTINGS);
            Board::parse(&text).unwrap_err();
        }
    }

    #[test]
    fn words_are_filled_in() {
        let words = Words::default().word("cpus", 2).path("device", Path::new("/a,b/c")).unwrap();
        assert_eq!(words.fill("-smp {cpus}").unwrap(), "-smp 2");
        assert_eq!(words.fill("file:{device}/x,size={cpus}").unwrap(), "file:/a,,b/c/x,size=2");
        for text in ["{unknown}", "{cpus"] {
            words.fill(text).unwrap_err();
        }
    }
}
