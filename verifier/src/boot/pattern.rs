//! Patterns of boot loaders' texts.

use serde::Deserialize;

/// A text in which `*` stands for any part of one word, in visible ASCII without quotes. The whole text
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
            // Let the last star take one more character; it is met again behind it.
            match star {
                Some((at, taken)) if text.get(taken).is_some_and(stays_in_word) => {
                    (p, t) = (at, taken + 1);
                }
                _ => return false,
            }
        }
    }
}

/// Whether a byte neither ends a word nor joins it to the next, for any of those who read a kernel command
/// line: Linux takes 0xa0, which is the second byte of `à`, for a space, and a quote takes all up to the
/// next one into its word.
fn stays_in_word(byte: &u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'')
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
        assert!(TextPattern::new("*a").matches("aaa") && TextPattern::new("**").matches("ab"));
        assert!(TextPattern::new("*/vmlinuz*").matches("(hd0,gpt2)/boot/vmlinuz-6.12~rc1"));
    }

    /// What Linux or systemd would read as the end of a word, or as one word with the next.
    #[test]
    fn a_star_takes_nothing_that_divides_or_joins_words() {
        let pattern = TextPattern::new("root=* ro lockdown=integrity");
        for value in
            ["x\u{e0}init=/bin/sh", "\u{a0}", "\"x", "'x", "x\ty", "x\ny", "x\u{b}y", "\u{e9}"]
        {
            let text = format!("root={value} ro lockdown=integrity");
            assert!(!pattern.matches(&text), "{text:?}");
        }
        // Where a person wrote it, it is what they meant.
        assert!(TextPattern::new("name=\"caf\u{e9} *\"").matches("name=\"caf\u{e9} noir\""));
    }
}
