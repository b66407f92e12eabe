//! The lists in a folder of anchors: one entry on each line.
//!
//! Empty lines, and lines that begin with `#`, are ignored; anything else that is not understood is a
//! [`Mistake`], because an entry without effect is worse than a build that stops.

use std::fmt;
use std::iter::Enumerate;
use std::str::Lines;

use otrp_wire::id::TamId;

/// TAM identifiers that a root speaks for, in the spelling that identifiers are compared in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// `uri:https://tam.example/`: this URI, and those that extend it after its host or after a
    /// component of its path.
    Uri(String),
    /// `dns:example.com`: this dNSName.
    Dns(String),
    /// `dns:*.example.com`: each dNSName below this one, and not this one.
    DnsBelow(String),
    /// `oid:1.3.6.1.4.1.99999`: this registeredID, and those below it.
    Oid(String),
}

/// A TAM, or all TAMs of a root, whose objects devices delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evicted {
    /// `https://tam.example`: the TAM of this identifier.
    Tam(String),
    /// `root:` and 64 hexadecimal digits: every TAM below the root whose certificate has this SHA-256.
    Root([u8; 32]),
}

/// What is wrong with a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it, and what would be right.
    pub what: &'static str,
}

/// Something in a list, and its line, from 1.
pub type Entry<T> = (usize, T);

/// Reads the names that a root speaks for.
///
/// # Errors
/// [`Mistake`], also where there is no name.
pub fn names(text: &str) -> Result<Vec<Name>, Mistake> {
    let names = entries(text, name)?;
    if names.is_empty() {
        let what = "no name: a root that speaks for every TAM has no such file";
        return Err(Mistake { line: 1, what });
    }
    Ok(names.into_iter().map(|(_, name)| name).collect())
}

/// Reads the list of evicted TAMs and roots.
///
/// # Errors
/// [`Mistake`].
pub fn evicted(text: &str) -> Result<Vec<Entry<Evicted>>, Mistake> {
    entries(text, |line| match behind(line, "root:") {
        Some(digits) => {
            // `openssl x509 -fingerprint` writes colons between the octets.
            let digits = digits.trim().replace(':', "");
            let what = "root: is followed by the 64 hexadecimal digits of a SHA-256";
            hexadecimal(&digits).map(Evicted::Root).ok_or(what)
        }
        None if ["uri:", "dns:", "oid:"].iter().any(|kind| behind(line, kind).is_some()) => {
            Err("a TAM's identifier stands alone, without uri:, dns: or oid:")
        }
        None if hexadecimal::<32>(&line.replace(':', "")).is_some() => {
            Err("root: must be followed by the SHA-256 of a root's certificate")
        }
        None if line.contains(|char: char| char.is_whitespace() || char == '*') => {
            Err("a line is one TAM's identifier, or root: and the SHA-256 of a certificate")
        }
        None => spelled(line).map(Evicted::Tam),
    })
}

/// Reads the list of reserved UUIDs.
///
/// # Errors
/// [`Mistake`].
pub fn reserved(text: &str) -> Result<Vec<[u8; 16]>, Mistake> {
    let uuids = entries(text, |line| {
        let what = "not a UUID like 7265664a-f108-4bd7-af1c-86d044babbac";
        let parts: Vec<&str> = line.split('-').collect();
        let lengths = parts.iter().map(|part| part.len());
        if !lengths.eq([8, 4, 4, 4, 12]) {
            return Err(what);
        }
        hexadecimal(&parts.concat()).ok_or(what)
    })?;
    Ok(uuids.into_iter().map(|(_, uuid)| uuid).collect())
}

/// Reads the epoch of the times that devices keep.
///
/// # Errors
/// [`Mistake`], unless there is one number.
pub fn floor_epoch(text: &str) -> Result<u32, Mistake> {
    let what = "one whole number from 0 to 4294967295";
    let epochs = entries(text, |line| {
        let digits = line.bytes().all(|byte| byte.is_ascii_digit());
        line.parse().ok().filter(|_| digits).ok_or(what)
    })?;
    match epochs[..] {
        [(_, epoch)] => Ok(epoch),
        [] => Err(Mistake { line: 1, what }),
        [_, (line, _), ..] => Err(Mistake { line, what }),
    }
}

/// What follows a keyword, which may be in capitals, like the scheme of a URI.
fn behind<'l>(line: &'l str, keyword: &str) -> Option<&'l str> {
    let (start, rest) = line.split_at_checked(keyword.len())?;
    start.eq_ignore_ascii_case(keyword).then_some(rest)
}

/// The entries of a list.
fn entries<T>(
    text: &str,
    read: impl Fn(&str) -> Result<T, &'static str>,
) -> Result<Vec<Entry<T>>, Mistake> {
    let mut entries = Vec::new();
    for (line, text) in numbered(text) {
        let text = text.trim();
        if !text.is_empty() && !text.starts_with('#') {
            entries.push((line, read(text).map_err(|what| Mistake { line, what })?));
        }
    }
    Ok(entries)
}

/// Each line with its number, from 1, without a byte order mark.
fn numbered(text: &str) -> impl Iterator<Item = Entry<&str>> {
    let lines: Enumerate<Lines<'_>> = text.trim_start_matches('\u{feff}').lines().enumerate();
    lines.map(|(index, line)| (index.saturating_add(1), line))
}

fn name(line: &str) -> Result<Name, &'static str> {
    if let Some(uri) = line.strip_prefix("uri:") {
        let (scheme, rest) = uri.split_once(':').unwrap_or_default();
        let authority = rest.strip_prefix("//").map(|rest| rest.split(['/', '?', '#']).next());
        let has_host = match authority {
            Some(authority) => authority.is_some_and(|authority| {
                authority.rsplit('@').next().is_some_and(|host| !host.is_empty())
            }),
            // `https:/` would be the beginning of every URI.
            None => !rest.starts_with('/'),
        };
        let is_scheme = scheme.starts_with(|char: char| char.is_ascii_alphabetic())
            && scheme.chars().all(|char| char.is_ascii_alphanumeric() || "+-.".contains(char));
        if !is_scheme
            || rest.is_empty()
            || !has_host
            || !uri.bytes().all(|it| it.is_ascii_graphic())
        {
            return Err("uri: is followed by a URI with a host, such as https://tam.example/");
        }
        return spelled(uri).map(Name::Uri);
    }
    if let Some(name) = line.strip_prefix("dns:") {
        let (below, name) = match name.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, name),
        };
        if !is_dns_name(name) {
            return Err(
                "dns: is followed by a name such as tam.example, or *.example for those below",
            );
        }
        return spelled(name).map(if below { Name::DnsBelow } else { Name::Dns });
    }
    if let Some(arcs) = line.strip_prefix("oid:") {
        if !is_object_identifier(arcs) {
            return Err("oid: is followed by an object identifier such as 1.3.6.1.4.1.99999");
        }
        return spelled(arcs).map(Name::Oid);
    }
    Err("a line begins with uri:, dns: or oid:")
}

/// An identifier in the spelling that it is compared in.
fn spelled(identifier: &str) -> Result<String, &'static str> {
    let id = TamId::new(identifier);
    id.map(|id| id.as_str().to_owned())
        .ok_or("no TAM has such an identifier, or one of this length")
}

fn is_dns_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-' || it == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.split('.').all(is_label) && !last.bytes().all(|it| it.is_ascii_digit())
}

fn is_object_identifier(text: &str) -> bool {
    let is_arc = |arc: &str| {
        let digits = arc.bytes().all(|it| it.is_ascii_digit());
        digits && !arc.is_empty() && (arc == "0" || !arc.starts_with('0'))
    };
    text.contains('.') && text.starts_with(['0', '1', '2']) && text.split('.').all(is_arc)
}

/// The octets of exactly `2 * N` hexadecimal digits.
fn hexadecimal<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut octets = [0; N];
    hex::decode_to_slice(text, &mut octets).ok()?;
    Some(octets)
}

impl Name {
    /// The pattern as source, an `otrp_engine::trust::NamePattern`.
    pub(crate) fn source(&self) -> String {
        let (variant, text) = match self {
            Self::Uri(text) => ("Uri", text),
            Self::Dns(text) => ("Dns", text),
            Self::DnsBelow(text) => ("DnsBelow", text),
            Self::Oid(text) => ("Oid", text),
        };
        format!("otrp_engine::trust::NamePattern::{variant}({text:?})")
    }
}

impl Evicted {
    /// The entry as source, an `otrp_engine::trust::Evicted`.
    pub(crate) fn source(&self) -> String {
        match self {
            Self::Tam(id) => format!("otrp_engine::trust::Evicted::Tam({id:?})"),
            Self::Root(digest) => format!("otrp_engine::trust::Evicted::Root({digest:?})"),
        }
    }
}

/// A line of the list.
impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(uri) => write!(formatter, "uri:{uri}"),
            Self::Dns(name) => write!(formatter, "dns:{name}"),
            Self::DnsBelow(name) => write!(formatter, "dns:*.{name}"),
            Self::Oid(arcs) => write!(formatter, "oid:{arcs}"),
        }
    }
}

/// A line of the list.
impl fmt::Display for Evicted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tam(id) => formatter.write_str(id),
            Self::Root(digest) => write!(formatter, "root:{}", hex::encode(digest)),
        }
    }
}
