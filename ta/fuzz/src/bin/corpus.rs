//! Makes the corpus anew: `cargo run -p otrp-fuzz --bin corpus`.

use std::fs::{create_dir_all, remove_dir_all, write};
use std::path::Path;

fn main() -> std::io::Result<()> {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (inputs, anchors) = otrp_fuzz::corpus();
    for (name, anchor) in ["p256", "rsa"].iter().zip(anchors) {
        write(crate_folder.join("anchors").join(name).with_extension("der"), anchor)?;
    }
    let corpus = crate_folder.join("corpus");
    if corpus.is_dir() {
        remove_dir_all(&corpus)?;
    }
    for (target, name, bytes) in inputs {
        let folder = corpus.join(target);
        create_dir_all(&folder)?;
        write(folder.join(name), bytes)?;
    }
    Ok(())
}
