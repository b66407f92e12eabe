//! Links the port tests as a trusted application.

#[cfg(feature = "ta")]
#[path = "../link.rs"]
mod link;

#[cfg(feature = "ta")]
const PORT_TESTS: link::Application = link::Application {
    uuid: "7fc3b03e-d5b8-45c5-94cb-5b36ec23a5da",
    flags: link::SINGLE_INSTANCE | link::MULTI_SESSION,
    stack: 64 * 1024,
    // The largest TA that is installed raw, and the report.
    heap: 2 * 1024 * 1024 + 256 * 1024,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[cfg(feature = "ta")]
    PORT_TESTS.build()?;
    Ok(())
}
