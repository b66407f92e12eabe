//! `otrp-keys`: makes development keys, signs applications, certifies TEEs.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use otrp_keys::image::{self, Algorithm};
use otrp_keys::{Uuid, development, device, file, show};

/// Makes and uses the keys and certificates of an OTrP deployment.
#[derive(Parser)]
#[command(version, subcommand_required = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a whole PKI for development: TAM, device maker and service providers.
    Init {
        /// The folder to make.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Replace the development PKI that is there.
        #[arg(long)]
        force: bool,
    },
    /// Sign a trusted application as OP-TEE's sign_encrypt.py does, with RSA or P-256.
    SignTa {
        /// The signing key, PEM.
        #[arg(long, value_name = "PEM")]
        key: PathBuf,
        /// The application's UUID.
        #[arg(long)]
        uuid: Uuid,
        /// The version; a device refuses one lower than it has seen.
        #[arg(long, value_name = "NUMBER")]
        ta_version: u32,
        /// The application, a stripped ELF.
        #[arg(long = "in", value_name = "ELF")]
        elf: PathBuf,
        /// The signed file to write.
        #[arg(long, value_name = "TA")]
        out: PathBuf,
        /// The signature algorithm, where the key has a choice.
        #[arg(long, value_enum)]
        algorithm: Option<AlgorithmName>,
    },
    /// Issue a TEE certificate for a device's certification request.
    Certify {
        /// The CA: reads CA.key.pem and CA.chain.pem (the CA first, its root last).
        #[arg(long, value_name = "CA")]
        ca: PathBuf,
        /// The request, PKCS#10 in DER or PEM.
        #[arg(long, value_name = "FILE")]
        csr: PathBuf,
        /// The chain to write, PEM, the device first and the root last.
        #[arg(long, value_name = "PEM")]
        out: PathBuf,
    },
    /// Describe a certificate, request, key or signed application.
    Show {
        /// The file.
        file: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum AlgorithmName {
    /// RSASSA-PSS with SHA-256, OP-TEE's default.
    RsaPss,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RsaPkcs1,
    /// ECDSA P-256 with SHA-256.
    Ecdsa,
}

impl From<AlgorithmName> for Algorithm {
    fn from(name: AlgorithmName) -> Self {
        match name {
            AlgorithmName::RsaPss => Self::RsaPssSha256,
            AlgorithmName::RsaPkcs1 => Self::RsaPkcs1Sha256,
            AlgorithmName::Ecdsa => Self::EcdsaP256Sha256,
        }
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("otrp-keys: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Init { out, force } => {
            development::create(&out, force, &mut |line| println!("  {line}"))?;
            println!("{} holds a development PKI, not for production", out.display());
        }
        Command::SignTa { key, uuid, ta_version, elf, out, algorithm } => {
            let application = file::read(&elf)?;
            ensure!(application.starts_with(b"\x7fELF"), "{} is not an ELF file", elf.display());
            let algorithm = algorithm.map(Algorithm::from);
            let signed =
                image::sign(&*file::read_key(&key)?, algorithm, uuid, ta_version, &application)
                    .with_context(|| format!("cannot sign with {}", key.display()))?;
            file::write(&out, &signed)?;
            println!("{}: {uuid} version {ta_version}, {} bytes", out.display(), signed.len());
        }
        Command::Certify { ca, csr, out } => {
            let chain = device::Authority::read(&ca)
                .and_then(|authority| authority.certify(&file::read(&csr)?))
                .with_context(|| format!("cannot certify {}", csr.display()))?;
            file::write(&out, &file::chain_pem(&chain)?)?;
            println!("{}: {} certificates, the device's first", out.display(), chain.len());
        }
        Command::Show { file } => print!("{}", show::describe(&file)?),
    }
    Ok(())
}
