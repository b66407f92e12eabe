//! The agent's reading of messages, hostile ones among them.

use otrp_agent::message::{Outcome, TaName, for_tam, outcome, request_name, ta_query};

#[test]
fn names_are_read_from_whatever_comes() {
    let long = format!("{{\"{}\":0}}", "x".repeat(100));
    let deep = format!("{{\"InstallTARequest\":{}", "[".repeat(100_000));
    for (request, expected) in [
        (r#"{"InstallTARequest":{}}"#, "InstallTA"),
        (" \r\n\t{ \"CreateSDRequest\": ", "CreateSD"),
        (r#"{"GetDeviceTEEStateRequest":{}}"#, "GetDeviceTEEState"),
        (deep.as_str(), "InstallTA"),
        (r#"{"Other":{}}"#, "Other"),
        ("{\"\u{1b}[2J\":0}", "unknown message"),
        (r#"{"\u001b[2J":0}"#, r"\u{1b}[2J"),
        (long.as_str(), &"x".repeat(40)),
        ("", "unknown message"),
        ("{", "unknown message"),
        ("{}", "unknown message"),
        ("[\"a\"]", "unknown message"),
        ("{\"a", "unknown message"),
    ] {
        assert_eq!(request_name(request.as_bytes()), expected);
    }
    assert_eq!(request_name(b"{\"\xff\":0}"), "unknown message");
}

#[test]
fn only_a_device_state_is_wrapped() {
    let state = br#"{"GetDeviceTEEStateResponse": {"payload":"x"} }"#;
    let expected =
        br#"{"GetDeviceStateResponse":[{"GetDeviceTEEStateResponse": {"payload":"x"} }]}"#;
    assert_eq!(for_tam(state.to_vec()), expected);
    for other in [
        br#"{"CreateSDResponse":{"GetDeviceTEEStateResponse":1}}"#.as_slice(),
        br#"{"GetDeviceStateResponse":[]}"#,
        b"",
        b"\xff",
    ] {
        assert_eq!(for_tam(other.to_vec()), other);
    }
}

#[test]
fn outcomes_are_read_from_the_signed_part() {
    // The payloads were encoded with: printf %s '{"XTBSResponse":...}' | basenc --base64url
    let deep = "[".repeat(100_000);
    for (reply, expected) in [
        // {"XTBSResponse":{"status":"pass"}}
        (
            r#"{"XResponse":{"payload":"eyJYVEJTUmVzcG9uc2UiOnsic3RhdHVzIjoicGFzcyJ9fQ"}}"#,
            Outcome::Pass,
        ),
        // {"XTBSResponse":{"status":"fail"}}
        (
            r#"{"XResponse":{"payload":"eyJYVEJTUmVzcG9uc2UiOnsic3RhdHVzIjoiZmFpbCJ9fQ"}}"#,
            Outcome::Fail("without a reason".to_owned()),
        ),
        // {"XTBSResponse":{"status":"fail","content":{}}}
        (
            r#"{"XResponse":{"payload":"eyJYVEJTUmVzcG9uc2UiOnsic3RhdHVzIjoiZmFpbCIsImNvbnRlbnQiOnt9fX0"}}"#,
            Outcome::Sealed,
        ),
        // {"XTBSResponse":{"status":"other"}}
        (
            r#"{"XResponse":{"payload":"eyJYVEJTUmVzcG9uc2UiOnsic3RhdHVzIjoib3RoZXIifX0"}}"#,
            Outcome::Unclear,
        ),
        (r#"{"XResponse":{"payload":"%%%"}}"#, Outcome::Unclear),
        (r#"{"XResponse":{"status":"pass"}}"#, Outcome::Unclear),
        (r#"{"XResponse":[]}"#, Outcome::Unclear),
        ("{}", Outcome::Unclear),
        ("", Outcome::Unclear),
        (deep.as_str(), Outcome::Unclear),
    ] {
        assert_eq!(outcome(reply.as_bytes()), expected, "{}", &reply[..reply.len().min(80)]);
    }
}

#[test]
fn a_query_escapes_what_it_carries() {
    let name = |spid, taid| TaName { spid, taid, tamid: None, sdname: None };
    assert_eq!(ta_query(name("sp", "ta")), br#"{"TAQuery":{"spid":"sp","taid":"ta"}}"#);
    assert_eq!(ta_query(name("a\"b", "\n")), br#"{"TAQuery":{"spid":"a\"b","taid":"\n"}}"#);
    let told = TaName { tamid: Some("t"), sdname: Some("s"), ..name("sp", "ta") };
    let query: serde_json::Value = serde_json::from_slice(&ta_query(told)).unwrap();
    let members = serde_json::json!({ "spid": "sp", "taid": "ta", "tamid": "t", "sdname": "s" });
    assert_eq!(query, serde_json::json!({ "TAQuery": members }));
}
