//! The sample messages of the draft's appendix A, sent as they are: each refused, and by what.
//!
//! Why each is refused where it is, and that it is good otherwise, is in the engine's tests of the
//! same samples; these rows are about the answer.

#[path = "../../../engine/tests/appendix_a/samples.rs"]
mod appendix_a;

use otrp_engine::error::Unanswerable;
use otrp_tam::jose::NotOpened;
use otrp_tam::response::{Refused, Reply};

use crate::bench::pki;
use crate::home::{Base, Refusals, home};
use appendix_a::{joined, printed, repaired};

const INVALID: &str = "ERR_REQUEST_INVALID";
const UNTRUSTED: &str = "ERR_TAM_NOT_TRUSTED";

#[test]
fn requests_of_the_samples_are_refused() {
    let mut refusals = Refusals::begin();
    let straight = |name: &str| repaired(name).replace("\" eyJ", "\"eyJ");
    let rows = [
        // By the TAM of the samples.
        ("GetDeviceStateRequest", UNTRUSTED),
        ("DeleteSDRequest", UNTRUSTED),
        ("UpdateTARequest", UNTRUSTED),
        ("DeleteTARequest", UNTRUSTED),
        // A header in curly quotes.
        ("CreateSDRequest", INVALID),
    ];
    for (name, code) in rows {
        // Lines inside strings.
        refusals.anonymous(name, INVALID, printed(name).as_bytes());
        refusals.anonymous(name, code, straight(name).as_bytes());
    }
    let with_remark = joined("CreateSDRequest");
    refusals.anonymous("a remark in CreateSDRequest", INVALID, with_remark.as_bytes());
    let with_blank = joined("UpdateTARequest");
    refusals.anonymous("a blank in UpdateTARequest", INVALID, with_blank.as_bytes());
    // What has not been signed is no message.
    for name in ["GetDeviceStateTBSRequest", "DeleteSDTBSRequest-encrypted", "dsi"] {
        let reply = refusals.unchanged(name, printed(name).as_bytes());
        assert_eq!(reply, Err(Unanswerable::NotARequest), "{name}");
    }
    for name in ["CreateSDResponse", "GetDeviceStateResponse"] {
        let reply = refusals.unchanged(name, repaired(name).as_bytes());
        assert_eq!(reply, Err(Unanswerable::NotARequest), "{name}");
    }
    refusals.end(Base::DeleteTa);
}

#[test]
fn answers_of_the_samples_are_refused_by_the_tam() {
    let outcome = |name: &str| {
        let Reply::Answer(answer) = Reply::read(repaired(name).as_bytes())? else {
            panic!("{name} is no answer")
        };
        answer.outcome(None, &pki().tam, &home().target.certificate)
    };
    let rows = [
        // A header in curly quotes.
        ("CreateSDResponse", Refused::Jose(NotOpened::Malformed)),
        // RS256 in a header that is right otherwise.
        ("DeleteSDResponse", Refused::Jose(NotOpened::Algorithm)),
        ("UpdateTAResponse", Refused::Jose(NotOpened::Algorithm)),
    ];
    for (name, refused) in rows {
        let printed = Reply::read(printed(name).as_bytes());
        assert!(matches!(printed, Err(Refused::Malformed(_))), "{name}: lines inside strings");
        assert_eq!(outcome(name).err(), Some(refused), "{name}");
    }
    // Payloads that are no JSON: lines inside strings, and octets that are no text.
    for name in ["GetDeviceStateResponse", "DeleteTAResponse"] {
        assert!(matches!(outcome(name), Err(Refused::Malformed(_))), "{name}");
    }
}
