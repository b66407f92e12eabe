//! The manifest: what a broker was built to trust, as text in a section of its ELF.
//!
//! With it the file that goes into an image can be compared with what the image should trust. No loader
//! maps the section, and `objcopy --strip-unneeded` keeps it.
//!
//! A line is a keyword and its value; the first line has the version of the format:
//!
//! ```text
//! otrp-broker 1
//! kind production
//! tam-root 0011…ff uri:https://tam.example/
//! tee-root 0011…ff
//! tee-name optee
//! key-type p256
//! rsa1_5 on
//! built-at 1800000000
//! floor-epoch 0
//! evicted https://gone.example
//! reserved 7265664a-f108-4bd7-af1c-86d044babbac
//! ```
//!
//! Roots are the SHA-256 of their certificates, and a root of TAMs is followed by the names that it
//! speaks for. Roots of TAMs and the last two kinds of lines are repeated for each entry.

use std::fmt::Write as _;

use crate::Build;

/// The name of the section.
pub const SECTION: &str = ".otrp.trust";
/// The first line.
pub const HEADER: &str = "otrp-broker 1";

impl Build {
    /// The manifest of a broker of this build.
    #[must_use]
    pub fn manifest(&self) -> String {
        let Self { folder, development, tee_name, key_type, rsa1_5, built_at } = self;
        let mut text = format!("{HEADER}\n");
        let mut line = |word: &str, rest: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{word} {rest}");
        };
        line("kind", if *development { "development" } else { "production" });
        for root in &folder.tams {
            let names = root.names.iter().map(|name| format!(" {name}")).collect::<String>();
            line("tam-root", &(root.certificate.fingerprint() + &names));
        }
        line("tee-root", &folder.tee.fingerprint());
        line("tee-name", &tee_name.escape_debug().to_string());
        line("key-type", key_type.choice());
        line("rsa1_5", if *rsa1_5 { "on" } else { "off" });
        line("built-at", &built_at.to_string());
        line("floor-epoch", &folder.floor_epoch.to_string());
        for entry in &folder.evicted {
            line("evicted", &entry.to_string());
        }
        for uuid in &folder.reserved {
            line("reserved", &dashed(uuid));
        }
        text
    }

    /// The source that puts the manifest into its section. The section of a `static` would be mapped.
    pub(crate) fn manifest_source(&self) -> String {
        let octets: Vec<String> = self.manifest().bytes().map(|octet| octet.to_string()).collect();
        format!(
            "core::arch::global_asm!(
    \".pushsection {SECTION},\\\"\\\",%progbits\",
    \".byte {}\",
    \".popsection\",
);
",
            octets.join(",")
        )
    }
}

fn dashed(uuid: &[u8; 16]) -> String {
    let mut text = hex::encode(uuid);
    for position in [20, 16, 12, 8] {
        text.insert(position, '-');
    }
    text
}
