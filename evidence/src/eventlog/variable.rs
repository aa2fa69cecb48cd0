//! UEFI variables as they were measured, and the signature databases among them.

use std::fmt;

use super::wire::{le_length, le_u32};
use crate::thumbprint::CertificateThumbprint;

/// Bytes of `EFI_SIGNATURE_LIST` before its entries (UEFI 2.10 §32.4.1).
const LIST_HEADER: usize = 28;
/// Characters of the longest variable name that is read.
const LONGEST_NAME: usize = 512;
/// Bytes that shim leaves behind a variable when it measures one.
const SHIM_TAIL: usize = 8;

/// An EFI GUID, as its bytes stand in the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// `EFI_GLOBAL_VARIABLE`: SecureBoot, PK, KEK, boot order.
    pub const GLOBAL: Self = Self([
        0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b,
        0x8c,
    ]);
    /// `EFI_IMAGE_SECURITY_DATABASE_GUID`: db, dbx.
    pub const SECURITY_DATABASE: Self = Self([
        0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65,
        0x6f,
    ]);
    /// `EFI_CERT_X509_GUID`.
    const X509: Self = Self([
        0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0,
        0x72,
    ]);
    /// `EFI_CERT_SHA256_GUID`.
    const SHA256: Self = Self([
        0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40, 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43,
        0x28,
    ]);
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a0, a1, a2, a3, b0, b1, c0, c1, rest @ ..] = self.0;
        write!(f, "{a3:02x}{a2:02x}{a1:02x}{a0:02x}-{b1:02x}{b0:02x}-{c1:02x}{c0:02x}-")?;
        for (at, byte) in rest.iter().enumerate() {
            write!(f, "{}{byte:02x}", if at == 2 { "-" } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `UEFI_VARIABLE_DATA` (PFP 1.06 §10.4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable<'a> {
    /// Whose variable it is.
    pub vendor: Guid,
    /// Its name.
    pub name: String,
    /// Its value.
    pub data: &'a [u8],
}

impl<'a> Variable<'a> {
    /// Reads a variable that fills `bytes`, save for the few bytes that shim leaves behind it.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let vendor = Guid(*bytes.first_chunk()?);
        let characters = le_length(bytes, 16)?;
        let length = le_length(bytes, 24)?;
        if !(1..=LONGEST_NAME).contains(&characters) {
            return None;
        }
        let (name, rest) = bytes.get(32..)?.split_at_checked(characters * 2)?;
        let (data, tail) = rest.split_at_checked(length)?;
        let name = utf16(name)?;
        (tail.len() <= SHIM_TAIL).then_some(Self { vendor, name, data })
    }

    /// Whether it is this variable.
    #[must_use]
    pub fn is(&self, vendor: Guid, name: &str) -> bool {
        self.vendor == vendor && self.name == name
    }
}

/// Text in UTF-16LE.
pub(super) fn utf16(bytes: &[u8]) -> Option<String> {
    let (units, []) = bytes.as_chunks::<2>() else { return None };
    String::from_utf16(&units.iter().map(|unit| u16::from_le_bytes(*unit)).collect::<Vec<_>>()).ok()
}

/// A certificate in a signature database, or the one that verified an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureCertificate<'a> {
    /// Who put it there.
    pub owner: Guid,
    /// The certificate in DER.
    pub der: &'a [u8],
}

impl SignatureCertificate<'_> {
    /// SHA-256 of the certificate.
    #[must_use]
    pub fn thumbprint(&self) -> CertificateThumbprint {
        CertificateThumbprint::of_der(self.der)
    }
}

/// What PK, KEK, db or dbx holds (UEFI 2.10 §32.4.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignatureDatabase<'a> {
    /// X.509 certificates.
    pub certificates: Vec<SignatureCertificate<'a>>,
    /// SHA-256 digests of images.
    pub images: Vec<&'a [u8]>,
    /// Entries of other kinds.
    pub others: usize,
}

impl<'a> SignatureDatabase<'a> {
    /// Reads the signature lists that fill `bytes`.
    #[must_use]
    pub fn parse(mut bytes: &'a [u8]) -> Option<Self> {
        let mut database = Self::default();
        while !bytes.is_empty() {
            let kind = Guid(*bytes.first_chunk()?);
            let list = usize::try_from(le_u32(bytes, 16)?).ok()?;
            let header = usize::try_from(le_u32(bytes, 20)?).ok()?;
            let entry = usize::try_from(le_u32(bytes, 24)?).ok()?;
            let (whole, rest) = bytes.split_at_checked(list)?;
            let entries = whole.get(LIST_HEADER.checked_add(header)?..)?;
            // An entry is an owner and at least one byte.
            if entry <= 16 || entries.len() % entry != 0 {
                return None;
            }
            for signature in entries.chunks_exact(entry) {
                let (owner, data) = signature.split_first_chunk::<16>()?;
                match kind {
                    Guid::X509 => database
                        .certificates
                        .push(SignatureCertificate { owner: Guid(*owner), der: data }),
                    Guid::SHA256 if data.len() == 32 => database.images.push(data),
                    _ => database.others += 1,
                }
            }
            bytes = rest;
        }
        Some(database)
    }
}

/// The certificate in what verified an image: `EFI_SIGNATURE_DATA`, or the bare certificate that shim
/// measures. A certificate is one DER sequence that fills its bytes.
pub(super) fn authority_certificate(data: &[u8]) -> Option<SignatureCertificate<'_>> {
    if is_der_sequence(data) {
        return Some(SignatureCertificate { owner: Guid([0; 16]), der: data });
    }
    let (owner, der) = data.split_first_chunk::<16>()?;
    is_der_sequence(der).then_some(SignatureCertificate { owner: Guid(*owner), der })
}

fn is_der_sequence(bytes: &[u8]) -> bool {
    match bytes {
        [0x30, 0x82, high, low, rest @ ..] => {
            rest.len() == usize::from(u16::from_be_bytes([*high, *low]))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A signature list whose head gives these sizes.
    fn list(kind: Guid, whole: usize, entry: u32, entries: &[u8]) -> Vec<u8> {
        let whole = u32::try_from(whole).unwrap().to_le_bytes();
        [&kind.0[..], &whole, &[0; 4], &entry.to_le_bytes(), entries].concat()
    }

    fn sound(kind: Guid, entry: u32, entries: &[u8]) -> Vec<u8> {
        list(kind, LIST_HEADER + entries.len(), entry, entries)
    }

    #[test]
    fn a_guid_is_written_as_the_specification_writes_it() {
        // UEFI 2.10 §3.3 and §32.6.1.
        assert_eq!(Guid::GLOBAL.to_string(), "8be4df61-93ca-11d2-aa0d-00e098032b8c");
        assert_eq!(Guid::SECURITY_DATABASE.to_string(), "d719b2cb-3d3a-4596-a3bc-dad00e67656f");
    }

    #[test]
    fn a_database_is_lists_of_entries() {
        let owner = [7; 16];
        let certificates = [&owner[..], &[0x30; 4], &[8; 16], &[0x31; 4]].concat();
        let (image, odd) = ([&owner[..], &[1; 32]].concat(), [&owner[..], &[2; 33]].concat());
        let bytes = [
            sound(Guid::X509, 20, &certificates),
            sound(Guid::SHA256, 48, &image),
            // Not as long as a digest, and of a kind that nobody reads.
            sound(Guid::SHA256, 49, &odd),
            sound(Guid::GLOBAL, 17, &[3; 51]),
        ]
        .concat();
        let database = SignatureDatabase::parse(&bytes).unwrap();
        let owned = |owner, der| SignatureCertificate { owner: Guid([owner; 16]), der };
        assert_eq!(database.certificates, [owned(7, &[0x30; 4]), owned(8, &[0x31; 4])]);
        assert_eq!((database.images, database.others), (vec![&[1; 32][..]], 4));
        assert_eq!(SignatureDatabase::parse(&[]), Some(SignatureDatabase::default()));
    }

    #[test]
    fn sizes_that_do_not_fit_are_no_database() {
        let bodies = [
            ("entries of no size", sound(Guid::X509, 0, &[])),
            ("entries without data", sound(Guid::X509, 16, &[0; 32])),
            ("an entry and a half", sound(Guid::X509, 40, &[0; 60])),
            ("a list longer than the bytes", list(Guid::X509, 69, 40, &[0; 40])),
            ("a list shorter than its head", list(Guid::X509, 27, 40, &[])),
            ("a cut head", sound(Guid::X509, 40, &[])[..27].to_vec()),
        ];
        for (what, bytes) in bodies {
            assert_eq!(SignatureDatabase::parse(&bytes), None, "{what}");
        }
    }
}
