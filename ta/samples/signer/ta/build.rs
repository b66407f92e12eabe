//! Links the sample as a trusted application.

use otrp_build_support::{Application, MULTI_SESSION, SINGLE_INSTANCE};

const SIGNER: Application = Application {
    uuid: "7265664a-f108-4bd7-af1c-86d044babbac",
    // One instance, so that two clients cannot count past each other; it ends with the last
    // session, so that an update is what the next session opens.
    flags: SINGLE_INSTANCE | MULTI_SESSION,
    stack: 32 * 1024,
    heap: 32 * 1024,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    SIGNER.build()
}
