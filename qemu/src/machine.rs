//! The QEMU command line: ARMv8 `virt` with the secure world, one device, one image.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::device::Device;
use crate::guest::Guest;
use crate::image::Image;

const QEMU: &str = "qemu-system-aarch64";
/// TF-A is built to jump here (PRELOADED_BL33_BASE in the board's settings).
const KERNEL_ADDRESS: u64 = 0x4400_0000;
/// Behind the largest kernel, within the smallest memory.
const INITRD_ADDRESS: u64 = 0x4800_0000;
/// A boot takes 3 s; a busy machine may need a multiple of it.
const BOOT_TIMEOUT: Duration = Duration::from_secs(120);

/// A device with an image to boot.
#[derive(Debug)]
pub struct Machine {
    device: Device,
    image: Image,
    cpus: u32,
    boot_timeout: Duration,
}

impl Machine {
    /// One CPU: fastest to boot, and enough unless concurrency is what is looked at.
    pub fn new(device: Device, image: Image) -> Self {
        Self { device, image, cpus: 1, boot_timeout: BOOT_TIMEOUT }
    }

    /// With this many CPUs, four at most.
    pub fn cpus(self, cpus: u32) -> Self {
        Self { cpus, ..self }
    }

    /// With another limit to the time a boot may take.
    pub fn boot_timeout(self, boot_timeout: Duration) -> Self {
        Self { boot_timeout, ..self }
    }

    /// Boots and waits until the guest takes commands.
    pub fn boot(self) -> Result<Guest> {
        let (ours, theirs) = UnixStream::pair()?;
        let messages = File::create(self.device.directory().join("qemu.log"))?;
        let mut qemu = self.command()?;
        // QEMU's standard input is its end of the control port: no socket file, and an orphaned
        // guest sees the port close and powers off.
        qemu.args(["-chardev", "socket,id=control,fd=0"])
            .args(["-device", "virtserialport,chardev=control,name=control"])
            .stdin(OwnedFd::from(theirs))
            .stdout(messages.try_clone()?)
            .stderr(messages)
            // Ctrl-C at the terminal is for us; the guest is powered off in order.
            .process_group(0);
        let process = qemu.spawn().map_err(cannot_start)?;
        drop(qemu);
        Guest::wait_for(process, ours, self.device, self.boot_timeout)
    }

    /// Boots to a shell at this terminal; returns when the shell ends.
    pub fn interactive(self) -> Result<ExitStatus> {
        self.command()?
            .args(["-chardev", "stdio,id=terminal,signal=off"])
            .args(["-device", "virtconsole,chardev=terminal"])
            .stdin(Stdio::inherit())
            .status()
            .map_err(cannot_start)
    }

    fn command(&self) -> Result<Command> {
        let boot = self.image.flash(&self.device.hardware_key()?)?;
        let flash = self.device.write_flash(&boot)?;
        let (kernel, initrd) = (self.image.kernel(), self.image.initrd());
        let initrd_size = fs::metadata(&initrd)?.len();
        let log = |name| option("file:", &self.device.directory().join(name), "");
        let load = |file: &Path, address| {
            option("loader,file=", file, &format!(",addr={address:#x},force-raw=on"))
        };
        let mut qemu = Command::new(QEMU);
        qemu.args(["-nodefaults", "-display", "none", "-monitor", "none", "-no-reboot"])
            .args(["-machine", "virt,secure=on,gic-version=3,acpi=off"])
            .args(["-cpu", "cortex-a57", "-smp", &self.cpus.to_string(), "-m", "512"])
            .args(["-accel", "tcg,thread=multi"])
            // The first bank, which the secure world alone sees and writes.
            .arg("-drive")
            .arg(option("if=pflash,unit=0,format=raw,file=", &flash, ""))
            // `-kernel` makes QEMU pass on the command line; the loader puts the kernel where TF-A
            // jumps to.
            .arg("-kernel")
            .arg(&kernel)
            .arg("-device")
            .arg(load(&kernel, KERNEL_ADDRESS))
            .arg("-device")
            .arg(load(&initrd, INITRD_ADDRESS))
            .arg("-append")
            .arg(format!("console=ttyAMA0 panic=-1 quiet initrd={INITRD_ADDRESS:#x},{initrd_size}"))
            .arg("-serial")
            .arg(log("console.log"))
            .arg("-serial")
            .arg(log("secure.log"))
            .args(["-netdev", "user,id=network"])
            .args(["-device", "virtio-net-pci,netdev=network,romfile="])
            .arg("-virtfs")
            .arg(option(
                "local,path=",
                &self.device.storage(),
                ",mount_tag=storage,security_model=none",
            ))
            .args(["-device", "virtio-serial-pci"]);
        Ok(qemu)
    }
}

/// A QEMU option with a path in it; commas in the path are doubled.
fn option(before: &str, path: &Path, after: &str) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut option = before.as_bytes().to_vec();
    for &octet in path.as_os_str().as_bytes() {
        option.push(octet);
        if octet == b',' {
            option.push(octet);
        }
    }
    option.extend(OsStr::new(after).as_bytes());
    OsString::from_vec(option)
}

fn cannot_start(error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            anyhow!("{QEMU} is not installed; `make image` installs what is missing")
        }
        _ => anyhow!(error).context(format!("cannot start {QEMU}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_paths_are_doubled() {
        assert_eq!(option("file:", Path::new("/a,b/c"), ",x=y"), "file:/a,,b/c,x=y");
    }
}
