//! Percent-encoding (RFC 3986 §2.1).

/// Undoes it; `None` where a `%` encodes nothing, or the bytes are not UTF-8.
#[must_use]
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let value = digit()? << 4 | digit()?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hex_digits_and_nothing_else_follow_a_percent_sign() {
        assert_eq!(decoded("a%20b%2Fc%c3%BC"), Some("a b/cü".to_owned()));
        for wrong in ["%", "%2", "%2g", "%+f", "%-1", "% f", "%ff"] {
            assert_eq!(decoded(wrong), None, "{wrong}");
        }
    }
}
