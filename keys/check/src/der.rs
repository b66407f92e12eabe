//! DER, read strictly (X.690, section 10): one form for each value, and nothing behind it.

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const ENUMERATED: u8 = 0x0a;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// The tag `[number]` of an explicit element.
pub(crate) const fn explicit(number: u8) -> u8 {
    0xa0 | number
}

/// The tag `[number]` of an implicit primitive.
pub(crate) const fn implicit(number: u8) -> u8 {
    0x80 | number
}

/// One element.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) contents: &'a [u8],
    /// With tag and length.
    pub(crate) whole: &'a [u8],
}

/// Reads one element after the other.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) const fn is_finished(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next element, whatever it is.
    pub(crate) fn next(&mut self) -> Option<Element<'a>> {
        let (&tag, behind_tag) = self.rest.split_first()?;
        // Tags beyond 30 have another form, and nothing here has one.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, mut behind) = behind_tag.split_first()?;
        let length = match first {
            0..=0x7f => usize::from(first),
            0x81..=0x84 => {
                let (octets, rest) = behind.split_at_checked(usize::from(first & 0x7f))?;
                behind = rest;
                let length =
                    octets.iter().fold(0, |length, &octet| length << 8 | usize::from(octet));
                // As short as possible.
                let shortest = octets.first() != Some(&0) && length > 0x7f;
                shortest.then_some(length)?
            }
            _ => return None,
        };
        let (contents, rest) = behind.split_at_checked(length)?;
        let whole = self.rest.get(..self.rest.len() - rest.len())?;
        self.rest = rest;
        Some(Element { tag, contents, whole })
    }

    /// The contents of the next element, which must have `tag`.
    pub(crate) fn contents(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|element| element.tag == tag).map(|element| element.contents)
    }

    /// The next element with tag and length, which must have `tag`.
    pub(crate) fn whole(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|element| element.tag == tag).map(|element| element.whole)
    }

    /// The contents of the next element if it has `tag`; `None` inside if it does not.
    pub(crate) fn optional(&mut self, tag: u8) -> Option<Option<&'a [u8]>> {
        if self.peek() != Some(tag) {
            return Some(None);
        }
        self.contents(tag).map(Some)
    }

    /// The octets of the next element, a BIT STRING of whole octets.
    pub(crate) fn octets_of_bits(&mut self) -> Option<&'a [u8]> {
        match self.contents(BIT_STRING)?.split_first()? {
            (0, octets) => Some(octets),
            _ => None,
        }
    }

    /// The next element as an OBJECT IDENTIFIER's contents.
    pub(crate) fn identifier(&mut self) -> Option<&'a [u8]> {
        let contents = self.contents(OBJECT_IDENTIFIER)?;
        let mut starts = true;
        for octet in contents {
            if starts && *octet == 0x80 {
                return None;
            }
            starts = octet & 0x80 == 0;
        }
        (starts && !contents.is_empty()).then_some(contents)
    }

    /// `BOOLEAN DEFAULT FALSE`, where the default is left out.
    pub(crate) fn boolean_default_false(&mut self) -> Option<bool> {
        match self.optional(BOOLEAN)? {
            None => Some(false),
            Some([0xff]) => Some(true),
            Some(_) => None,
        }
    }

    /// Nothing, which must be all that is left.
    pub(crate) fn finish(self) -> Option<()> {
        self.is_finished().then_some(())
    }
}

/// The contents of the one element that is all of `bytes`.
pub(crate) fn only(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let mut reader = Reader::new(bytes);
    let contents = reader.contents(tag)?;
    reader.finish()?;
    Some(contents)
}

/// The contents of a non-negative INTEGER without leading zeros; empty for zero.
pub(crate) fn unsigned(contents: &[u8]) -> Option<&[u8]> {
    match contents {
        [] | [0, 0..=0x7f, ..] | [0x80..=0xff, ..] => None,
        [0, rest @ ..] => Some(rest),
        _ => Some(contents),
    }
}

/// An object identifier's contents in digits and full stops.
pub(crate) fn dotted(contents: &[u8]) -> Option<String> {
    let mut arcs = Vec::new();
    let mut arc = 0_u128;
    for octet in contents {
        arc = arc.checked_mul(128)? + u128::from(octet & 0x7f);
        if octet & 0x80 == 0 {
            arcs.push(arc);
            arc = 0;
        }
    }
    let first = *arcs.first()?;
    let root = (first / 40).min(2);
    let mut text = format!("{root}.{}", first - root * 40);
    for arc in arcs.iter().skip(1) {
        text.push_str(&format!(".{arc}"));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_form_is_read() {
        assert_eq!(only(&[0x30, 1, 7], SEQUENCE), Some(&[7][..]));
        let long = [&[0x30, 0x81, 0x80][..], &[7; 128]].concat();
        assert_eq!(only(&long, SEQUENCE), Some(&[7; 128][..]));
        for bytes in [
            &[0x30, 0x81, 1, 7][..],
            &[0x30, 0x82, 0, 1, 7],
            &[0x30, 0x80, 7, 0, 0],
            &[0x30, 1, 7, 0],
            &[0x30, 2, 7],
            &[0x30],
            &[],
            &[0x3f, 1, 7],
            &[0x31, 1, 7],
        ] {
            assert_eq!(only(bytes, SEQUENCE), None, "{bytes:?}");
        }
    }

    #[test]
    fn identifiers_are_written_in_digits() {
        // X.690, section 8.19.5: 2.999.3.
        assert_eq!(dotted(&[0x88, 0x37, 0x03]).as_deref(), Some("2.999.3"));
        assert_eq!(dotted(&[0x55, 0x1d, 0x25]).as_deref(), Some("2.5.29.37"));
        // As `openssl asn1parse -genstr OID:2.25.….1` encodes it.
        let purpose = (dotted(crate::TEE_PURPOSE), Some(crate::TEE_PURPOSE_DOTTED));
        assert_eq!(purpose.0.as_deref(), purpose.1);
    }
}
