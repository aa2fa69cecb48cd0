//! Patterns of boot loaders' texts.

use std::fmt;

use serde::Deserialize;

/// A text in which `*` stands for any characters of one word, none of them a space. The whole text
/// must match, so nothing can be appended to a kernel command line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct TextPattern(String);

impl TextPattern {
    /// A pattern.
    #[must_use]
    pub fn new(pattern: impl Into<String>) -> Self {
        Self(pattern.into())
    }

    /// Whether the whole of `text` matches. Linear in practice: only the last `*` is tried again,
    /// which is enough because none of them crosses a space.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut p, mut t) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        loop {
            match (pattern.get(p), text.get(t)) {
                (None, None) => return true,
                (Some(b'*'), _) => {
                    star = Some((p, t));
                    p += 1;
                    continue;
                }
                (Some(expected), Some(found)) if expected == found => {
                    p += 1;
                    t += 1;
                    continue;
                }
                _ => {}
            }
            // Let the last star take one more character.
            let Some((at, taken)) = star else { return false };
            match text.get(taken) {
                Some(byte) if !byte.is_ascii_whitespace() => star = Some((at, taken + 1)),
                _ => return false,
            }
            (p, t) = (at + 1, taken + 1);
        }
    }
}

impl fmt::Display for TextPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stays_in_its_word_and_the_whole_text_counts() {
        let pattern = TextPattern::new("/vmlinuz-* root=UUID=* ro quiet");
        assert!(pattern.matches("/vmlinuz-6.12.3-1 root=UUID=0b7c ro quiet"));
        assert!(pattern.matches("/vmlinuz- root=UUID= ro quiet"));
        for text in [
            "/vmlinuz-6.12 root=UUID=0b7c ro quiet init=/bin/sh",
            "/vmlinuz-6.12 root=UUID=0b7c init=/bin/sh ro quiet",
            "x/vmlinuz-6.12 root=UUID=0b7c ro quiet",
            "/vmlinuz-6.12\troot=UUID=0b7c ro quiet",
            "",
        ] {
            assert!(!pattern.matches(text), "{text}");
        }
        assert!(TextPattern::new("a*b*c").matches("aXbYbZc"));
        assert!(TextPattern::new("a*").matches("a"));
        assert!(!TextPattern::new("a*").matches("a b"));
        assert!(!TextPattern::new("").matches("a"));
    }
}
