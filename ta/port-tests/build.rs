//! Links the port tests as a trusted application.

#[cfg(feature = "ta")]
use otrp_build_support::{Application, MULTI_SESSION, SINGLE_INSTANCE};

#[cfg(feature = "ta")]
const PORT_TESTS: Application = Application {
    uuid: "7fc3b03e-d5b8-45c5-94cb-5b36ec23a5da",
    flags: SINGLE_INSTANCE | MULTI_SESSION,
    stack: 64 * 1024,
    // The largest TA that is installed raw, and the report.
    heap: 2 * 1024 * 1024 + 256 * 1024,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[cfg(feature = "ta")]
    PORT_TESTS.build()?;
    Ok(())
}
