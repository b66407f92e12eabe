//! Links the broker as a trusted application and compiles its trust anchors in.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

#[path = "link.rs"]
mod link;

const BROKER: link::Application = link::Application {
    uuid: "9e043ec0-1043-415e-853d-690a6d341054",
    flags: link::SINGLE_INSTANCE | link::MULTI_SESSION | link::INSTANCE_KEEP_ALIVE,
    stack: 64 * 1024,
    heap: HEAP,
};

/// One message, one reply, and 256 KiB for what OP-TEE's library and the engine's records take.
const HEAP: u32 = 4 * 1024 * 1024 + 64 * 1024 + 256 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    BROKER.build()?;
    let file = PathBuf::from(env::var("OUT_DIR")?).join("trust.rs");
    fs::write(file, trust()?)?;
    Ok(())
}

/// The source of the broker's `TRUST`.
fn trust() -> Result<String, Box<dyn Error>> {
    for name in
        ["OTRP_TRUST_DIR", "OTRP_TEE_NAME", "OTRP_KEY_TYPE", "OTRP_BUILT_AT", "SOURCE_DATE_EPOCH"]
    {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let Ok(directory) = env::var("OTRP_TRUST_DIR") else {
        // The library is also built for other applications, which need no anchors.
        return Ok("compile_error!(\"set OTRP_TRUST_DIR to the folder with tam-roots/*.der and \
                   tee-root.der (see keys/)\");\n"
            .to_owned());
    };
    let directory = Path::new(&directory).canonicalize()?;
    let tee_name = env::var("OTRP_TEE_NAME").unwrap_or_else(|_| "optee".to_owned());

    let mut source = String::from("/// What this broker trusts, from its build.\n");
    writeln!(source, "pub const TRUST: otrp_engine::trust::Trust = otrp_engine::trust::Trust {{")?;
    writeln!(source, "    tam_anchors: &[")?;
    for anchor in tam_anchors(&directory)? {
        writeln!(source, "        include_bytes!({anchor:?}),")?;
    }
    writeln!(source, "    ],")?;
    writeln!(source, "    tee_anchor: include_bytes!({:?}),", directory.join("tee-root.der"))?;
    writeln!(source, "    tee_name: {tee_name:?},")?;
    writeln!(source, "    rsa1_5: {},", rsa1_5()?)?;
    writeln!(source, "    built_at: {},", built_at()?)?;
    writeln!(source, "}};")?;
    writeln!(source, "/// What kind of key pairs this broker makes, from its build.")?;
    writeln!(source, "pub const KEY_TYPE: otrp_engine::platform::KeyType =")?;
    writeln!(source, "    otrp_engine::platform::KeyType::{};", key_type()?)?;
    Ok(source)
}

/// The kind of the TEE's key pairs: `OTRP_KEY_TYPE`, `p256` unless it says `rsa`.
fn key_type() -> Result<&'static str, Box<dyn Error>> {
    match env::var("OTRP_KEY_TYPE").as_deref() {
        Err(_) | Ok("" | "p256") => Ok("P256"),
        Ok("rsa") => Ok("Rsa2048"),
        Ok(other) => Err(format!("OTRP_KEY_TYPE={other} is neither p256 nor rsa").into()),
    }
}

/// Whether `RSA1_5` is accepted: `OTRP_RSA1_5`, `on` unless it says `off`.
fn rsa1_5() -> Result<bool, Box<dyn Error>> {
    match env::var("OTRP_RSA1_5").as_deref() {
        Err(_) | Ok("" | "on") => Ok(true),
        Ok("off") => Ok(false),
        Ok(other) => Err(format!("OTRP_RSA1_5={other} is neither on nor off").into()),
    }
}

fn tam_anchors(directory: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let folder = directory.join("tam-roots");
    println!("cargo:rerun-if-changed={}", folder.display());
    let mut anchors = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "der") {
            anchors.push(path);
        }
    }
    if anchors.is_empty() {
        return Err(format!("no .der file in {}", folder.display()).into());
    }
    // The order of a directory is arbitrary, that of a reproducible build is not.
    anchors.sort();
    Ok(anchors)
}

/// The build time in seconds since 1970: the floor under the normal world's clock.
fn built_at() -> Result<u64, Box<dyn Error>> {
    for name in ["SOURCE_DATE_EPOCH", "OTRP_BUILT_AT"] {
        if let Ok(text) = env::var(name) {
            return text.parse().map_err(|_| format!("{name}={text} is no number").into());
        }
    }
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}
