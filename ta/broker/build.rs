//! Links the broker as a trusted application and compiles its trust anchors in.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use otrp_build_support::{Application, INSTANCE_KEEP_ALIVE, MULTI_SESSION, SINGLE_INSTANCE};
use otrp_trust::Build;

const BROKER: Application = Application {
    uuid: "9e043ec0-1043-415e-853d-690a6d341054",
    flags: SINGLE_INSTANCE | MULTI_SESSION | INSTANCE_KEEP_ALIVE,
    stack: 64 * 1024,
    heap: HEAP,
};

/// The longest reply, 61 KiB; of the longest message 36 KiB and 32 KiB for tags; and what OP-TEE's library
/// takes. `make size` measures it.
const HEAP: u32 = 140 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    BROKER.build()?;
    for name in otrp_trust::VARIABLES {
        println!("cargo:rerun-if-env-changed={name}");
    }
    if let Ok(directory) = env::var(otrp_trust::DIRECTORY) {
        println!("cargo:rerun-if-changed={}", Path::new(&directory).display());
    }
    // Times of files do not always change with their contents; who builds may pass a digest of these.
    println!("cargo:rerun-if-env-changed=OTRP_TRUST_CONTENTS");
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let source = match Build::read(|name| env::var(name).ok(), now) {
        Ok(build) => build.source(),
        // The library is also built for other applications, which need no anchors.
        Err(error) => format!("compile_error!({:?});\n", error.to_string()),
    };
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("trust.rs"), source)?;
    Ok(())
}
