//! A deployment around one emulated device: its maker, a service provider, and a real TAM.
//!
//! The TAM is the program `otrp-tam`, a process of its own that the guest reaches over HTTP. What
//! it wants on the device is one file, which [`Deployment::desire`] writes anew.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use otrp_keys::ocsp::Period;

use crate::harness::guest::{Guest, HOST};
use crate::harness::image::Builds;
use crate::scenario::operator::{self, OCSP_HOURS};

/// The security domain of the sample.
pub const DOMAIN: &str = "com.example.domain";
/// Its service provider.
pub const SERVICE_PROVIDER: &str = "com.example";
/// The sample, as the TAM calls it.
pub const SIGNER: &str = "com.example.signer";
/// The sample, as the TEE calls it.
pub const SIGNER_UUID: &str = "7265664a-f108-4bd7-af1c-86d044babbac";

/// The OCSP responses of the TAM and of its issuing CA.
const OCSP_FILES: [&str; 2] = ["tam.ocsp", "tam-ca.ocsp"];
const TAM_START_TIMEOUT: Duration = Duration::from_secs(20);

/// What the TAM is to want on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Desired {
    /// Nothing at all.
    Nothing,
    /// The security domain alone.
    Domain,
    /// The security domain with the sample.
    Signer {
        /// 1, signed by the provider's RSA key, or higher, signed by its elliptic one, whose
        /// certificate joins the domain with it; the code is that of version 2 from there on.
        version: u32,
        /// What the provider sends with it.
        personalization: Option<&'static str>,
    },
}

/// The family of algorithms that a TAM and its devices have keys for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Suite {
    /// P-256 throughout.
    #[default]
    Elliptic,
    /// RSA throughout: the broker is built with `OTRP_KEY_TYPE=rsa`.
    Rsa,
}

impl Suite {
    /// The variant of the image to boot.
    pub const fn image(self) -> &'static str {
        match self {
            Self::Elliptic => "development",
            Self::Rsa => "rsa",
        }
    }

    /// The TAM, by the name of its files among the development keys.
    pub const fn tam(self) -> &'static str {
        match self {
            Self::Elliptic => "tam",
            Self::Rsa => "tam-rsa",
        }
    }

    /// The TAM's identifier, as in its certificate.
    pub const fn tam_id(self) -> &'static str {
        match self {
            Self::Elliptic => otrp_keys::development::TAM_ID,
            Self::Rsa => otrp_keys::development::RSA_TAM_ID,
        }
    }
}

/// Keys, a TAM and what it wants.
#[derive(Debug)]
pub struct Deployment {
    suite: Suite,
    /// The TAM's name among the development keys.
    name: &'static str,
    builds: Builds,
    keys: PathBuf,
    folder: PathBuf,
    tam: Option<Tam>,
}

/// A running TAM; it ends with this value.
#[derive(Debug)]
struct Tam {
    process: Child,
    port: u16,
}

impl Drop for Tam {
    fn drop(&mut self) {
        // Fails only when the process has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Deployment {
    /// Creates OCSP responses for the TAM and starts it; its files go to `folder`.
    pub fn start(builds: &Builds, folder: PathBuf, suite: Suite) -> Result<Self> {
        Self::start_as(suite.tam(), builds, folder, suite)
    }

    /// The same with the TAM of this name among the development keys, whose keys are of `suite`.
    pub fn start_as(
        name: &'static str,
        builds: &Builds,
        folder: PathBuf,
        suite: Suite,
    ) -> Result<Self> {
        let keys = std::path::absolute(builds.keys())?;
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let folder = std::path::absolute(folder)?;
        let mut deployment = Self { suite, name, builds: builds.clone(), keys, folder, tam: None };
        deployment.answer_ocsp()?;
        deployment.desire(Desired::Nothing)?;
        deployment.tam = Some(deployment.start_tam()?);
        Ok(deployment)
    }

    /// The algorithms in use.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The development keys.
    pub fn keys(&self) -> &Path {
        &self.keys
    }

    /// Where the TAM keeps its files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The TAM's URL as the guest sees it.
    pub fn url(&self) -> Result<String> {
        let tam = self.tam.as_ref().context("the TAM is down")?;
        Ok(format!("http://{HOST}:{}/otrp", tam.port))
    }

    /// What the TAM has logged.
    pub fn tam_log(&self) -> String {
        fs::read_to_string(self.folder.join("tam.log")).unwrap_or_default()
    }

    /// The sample's program in a version.
    pub fn sample(&self, version: u32) -> Result<Vec<u8>> {
        self.builds.sample(&format!("signer-v{}.elf", version.min(2)))
    }

    /// Signs a version of the sample as its service provider; returns the name of the file.
    fn sign_sample(&self, version: u32) -> Result<String> {
        let file = format!("signer-v{version}.ta");
        let path = self.folder.join(&file);
        if !path.exists() {
            let name = if version == 1 { "sp-rsa" } else { "sp-ec" };
            let key = otrp_keys::file::read_key(&self.keys.join(format!("{name}.key.pem")))?;
            let elf = self.sample(version)?;
            let image = otrp_keys::image::sign(&key, None, SIGNER_UUID.parse()?, version, &elf)?;
            fs::write(&path, image).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(file)
    }

    /// Writes the OCSP responses that the TAM staples, as a deployment's responders would send
    /// them: the guest's clock is the host's.
    fn answer_ocsp(&self) -> Result<()> {
        let period = Period::hours(OCSP_HOURS);
        let responses = otrp_keys::development::responses(&self.keys, self.name, period)?;
        for (name, response) in OCSP_FILES.into_iter().zip(responses) {
            let path = self.folder.join(name);
            fs::write(&path, response)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// Changes the desired state. The TAM reads the file again for each message.
    pub fn desire(&self, desired: Desired) -> Result<()> {
        let (keys, tam) = (self.keys.display(), self.name);
        let mut text = format!(
            "[tam]\nkey = \"{keys}/{tam}.key.pem\"\nchain = \"{keys}/{tam}.chain.pem\"\n\
             tee_roots = [\"{keys}/tee-root.pem\"]\nocsp = {OCSP_FILES:?}\n\
             ta_encryption = \"A256GCM\"\n"
        );
        if desired != Desired::Nothing {
            let mut certificates = format!("\"{keys}/sp-rsa.der\"");
            if !matches!(desired, Desired::Signer { version: 1, .. }) {
                certificates += &format!(", \"{keys}/sp-ec.der\"");
            }
            text += &format!(
                "\n[[sd]]\nname = \"{DOMAIN}\"\nspid = \"{SERVICE_PROVIDER}\"\n\
                 certificates = [{certificates}]\n"
            );
        }
        if let Desired::Signer { version, personalization } = desired {
            let file = self.sign_sample(version)?;
            text += &format!("\n[[sd.ta]]\nid = \"{SIGNER}\"\nfile = \"{file}\"\n");
            if let Some(data) = personalization {
                // Named for its content: the TAM may be reading the one from before.
                let name = format!("personalization-{}.txt", digest(data.as_bytes()));
                fs::write(self.folder.join(&name), data)?;
                text += &format!("personalization = \"{name}\"\n");
            }
        }
        let new = self.folder.join("desired.toml.new");
        fs::write(&new, text).with_context(|| format!("cannot write {}", new.display()))?;
        Ok(fs::rename(&new, self.folder.join("desired.toml"))?)
    }

    fn start_tam(&self) -> Result<Tam> {
        let port = free_port()?;
        let log = File::create(self.folder.join("tam.log"))?;
        let program = beside_this_program("otrp-tam")?;
        let process = Command::new(&program)
            .arg("serve")
            .arg("--config")
            .arg(self.folder.join("desired.toml"))
            .arg("--listen")
            .arg(format!("127.0.0.1:{port}"))
            .arg("--state")
            .arg(self.folder.join("tam.redb"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut tam = Tam { process, port };
        let deadline = Instant::now() + TAM_START_TIMEOUT;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = tam.process.try_wait()? {
                bail!("otrp-tam ended with {status}:\n{}", self.tam_log());
            }
            ensure!(Instant::now() < deadline, "otrp-tam does not listen:\n{}", self.tam_log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(tam)
    }

    /// Provisions the device's TEE with its certificate.
    pub fn provision(&self, guest: &mut Guest) -> Result<()> {
        operator::provision(guest, &self.keys)
    }

    /// The command in the guest that makes the agent ask the TAM for work until there is none.
    pub fn request(&self) -> Result<String> {
        Ok(format!("otrp-agent request {}", self.url()?))
    }

    /// Makes the agent ask the TAM for work until there is none; the agent's lines, one for each message.
    pub fn converge(&self, guest: &mut Guest) -> Result<Vec<String>> {
        let output = guest.run(&self.request()?)?.success()?;
        Ok(output.text().lines().map(str::to_owned).collect())
    }
}

impl Deployment {
    /// Verifies a saved message with `otrp-tam open` and what the TAM remembers of its devices; returns
    /// what it prints.
    pub fn open(&self, message: &Path) -> Result<String> {
        let output = Command::new(beside_this_program("otrp-tam")?)
            .arg("open")
            .arg("--config")
            .arg(self.folder.join("desired.toml"))
            .arg("--state")
            .arg(self.folder.join("tam.redb"))
            .arg(message)
            .output()?;
        ensure!(
            output.status.success(),
            "otrp-tam refuses {}: {}",
            message.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// SHA-256 in hexadecimal.
fn digest(bytes: &[u8]) -> String {
    hex::encode(openssl::sha::sha256(bytes))
}

/// A port of the loopback that nothing listens on.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A program of this workspace, in the folder that this one was built to.
pub fn beside_this_program(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    // A test's program lies one folder deeper.
    let found = this.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    let found = found.into_iter().find(|path| path.is_file());
    found.with_context(|| format!("{name} is not built; `make run` builds it"))
}
