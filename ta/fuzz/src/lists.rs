//! The lists in a maker's folder of anchors.

use std::fmt::Display;
use std::str::from_utf8;

use otrp_trust::lists::{Evicted, Mistake, Name, evicted, floor_epoch, names, reserved};
use otrp_wire::id::TamId;

/// Reads the list that the first byte chooses. What is accepted has an entry for each line that is
/// not empty and no comment, each as devices compare it, and is read again as it is written.
pub fn lists(data: &[u8]) {
    let Some((choice, text)) = data.split_first() else { return };
    let Ok(text) = from_utf8(text) else { return };
    match choice % 4 {
        0 => {
            let Some(names) = accepted(text, names(text), Vec::len) else { return };
            names.iter().for_each(spelled);
            assert_eq!(self::names(&written(&names)).as_ref(), Ok(&names));
        }
        1 => {
            let Some(listed) = accepted(text, evicted(text), Vec::len) else { return };
            let (lines, listed): (Vec<_>, Vec<_>) = listed.into_iter().unzip();
            assert!(lines.is_sorted() && lines.last().is_none_or(|line| *line <= text.len()));
            for entry in &listed {
                if let Evicted::Tam(id) = entry {
                    same_name(id);
                }
            }
            let again = evicted(&written(&listed)).expect("what was written can be read");
            assert!(again.into_iter().map(|(_, entry)| entry).eq(listed));
        }
        2 => drop(accepted(text, reserved(text), Vec::len)),
        _ => drop(accepted(text, floor_epoch(text), |_| 1)),
    }
}

/// What was read, unless there is a mistake in one of the lines.
fn accepted<T>(text: &str, read: Result<T, Mistake>, count: fn(&T) -> usize) -> Option<T> {
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    match read {
        Ok(list) => {
            let meant = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).count();
            assert_eq!(count(&list), meant, "lines were left out");
            Some(list)
        }
        Err(mistake) => {
            assert!((1..=lines.count().max(1)).contains(&mistake.line), "{mistake:?}");
            None
        }
    }
}

fn written(entries: &[impl Display]) -> String {
    entries.iter().map(|entry| format!("{entry}\n")).collect()
}

/// A name is in the one spelling, and ends where names of its kind end.
fn spelled(name: &Name) {
    match name {
        Name::Uri(uri) => {
            same_name(uri);
            let (_, rest) = uri.split_once(':').expect("a scheme");
            assert!(!rest.is_empty() && !rest.starts_with("///"), "{uri} covers every host");
            assert!(!rest.starts_with('/') || rest.starts_with("//"), "{uri} covers every host");
        }
        Name::Dns(name) | Name::DnsBelow(name) => {
            same_name(name);
            assert!(!name.contains([':', '*', '/']) && !name.starts_with('.'), "{name}");
        }
        Name::Oid(arcs) => {
            same_name(arcs);
            assert!(arcs.split('.').all(|arc| arc.bytes().all(|it| it.is_ascii_digit())), "{arcs}");
        }
    }
}

fn same_name(name: &str) {
    assert_eq!(TamId::new(name).as_ref().map(TamId::as_str), Some(name));
}
