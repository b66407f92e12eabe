//! A copy that cannot panic.

/// Copies `from` over `to`; `None`, and nothing is copied, where their lengths differ.
///
/// The library's own ends the program then, and where the compiler does not see that they are equal
/// it keeps a call for it.
#[must_use]
pub fn copy(to: &mut [u8], from: &[u8]) -> Option<()> {
    (to.len() == from.len()).then(|| to.copy_from_slice(from))
}

#[cfg(test)]
mod tests {
    use super::copy;

    #[test]
    fn copies_all_or_nothing() {
        let mut to = [1, 2, 3];
        assert_eq!(copy(&mut to, &[4, 5]), None);
        assert_eq!(copy(&mut to, &[4, 5, 6, 7]), None);
        assert_eq!(to, [1, 2, 3]);
        assert_eq!(copy(&mut to, &[4, 5, 6]), Some(()));
        assert_eq!(to, [4, 5, 6]);
    }
}
