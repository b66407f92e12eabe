//! Changes of bytes and of JSON that the fuzzer's bytes choose.
//!
//! Where the fuzzer's bytes have run out, every choice is the first one.

use std::sync::OnceLock;

use arbitrary::{Result, Unstructured};
use base64::Engine as _;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

/// The words that libFuzzer knows, too.
const DICTIONARY: &str = include_str!("../dictionary.txt");

/// True once in so many cases, and never when the bytes have run out.
pub(crate) fn once_in(u: &mut Unstructured<'_>, cases: u8) -> Result<bool> {
    Ok(u.int_in_range(1..=cases)? == cases)
}

/// Changes bytes in one to four places.
pub(crate) fn bytes(u: &mut Unstructured<'_>, text: &mut Vec<u8>) -> Result<()> {
    for _ in 0..=u.int_in_range(0..=3)? {
        let start = u.int_in_range(0..=text.len())?;
        let length = if once_in(u, 4)? { text.len() } else { 16 };
        let end = start + u.int_in_range(0..=length.min(text.len() - start))?;
        match u.int_in_range(0..=7)? {
            0 => {
                let bit = 1 << u.int_in_range(0..=7)?;
                text.iter_mut().skip(start).take(1).for_each(|byte| *byte ^= bit);
            }
            1 => {
                let new: u8 = u.arbitrary()?;
                text.iter_mut().skip(start).take(1).for_each(|byte| *byte = new);
            }
            2 => {
                let count = u.int_in_range(1..=16)?;
                let new = vec![u.arbitrary()?; count];
                text.splice(start..start, new);
            }
            3 => drop(text.drain(start..end)),
            4 => {
                let again = text[start..end].to_vec();
                text.splice(start..start, again);
            }
            5 => text.truncate(start),
            // In a string of JSON an ASCII character stays the same so.
            6 => {
                let byte = text.get(start..).and_then(<[u8]>::first);
                let escape = byte.map(|byte| format!("\\u{byte:04x}"));
                drop(
                    text.splice(
                        start..text.len().min(start + 1),
                        escape.unwrap_or_default().bytes(),
                    ),
                );
            }
            _ => drop(text.splice(start..start, word(u)?.bytes())),
        }
    }
    Ok(())
}

/// Changes a value, most often somewhere inside.
pub(crate) fn value(u: &mut Unstructured<'_>, json: &mut Value) -> Result<()> {
    if once_in(u, 8)? {
        *json = any(u)?;
        return Ok(());
    }
    match json {
        Value::Object(map) => members(u, map),
        Value::Array(list) => elements(u, list),
        Value::String(string) => text(u, string),
        other => {
            *other = any(u)?;
            Ok(())
        }
    }
}

/// Changes a member, most often its value.
pub(crate) fn members(u: &mut Unstructured<'_>, map: &mut Map<String, Value>) -> Result<()> {
    let names: Vec<String> = map.keys().cloned().collect();
    let choice = u.int_in_range(0..=7)?;
    if names.is_empty() || choice == 7 {
        map.insert(word(u)?.into(), any(u)?);
        return Ok(());
    }
    let name = u.choose(&names)?;
    match choice {
        5 => drop(map.remove(name)),
        6 => {
            let value = map.remove(name).unwrap_or_default();
            map.insert(word(u)?.into(), value);
        }
        _ => value(u, map.entry(name.clone()).or_insert(Value::Null))?,
    }
    Ok(())
}

fn elements(u: &mut Unstructured<'_>, list: &mut Vec<Value>) -> Result<()> {
    let choice = u.int_in_range(0..=7)?;
    if list.is_empty() || choice == 7 {
        list.push(any(u)?);
        return Ok(());
    }
    let index = u.int_in_range(0..=list.len() - 1)?;
    match choice {
        5 => drop(list.remove(index)),
        6 => list.insert(0, list[index].clone()),
        _ => value(u, &mut list[index])?,
    }
    Ok(())
}

/// Changes a text; where it is base64, what it stands for.
fn text(u: &mut Unstructured<'_>, text: &mut String) -> Result<()> {
    match u.int_in_range(0..=3)? {
        0 | 1 => {
            for engine in [URL_SAFE_NO_PAD, STANDARD] {
                if let Ok(decoded) = engine.decode(&text[..]) {
                    *text = changed(u, engine, decoded)?;
                    return Ok(());
                }
            }
            raw(u, text)
        }
        2 => raw(u, text),
        _ => {
            *text = word(u)?.into();
            Ok(())
        }
    }
}

/// Changes what base64 stands for: where that is JSON, perhaps one of its members.
fn changed(
    u: &mut Unstructured<'_>,
    engine: GeneralPurpose,
    mut decoded: Vec<u8>,
) -> Result<String> {
    match serde_json::from_slice(&decoded) {
        Ok(mut json @ Value::Object(_)) if u.arbitrary()? => {
            value(u, &mut json)?;
            decoded = json.to_string().into();
        }
        _ => bytes(u, &mut decoded)?,
    }
    Ok(engine.encode(decoded))
}

fn raw(u: &mut Unstructured<'_>, text: &mut String) -> Result<()> {
    let mut changed = text.clone().into_bytes();
    bytes(u, &mut changed)?;
    *text = String::from_utf8_lossy(&changed).into();
    Ok(())
}

fn any(u: &mut Unstructured<'_>) -> Result<Value> {
    Ok(match u.int_in_range(0..=7)? {
        0 => Value::from(word(u)?),
        1 => json!({ word(u)?: word(u)? }),
        2 => json!([word(u)?, word(u)?]),
        3 => Value::Null,
        4 => Value::from(u.arbitrary::<bool>()?),
        5 => Value::from(u.arbitrary::<i64>()?),
        6 => Value::from("x".repeat(u.int_in_range(0..=300)?)),
        // Deeper than any reader may recurse.
        _ => (0..100).fold(Value::Null, |inner, _| json!([inner])),
    })
}

fn word(u: &mut Unstructured<'_>) -> Result<&'static str> {
    static WORDS: OnceLock<Vec<String>> = OnceLock::new();
    // A backslash is two in libFuzzer's format.
    let quoted = |line: &str| line.split('"').nth(1).map(|word| word.replace(r"\\", r"\"));
    Ok(u.choose(WORDS.get_or_init(|| DICTIONARY.lines().filter_map(quoted).collect()))?)
}
