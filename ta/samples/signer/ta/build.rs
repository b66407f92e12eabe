//! Links the sample as a trusted application.

#[path = "../../../link.rs"]
mod link;

const SIGNER: link::Application = link::Application {
    uuid: "7265664a-f108-4bd7-af1c-86d044babbac",
    // One instance, so that two clients cannot count past each other; it ends with the last
    // session, so that an update is what the next session opens.
    flags: link::SINGLE_INSTANCE | link::MULTI_SESSION,
    stack: 32 * 1024,
    heap: 32 * 1024,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    SIGNER.build()
}
