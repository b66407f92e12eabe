//! A running guest: commands, files, logs, power.

use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::harness::device::Device;

/// The host's loopback as the guest sees it.
pub const HOST: &str = "10.0.2.2";
/// Time limit for a command of [`Guest::run`].
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

const POWER_OFF_TIMEOUT: Duration = Duration::from_secs(30);
/// An answer longer than this is a broken protocol, not a long output.
const OUTPUT_LIMIT: u64 = 256 << 20;
const LOG_TAIL_LINES: usize = 15;
/// How often a pending connection of the guest is polled.
const CONNECTION_INTERVAL: Duration = Duration::from_millis(20);
/// How often [`Guest::run_and_cut`] asks whether it is time.
const CUT_INTERVAL: Duration = Duration::from_millis(2);

/// The result of a command in the guest.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit status.
    pub status: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// From sending the command to having its answer, as the host saw it.
    pub elapsed: Duration,
}

impl Output {
    /// Standard output as text, without white space around it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// Standard error as text, without white space around it.
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim().to_owned()
    }

    /// An error that holds both outputs unless the status is 0.
    pub fn success(self) -> Result<Self> {
        ensure!(
            self.status == 0,
            "the command ended with status {}: {}{}{}",
            self.status,
            self.error_text(),
            if self.stdout.is_empty() { "" } else { "\n" },
            self.text()
        );
        Ok(self)
    }
}

/// A booted machine. Dropped, it loses power.
pub struct Guest {
    process: Child,
    control: BufReader<Deadlined>,
    /// Taken when the guest is done with it.
    device: Option<Device>,
}

impl Guest {
    /// Waits until `process` reports on `control` that it accepts commands.
    pub(crate) fn wait_for(
        mut process: Child,
        link: Link,
        device: Device,
        timeout: Duration,
    ) -> Result<Self> {
        let deadline = Instant::now() + timeout;
        let stream = link.open(&mut process, deadline).map_err(|error| {
            end(&mut process);
            with_logs(&device, &error.context("the guest does not boot"))
        })?;
        let control = Deadlined { stream, deadline };
        let mut guest = Self { process, control: BufReader::new(control), device: Some(device) };
        let greeting = guest.read_line();
        match greeting {
            Ok(line) if line == "ready" => Ok(guest),
            Ok(line) => Err(guest.lost(anyhow!("the guest said {line:?} instead of \"ready\""))),
            Err(error) => Err(guest.lost(anyhow!(error).context("the guest does not boot"))),
        }
    }

    /// Runs a shell script with empty standard input.
    pub fn run(&mut self, script: &str) -> Result<Output> {
        self.run_with(script, &[], COMMAND_TIMEOUT)
    }

    /// Runs a shell script with this standard input. If the script takes longer than `timeout`, or takes
    /// the guest down, the guest is ended.
    pub fn run_with(&mut self, script: &str, input: &[u8], timeout: Duration) -> Result<Output> {
        ensure!(self.device.is_some(), "the guest is down");
        let start = Instant::now();
        self.control.get_mut().deadline = start + timeout;
        match self.exchange(script, input) {
            Ok((status, stdout, stderr)) => {
                Ok(Output { status, stdout, stderr, elapsed: start.elapsed() })
            }
            Err(error) => {
                Err(self.lost(error.context(format!("lost the guest during `{script}`"))))
            }
        }
    }

    /// Runs a shell script and cuts the power as soon as `cut` returns true, which is called about every
    /// two milliseconds with the time since the start; at the latest when the script has ended.
    /// Returns the device, and the script's result if it had ended.
    pub fn run_and_cut(
        mut self,
        script: &str,
        mut cut: impl FnMut(Duration) -> bool,
    ) -> Result<(Option<Output>, Device)> {
        ensure!(self.device.is_some(), "the guest is down");
        let start = Instant::now();
        self.control.get_mut().deadline = start + COMMAND_TIMEOUT;
        let mut output = None;
        let mut sent = self.send(script, &[]);
        while sent.is_ok() && !cut(start.elapsed()) {
            ensure!(start.elapsed() < COMMAND_TIMEOUT, "`{script}` takes too long");
            self.control.get_mut().deadline = Instant::now() + CUT_INTERVAL;
            match self.control.fill_buf() {
                Err(error) if error.kind() == ErrorKind::TimedOut => continue,
                Err(error) => sent = Err(error.into()),
                Ok(_) => {
                    self.control.get_mut().deadline = Instant::now() + COMMAND_TIMEOUT;
                    match self.receive() {
                        Ok((status, stdout, stderr)) => {
                            let elapsed = start.elapsed();
                            output = Some(Output { status, stdout, stderr, elapsed });
                        }
                        Err(error) => sent = Err(error),
                    }
                    break;
                }
            }
        }
        if let Err(error) = sent {
            return Err(self.lost(error.context(format!("lost the guest during `{script}`"))));
        }
        Ok((output, self.kill()?))
    }

    /// Writes a file in the guest.
    pub fn put(&mut self, path: &str, content: &[u8]) -> Result<()> {
        self.run_with(&format!("cat >{}", quoted(path)), content, COMMAND_TIMEOUT)
            .and_then(Output::success)
            .with_context(|| format!("cannot write {path} in the guest"))?;
        Ok(())
    }

    /// Reads a file in the guest.
    pub fn get(&mut self, path: &str) -> Result<Vec<u8>> {
        let output = self
            .run(&format!("cat {}", quoted(path)))
            .and_then(Output::success)
            .with_context(|| format!("cannot read {path} in the guest"))?;
        Ok(output.stdout)
    }

    /// What the secure world has logged since boot.
    pub fn secure_log(&self) -> Result<String> {
        self.log("secure.log")
    }

    /// What the normal world has logged since boot.
    pub fn console_log(&self) -> Result<String> {
        self.log("console.log")
    }

    /// The device it runs on; its storage can be looked at and tampered with meanwhile.
    pub fn device(&self) -> Result<&Device> {
        self.device.as_ref().context("the guest is down")
    }

    /// Shuts down cleanly, and returns the device.
    pub fn power_off(mut self) -> Result<Device> {
        ensure!(self.device.is_some(), "the guest is down");
        self.control.get_ref().stream.close()?;
        let deadline = Instant::now() + POWER_OFF_TIMEOUT;
        while self.process.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return Err(self.lost(anyhow!("the guest does not power off")));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.device.take().context("the guest is down")
    }

    /// Cuts the power, and returns the device.
    pub fn kill(mut self) -> Result<Device> {
        self.cut_power();
        self.device.take().context("the guest is down")
    }

    fn exchange(&mut self, script: &str, input: &[u8]) -> Result<(i32, Vec<u8>, Vec<u8>)> {
        self.send(script, input)?;
        self.receive()
    }

    fn send(&mut self, script: &str, input: &[u8]) -> Result<()> {
        let mut request = format!("{} {}\n", script.len() + 1, input.len()).into_bytes();
        request.extend(script.as_bytes());
        // An empty script would have nothing to be read.
        request.push(b'\n');
        request.extend(input);
        Ok(self.control.get_mut().write_all(&request)?)
    }

    fn receive(&mut self) -> Result<(i32, Vec<u8>, Vec<u8>)> {
        let line = self.read_line()?;
        let mut numbers = line.split(' ').map(str::parse::<u64>);
        let (Some(Ok(status)), Some(Ok(stdout)), Some(Ok(stderr)), None) =
            (numbers.next(), numbers.next(), numbers.next(), numbers.next())
        else {
            bail!("the guest answered {line:?}");
        };
        let status = i32::try_from(status)?;
        Ok((status, self.read_octets(stdout)?, self.read_octets(stderr)?))
    }

    fn read_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.control.read_line(&mut line)? == 0 || !line.ends_with('\n') {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        line.pop();
        Ok(line)
    }

    fn read_octets(&mut self, length: u64) -> Result<Vec<u8>> {
        ensure!(length <= OUTPUT_LIMIT, "the guest announced an output of {length} octets");
        let mut octets = vec![0; usize::try_from(length)?];
        self.control.read_exact(&mut octets)?;
        Ok(octets)
    }

    /// Ends a guest that no longer responds; adds the ends of its logs to the error.
    fn lost(&mut self, error: anyhow::Error) -> anyhow::Error {
        self.cut_power();
        match self.device.take() {
            Some(device) => with_logs(&device, &error),
            None => error,
        }
    }

    fn log(&self, name: &str) -> Result<String> {
        log(self.device()?, name)
    }

    fn cut_power(&mut self) {
        end(&mut self.process);
    }
}

fn end(process: &mut Child) {
    // Fails only when the process has ended already.
    let _ = process.kill();
    let _ = process.wait();
}

fn log(device: &Device, name: &str) -> Result<String> {
    let path = device.directory().join(name);
    let octets = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&octets).into_owned())
}

/// The error with the ends of the device's logs.
fn with_logs(device: &Device, error: &anyhow::Error) -> anyhow::Error {
    let mut report = format!("{error:#}");
    for name in ["qemu.log", "console.log", "secure.log"] {
        let log = log(device, name).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        if !lines.is_empty() {
            let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
            report += &format!("\n--- end of {name}\n{}", tail.join("\n"));
        }
    }
    anyhow!(report)
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.cut_power();
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Guest").field("process", &self.process.id()).finish_non_exhaustive()
    }
}

/// The channel that the guest is driven through.
#[derive(Debug)]
pub(crate) enum Link {
    /// One end of what QEMU has the other end of.
    Open(UnixStream),
    /// Where the guest is going to connect to.
    Expected(TcpListener),
}

impl Link {
    /// Waits for the guest's connection where it has to make one.
    fn open(self, process: &mut Child, deadline: Instant) -> Result<Stream> {
        let listener = match self {
            Self::Open(stream) => return Ok(Stream::Local(stream)),
            Self::Expected(listener) => listener,
        };
        listener.set_nonblocking(true)?;
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    // A request is written at once and waited for.
                    stream.set_nodelay(true)?;
                    return Ok(Stream::Network(stream));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(status) = process.try_wait()? {
                bail!("QEMU ended with {status}");
            }
            ensure!(Instant::now() < deadline, timed_out());
            std::thread::sleep(CONNECTION_INTERVAL);
        }
    }
}

/// An open [`Link`].
#[derive(Debug)]
enum Stream {
    Local(UnixStream),
    Network(TcpStream),
}

impl Stream {
    fn read_within(&mut self, time: Duration, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Local(stream) => {
                stream.set_read_timeout(Some(time))?;
                stream.read(buffer)
            }
            Self::Network(stream) => {
                stream.set_read_timeout(Some(time))?;
                stream.read(buffer)
            }
        }
    }

    fn write_within(&mut self, time: Duration, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Local(stream) => {
                stream.set_write_timeout(Some(time))?;
                stream.write(buffer)
            }
            Self::Network(stream) => {
                stream.set_write_timeout(Some(time))?;
                stream.write(buffer)
            }
        }
    }

    fn close(&self) -> io::Result<()> {
        match self {
            Self::Local(stream) => stream.shutdown(Shutdown::Both),
            Self::Network(stream) => stream.shutdown(Shutdown::Both),
        }
    }
}

/// A stream whose reads and writes end at a deadline.
#[derive(Debug)]
struct Deadlined {
    stream: Stream,
    deadline: Instant,
}

impl Deadlined {
    fn remaining(&self) -> io::Result<Duration> {
        match self.deadline.checked_duration_since(Instant::now()) {
            Some(remaining) if !remaining.is_zero() => Ok(remaining),
            _ => Err(timed_out()),
        }
    }
}

impl Read for Deadlined {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let remaining = self.remaining()?;
        self.stream.read_within(remaining, buffer).map_err(would_block_is_timed_out)
    }
}

impl Write for Deadlined {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let remaining = self.remaining()?;
        self.stream.write_within(remaining, buffer).map_err(would_block_is_timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn would_block_is_timed_out(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock { timed_out() } else { error }
}

fn timed_out() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "no answer in time")
}

/// Quotes a word for the shell.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_words_are_one_word_to_a_shell() {
        let word = "it's a \"$HOME\" `x` \\";
        let output = std::process::Command::new("sh")
            .args(["-c", &format!("printf %s {}", quoted(word))])
            .output()
            .unwrap();
        assert_eq!(output.stdout, word.as_bytes());
    }
}
