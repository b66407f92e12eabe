//! The samples of the draft's appendix A, and the repairs that make them readable.

macro_rules! samples {
    ($($name:literal)*) => {
        /// Each sample, as printed.
        pub const SAMPLES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!($name, ".json"))),)*];
    };
}

samples! {
    "GetDeviceStateTBSRequest"
    "GetDeviceStateRequest"
    "dsi"
    "GetDeviceTEEStateTBSResponse"
    "GetDeviceStateResponse"
    "CreateSDTBSRequest"
    "CreateSDRequest"
    "CreateSDTBSResponse"
    "CreateSDResponse"
    "UpdateSDTBSRequest"
    "UpdateSDTBSResponse"
    "DeleteSDTBSRequest"
    "DeleteSDTBSRequest-encrypted"
    "DeleteSDRequest"
    "DeleteSDTBSResponse"
    "DeleteSDTBSResponse-encrypted"
    "DeleteSDResponse"
    "InstallTATBSRequest"
    "InstallTATBSResponse"
    "UpdateTATBSRequest"
    "UpdateTARequest"
    "UpdateTATBSResponse"
    "UpdateTAResponse"
    "DeleteTATBSRequest"
    "DeleteTARequest"
    "DeleteTATBSResponse"
    "DeleteTAResponse"
}

/// A sample as printed.
pub fn printed(name: &str) -> &'static str {
    SAMPLES.iter().find(|(known, _)| *known == name).unwrap().1
}

/// A sample whose strings are each on one line.
pub fn joined(name: &str) -> String {
    let mut joined = String::new();
    let mut inside = false;
    let mut at_line_start = false;
    for char in printed(name).chars() {
        inside ^= char == '"';
        at_line_start = inside && (char == '\n' || (at_line_start && char == ' '));
        if !at_line_start {
            joined.push(char);
        }
    }
    joined
}

/// A joined sample without remarks, and with the commas of JSON.
pub fn repaired(name: &str) -> String {
    let joined = joined(name).replace("ENCRYPTED ", "");
    let lines = joined.lines().map(|line| line.split(" //").next().unwrap());
    let mut repaired = String::new();
    let mut inside = false;
    // The last character outside of strings that is not a blank.
    let mut last = ' ';
    for char in lines.flat_map(|line| line.trim_end().chars().chain(['\n'])) {
        let comma = repaired.trim_end().len().saturating_sub(1);
        if !inside && char == '"' && last == '"' {
            repaired.push(',');
        } else if !inside && char == '}' && last == ',' {
            repaired.remove(comma);
        }
        inside ^= char == '"';
        if !inside && !char.is_whitespace() {
            last = char;
        }
        repaired.push(char);
    }
    repaired
}
