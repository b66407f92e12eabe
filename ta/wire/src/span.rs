//! A part of the message buffer, by position: it survives that the buffer is changed in place.

/// Bytes `start..end` of the buffer that a message was read from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: usize,
    end: usize,
}

impl Span {
    /// The span `start..end`; an end before the start gives an empty span.
    #[must_use]
    pub const fn new(start: usize, end: usize) -> Self {
        let end = if end < start { start } else { end };
        Self { start, end }
    }

    /// Number of bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Position of the first byte.
    #[must_use]
    pub const fn start(&self) -> usize {
        self.start
    }

    /// Position behind the last byte.
    #[must_use]
    pub const fn end(&self) -> usize {
        self.end
    }

    /// The first `length` bytes of this span.
    #[must_use]
    pub const fn truncated(&self, length: usize) -> Self {
        let end = self.start.saturating_add(length);
        Self::new(self.start, if end < self.end { end } else { self.end })
    }

    /// This span, read from a part of the buffer that begins at `offset`, as one of the whole.
    #[must_use]
    pub const fn shifted(&self, offset: usize) -> Self {
        Self::new(self.start.saturating_add(offset), self.end.saturating_add(offset))
    }

    /// The bytes; empty if the span is not one of this buffer.
    #[must_use]
    pub fn of<'b>(&self, buffer: &'b [u8]) -> &'b [u8] {
        buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// The bytes, to change; empty if the span is not one of this buffer.
    #[must_use]
    pub fn of_mut<'b>(&self, buffer: &'b mut [u8]) -> &'b mut [u8] {
        buffer.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// The bytes as text; empty if they are not UTF-8, which a span of a JSON string always is.
    #[must_use]
    pub fn text<'b>(&self, buffer: &'b [u8]) -> &'b str {
        core::str::from_utf8(self.of(buffer)).unwrap_or_default()
    }
}
