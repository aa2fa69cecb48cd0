//! Certificates as they lie in the TPM's memory: padded, or several in a row.

/// Splits one DER element (tag SEQUENCE) off the front. `None` when there is no complete one.
fn split_certificate(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    if tag != 0x30 {
        return None;
    }
    let (length_bytes, length) = match first {
        0..=0x7f => (0, usize::from(first)),
        // A certificate is below 64 KiB, as the memory that holds it.
        0x81 | 0x82 => {
            let count = usize::from(first & 0x7f);
            let length =
                rest.get(..count)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (count, length)
        }
        _ => return None,
    };
    let end = 2 + length_bytes + length;
    (length > 0 && bytes.len() >= end).then(|| bytes.split_at(end))
}

/// The certificate at the front, without the padding behind it.
pub(super) fn cut(bytes: &[u8]) -> Option<Vec<u8>> {
    split_certificate(bytes).map(|(certificate, _)| certificate.to_vec())
}

/// All certificates in a row, up to the first byte that starts none.
pub(super) fn cut_all(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some((certificate, rest)) = split_certificate(bytes) {
        found.push(certificate.to_vec());
        bytes = rest;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{cut, cut_all};

    #[test]
    fn padding_is_cut_off() {
        assert_eq!(cut(&[0x30, 2, 5, 0, 0xff, 0xff]), Some(vec![0x30, 2, 5, 0]));
        let mut long = vec![0x30, 0x82, 0x01, 0x00];
        long.extend([7; 256]);
        let exact = long.clone();
        long.extend([0; 40]);
        assert_eq!(cut(&long), Some(exact));
    }

    #[test]
    fn what_is_no_certificate_gives_none() {
        for bytes in [
            &[][..],
            &[0x30],
            &[0x30, 0],
            &[0xff; 8],
            &[0x30, 3, 1, 1],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x82, 1],
            &[0x30, 0x83, 1, 1, 1],
        ] {
            assert_eq!(cut(bytes), None, "{bytes:02x?}");
        }
    }

    #[test]
    fn a_chain_is_split_up_to_the_padding() {
        let chain = cut_all(&[0x30, 1, 9, 0x30, 1, 8, 0, 0]);
        assert_eq!(chain, [vec![0x30, 1, 9], vec![0x30, 1, 8]]);
        assert_eq!(cut_all(&[0, 0x30, 1, 9]), Vec::<Vec<u8>>::new());
    }
}
