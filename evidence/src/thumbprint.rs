//! Names of keys and certificates by digest.

use crate::binding::{Sha256, sha256, sha256_of};

/// COSE Key Thumbprint (RFC 9679) with SHA-256 of an EC2 P-256 key: `cnf.ckt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyThumbprint(pub Sha256);

impl KeyThumbprint {
    /// Thumbprint of the P-256 key with the given affine coordinates, big-endian.
    ///
    /// Only the required parameters `kty`, `crv`, `x`, `y` are hashed (RFC 9679 §4).
    #[must_use]
    pub fn of_p256(x: &[u8; 32], y: &[u8; 32]) -> Self {
        // The deterministic encoding of {1: 2, -1: 1, -2: x, -3: y}.
        let before_x = [0xa4, 0x01, 0x02, 0x20, 0x01, 0x21, 0x58, 32];
        Self(sha256_of(&[&before_x, x, &[0x22, 0x58, 32], y]))
    }

    /// Thumbprint of an uncompressed SEC 1 point (`0x04 ‖ x ‖ y`); `None` for any other form.
    #[must_use]
    pub fn of_uncompressed_point(point: &[u8]) -> Option<Self> {
        let (&0x04, rest) = point.split_first()? else { return None };
        let (x, y) = rest.split_first_chunk::<32>()?;
        Some(Self::of_p256(x, y.try_into().ok()?))
    }
}

/// SHA-256 over the DER of a certificate: `cnf.x5t#S256` (RFC 8705 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CertificateThumbprint(pub Sha256);

impl CertificateThumbprint {
    /// Thumbprint of a DER certificate.
    #[must_use]
    pub fn of_der(der: &[u8]) -> Self {
        Self(sha256(der))
    }

    /// Lower-case hex, the form that gateways which can only compare strings see.
    #[must_use]
    pub fn to_hex(self) -> String {
        hex(&self.0)
    }

    /// Parses 64 hex digits of either case.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        Some(Self(unhex(text)?.try_into().ok()?))
    }
}

/// `bytes` as lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for half in bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        text.extend(char::from_digit(half.into(), 16));
    }
    text
}

/// The bytes of an even number of plain hex digits; `None` for anything else.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    // `from_str_radix` takes a sign; hex of bytes never has one.
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> [u8; 32] {
        CertificateThumbprint::from_hex(text).unwrap().0
    }

    #[test]
    fn rfc_9679_example() {
        let x = digest("65eda5a12577c2bae829437fe338701a10aaa375e1bb5b5de108de439c08551d");
        let y = digest("1e52ed75701163f7f9e40ddf9f341b3dc9ba860af7e0ca7ca7e9eecd0084d19c");
        let expected = "496bd8afadf307e5b08c64b0421bf9dc01528a344a43bda88fadd1669da253ec";
        assert_eq!(KeyThumbprint::of_p256(&x, &y), KeyThumbprint(digest(expected)));
        let point = [&[4u8][..], &x, &y].concat();
        assert_eq!(
            KeyThumbprint::of_uncompressed_point(&point),
            Some(KeyThumbprint(digest(expected)))
        );
        assert_eq!(KeyThumbprint::of_uncompressed_point(&point[..64]), None);
    }

    #[test]
    fn hex_must_be_64_plain_digits() {
        assert_eq!(CertificateThumbprint::from_hex("00"), None);
        assert_eq!(CertificateThumbprint::from_hex(&"+1".repeat(32)), None);
        assert_eq!(CertificateThumbprint::from_hex(&"é".repeat(32)), None);
        let ones = CertificateThumbprint([0x11; 32]);
        assert_eq!(CertificateThumbprint::from_hex(&ones.to_hex()), Some(ones));
    }
}
