//! The little DER (X.690) that the daemon needs: an ECDSA signature, a certification request
//! (PKCS#10), and what a certificate says of key, end and signature.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const CONTEXT_0: u8 = 0xa0;
const CONTEXT_3: u8 = 0xa3;
/// id-ce-basicConstraints (RFC 5280 §4.2.1.9), 2.5.29.19.
const BASIC_CONSTRAINTS: [u8; 3] = [0x55, 0x1d, 0x13];

/// AlgorithmIdentifier of a P-256 public key (RFC 5480 §2.1.1).
const P256_KEY: [u8; 21] = [
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
    0xce, 0x3d, 0x03, 0x01, 0x07,
];
/// AlgorithmIdentifier ecdsa-with-SHA256 (RFC 5758 §3.2).
const ECDSA_SHA256: [u8; 12] =
    [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let length = content.len().to_be_bytes();
    let significant = length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1);
    if content.len() < 0x80 {
        bytes.push(length[length.len() - 1]);
    } else {
        // At most eight bytes of length.
        bytes.push(0x80 | (length.len() - significant) as u8);
        bytes.extend_from_slice(&length[significant..]);
    }
    bytes.extend_from_slice(content);
    bytes
}

/// A non-negative big-endian integer.
fn integer(magnitude: &[u8]) -> Vec<u8> {
    let start = magnitude.iter().position(|byte| *byte != 0).unwrap_or(magnitude.len());
    let mut content = magnitude[start..].to_vec();
    if content.first().is_none_or(|byte| byte & 0x80 != 0) {
        content.insert(0, 0);
    }
    element(INTEGER, &content)
}

fn bit_string(content: &[u8]) -> Vec<u8> {
    element(BIT_STRING, &[&[0], content].concat())
}

/// `Ecdsa-Sig-Value` (RFC 3279 §2.2.3) of r ‖ s.
pub(crate) fn ecdsa_signature(raw: &[u8; 64]) -> Vec<u8> {
    let (r, s) = raw.split_at(32);
    element(SEQUENCE, &[integer(r), integer(s)].concat())
}

/// `SubjectPublicKeyInfo` of an uncompressed P-256 point.
fn subject_public_key_info(point: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[&P256_KEY[..], &bit_string(point)].concat())
}

/// `CertificationRequestInfo` (RFC 2986 §4.1) for an uncompressed P-256 point: empty subject, no
/// attributes. This is what the key signs.
pub(crate) fn request_info(point: &[u8]) -> Vec<u8> {
    let version = integer(&[0]);
    let subject = element(SEQUENCE, &[]);
    let attributes = element(CONTEXT_0, &[]);
    let parts = [version, subject, subject_public_key_info(point), attributes];
    element(SEQUENCE, &parts.concat())
}

/// `CertificationRequest` (RFC 2986 §4.2).
pub(crate) fn certification_request(info: &[u8], signature: &[u8; 64]) -> Vec<u8> {
    let signature = bit_string(&ecdsa_signature(signature));
    element(SEQUENCE, &[info, &ECDSA_SHA256, &signature].concat())
}

/// Splits one element off: tag, content, rest.
fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// The fields of an X.509 certificate (RFC 5280 §4.1) from the one at `place` on: serialNumber,
/// signature, issuer, validity, subject, subjectPublicKeyInfo.
fn fields_from(certificate: &[u8], place: usize) -> Option<&[u8]> {
    let (SEQUENCE, certificate, []) = split(certificate)? else { return None };
    let (SEQUENCE, mut fields, _) = split(certificate)? else { return None };
    if let (CONTEXT_0, _, rest) = split(fields)? {
        fields = rest;
    }
    for _ in 0..place {
        fields = split(fields)?.2;
    }
    Some(fields)
}

/// When a certificate ends, in a form that is ordered as time is: four digits of the year and the
/// rest of the `Time` (RFC 5280 §4.1.2.5).
pub(crate) fn not_after(certificate: &[u8]) -> Option<Vec<u8>> {
    let (SEQUENCE, validity, _) = split(fields_from(certificate, 3)?)? else { return None };
    let (tag, end, []) = split(split(validity)?.2)? else { return None };
    let digits = end.strip_suffix(b"Z").filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    match (tag, digits.len()) {
        (UTC_TIME, 12) if digits[0] < b'5' => Some([b"20", digits].concat()),
        (UTC_TIME, 12) => Some([b"19", digits].concat()),
        (GENERALIZED_TIME, 14) => Some(digits.to_vec()),
        _ => None,
    }
}

/// Whether the P-256 key of the certificate `issuer` signed `certificate` with SHA-256. Names and
/// extensions are not looked at.
pub(crate) fn is_signed_by(certificate: &[u8], issuer: &[u8]) -> bool {
    let signed = || {
        let (SEQUENCE, parts, []) = split(certificate)? else { return None };
        let (SEQUENCE, _, rest) = split(parts)? else { return None };
        let body = parts.get(..parts.len() - rest.len())?;
        let (BIT_STRING, bits, []) = split(rest.strip_prefix(&ECDSA_SHA256[..])?)? else {
            return None;
        };
        let (0, signature) = bits.split_first()? else { return None };
        Some((body, signature))
    };
    let (Some((body, signature)), Some(key)) = (signed(), certified_point(issuer)) else {
        return false;
    };
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key).verify(body, signature).is_ok()
}

/// The uncompressed P-256 point that an X.509 certificate (RFC 5280 §4.1) is for; `None` for any
/// other key and for what is no certificate.
pub(crate) fn certified_point(certificate: &[u8]) -> Option<&[u8]> {
    let fields = fields_from(certificate, 5)?;
    let (SEQUENCE, key, _) = split(fields)? else { return None };
    let (BIT_STRING, bits, []) = split(key.strip_prefix(&P256_KEY[..])?)? else { return None };
    match bits.split_first() {
        Some((0, point)) if point.len() == 65 && point[0] == 0x04 => Some(point),
        _ => None,
    }
}

/// Whether an X.509 certificate is one of a CA: basicConstraints with cA (RFC 5280 §4.2.1.9).
pub(crate) fn is_ca(certificate: &[u8]) -> bool {
    let extensions = || {
        let mut fields = fields_from(certificate, 6)?;
        loop {
            let (tag, content, rest) = split(fields)?;
            match (tag, split(content)?) {
                (CONTEXT_3, (SEQUENCE, extensions, [])) => return Some(extensions),
                (CONTEXT_3, _) => return None,
                _ => fields = rest,
            }
        }
    };
    let mut rest = extensions().unwrap_or_default();
    while let Some((SEQUENCE, extension, others)) = split(rest) {
        rest = others;
        if let Some((OBJECT_IDENTIFIER, id, value)) = split(extension)
            && id == BASIC_CONSTRAINTS
        {
            return says_ca(value).unwrap_or(false);
        }
    }
    false
}

/// What follows the name of basicConstraints: whether it is critical, where that is said, and the content.
fn says_ca(value: &[u8]) -> Option<bool> {
    let (content, rest) = match split(value)? {
        (BOOLEAN, _, value) => match split(value)? {
            (OCTET_STRING, content, rest) => (content, rest),
            _ => return None,
        },
        (OCTET_STRING, content, rest) => (content, rest),
        _ => return None,
    };
    let (SEQUENCE, constraints, []) = split(content)? else { return None };
    let (BOOLEAN, yes, _) = split(constraints)? else { return None };
    Some(rest.is_empty() && yes == [0xff])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_shortest_and_never_negative() {
        assert_eq!(integer(&[0, 0, 0x7f]), [2, 1, 0x7f]);
        assert_eq!(integer(&[0, 0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[0, 0]), [2, 1, 0]);
    }

    #[test]
    fn lengths_of_one_and_more_bytes() {
        assert_eq!(element(4, &[0; 127])[..2], [4, 127]);
        assert_eq!(element(4, &[0; 128])[..3], [4, 0x81, 128]);
        assert_eq!(element(4, &[0; 300])[..4], [4, 0x82, 1, 44]);
    }

    #[test]
    fn a_point_is_found_in_a_certificate_and_nowhere_else() {
        let point = [&[4][..], &[7; 64]].concat();
        let empty = element(SEQUENCE, &[]);
        let version = element(CONTEXT_0, &integer(&[2]));
        let key = subject_public_key_info(&point);
        let fields = [version, integer(&[1]), empty.clone(), empty.clone(), empty.clone(), empty];
        let body = element(SEQUENCE, &[fields.concat(), key].concat());
        let certificate = element(SEQUENCE, &body);
        assert_eq!(certified_point(&certificate), Some(point.as_slice()));
        for length in 0..certificate.len() {
            assert_eq!(certified_point(&certificate[..length]), None);
        }
        assert_eq!(certified_point(&request_info(&point)), None);
    }
}
