//! Step 10: the TLS key lives in the TPM that quotes.

use signet_evidence::cbor::Value;
use signet_evidence::tpm::{
    Attested, EccCurve, HashAlgorithm, ObjectAttributes, PcrSelection, PublicParameters, QuoteInfo,
    Scheme, Symmetric, TpmtPublic,
};

use super::case;
use crate::forge::Edit::{By, Certify, CertifyBytes, Public, Tpm};
use crate::forge::map::{bytes, cut, flip_last, item, remove};
use crate::forge::{Case, Part};

fn without(public: &mut TpmtPublic, attribute: ObjectAttributes) {
    public.attributes = public.attributes.difference(attribute);
}

fn with(public: &mut TpmtPublic, attribute: ObjectAttributes) {
    public.attributes = public.attributes.union(attribute);
}

fn ecc(public: &mut TpmtPublic, edit: fn(&mut signet_evidence::tpm::EccParameters)) {
    if let PublicParameters::Ecc(ecc) = &mut public.parameters {
        edit(ecc);
    }
}

pub(super) const CASES: &[Case] = &[
    case!(
        "certification-missing",
        "of-a-pin-session",
        "protocol 2.4 step 10",
        "no certification",
        Pin,
        [Tpm(|m| remove(m, 3))]
    ),
    case!(
        "certification-missing",
        "of-a-workload",
        "protocol 2.4 step 10",
        "no certification",
        Workload,
        [Tpm(|m| remove(m, 3))]
    ),
    case!(
        "certification-malformed",
        "signature-by-rsa",
        "protocol 2.4 step 10",
        "RSASSA in the signature's algorithm",
        Session,
        [Tpm(|m| item(m, 3, 1, |b| b[1] = 0x14)),]
    ),
    case!(
        "certification-malformed",
        "signature-cut",
        "TPM 2.0 Part 2 section 11.3.4",
        "TPMT_SIGNATURE without its last byte",
        Workload,
        [Tpm(|m| item(m, 3, 1, cut)),]
    ),
    case!(
        "certification-malformed",
        "magic-wrong",
        "TPM 2.0 Part 2 section 6.2",
        "another magic, signed",
        Session,
        [CertifyBytes(|b| b[0] ^= 1),]
    ),
    case!(
        "certification-malformed",
        "type-of-a-quote",
        "TPM 2.0 Part 2 section 6.9",
        "a quote, signed, in its place",
        Session,
        [Certify(|a| {
            let pcr_select = PcrSelection::new(HashAlgorithm::Sha256, [0]).into_iter().collect();
            a.attested = Attested::Quote(QuoteInfo { pcr_select, pcr_digest: vec![0; 32] });
        }),]
    ),
    case!(
        "certification-malformed",
        "byte-behind",
        "TPM 2.0 Part 2 section 10.12.12",
        "a byte after it, signed",
        Session,
        [CertifyBytes(|b| b.push(0)),]
    ),
    case!(
        "certification-malformed",
        "public-area-cut",
        "TPM 2.0 Part 2 section 12.2.4",
        "TPMT_PUBLIC without its last byte",
        Session,
        [Tpm(|m| item(m, 3, 2, cut)),]
    ),
    case!(
        "certification-malformed",
        "public-area-empty",
        "TPM 2.0 Part 2 section 12.2.4",
        "no public area",
        Pin,
        [Tpm(|m| item(m, 3, 2, |b| b.clear())),]
    ),
    case!(
        "certification-malformed",
        "public-area-reserved-bit",
        "TPM 2.0 Part 2 section 8.3",
        "a reserved attribute",
        Session,
        [Tpm(|m| item(m, 3, 2, |b| b[7] |= 1)),]
    ),
    case!(
        "certification-challenge-mismatch",
        "zeros",
        "protocol 2.2",
        "a certification over zeros",
        Session,
        [Certify(|a| a.extra_data.fill(0)),]
    ),
    case!(
        "certification-challenge-mismatch",
        "nothing",
        "protocol 2.2",
        "a certification over nothing",
        Workload,
        [Certify(|a| a.extra_data.clear()),]
    ),
    case!(
        "certification-challenge-mismatch",
        "last-bit",
        "protocol 2.2",
        "the last bit of the qualifying data",
        Pin,
        [Certify(|a| flip_last(&mut a.extra_data)),]
    ),
    case!(
        "certification-signature-invalid",
        "signed-by-itself",
        "protocol 2.4 step 10",
        "the TLS key vouches for itself",
        Session,
        [By(Part::Certification, "tls"),]
    ),
    case!(
        "certification-signature-invalid",
        "signed-by-the-credential",
        "protocol 2.4 step 10",
        "signed by the operator's credential",
        Workload,
        [By(Part::Certification, "credential"),]
    ),
    case!(
        "certification-signature-invalid",
        "edited",
        "protocol 2.4 step 10",
        "the last bit after signing",
        Pin,
        [Tpm(|m| item(m, 3, 0, |b| flip_last(b))),]
    ),
    case!(
        "certification-signature-invalid",
        "signature-of-the-quote",
        "protocol 2.4 step 10",
        "the quote's signature in its place",
        Session,
        [Tpm(|m| {
            let quote =
                m.iter().find(|(key, _)| *key == Value::from(2)).map(|(_, value)| value.clone());
            if let Some(Value::Array(quote)) = quote
                && let Some(Value::Bytes(signature)) = quote.get(1)
            {
                let signature = signature.clone();
                item(m, 3, 1, |b| *b = signature);
            }
        }),]
    ),
    case!(
        "certification-key-mismatch",
        "name-of-another-key",
        "TPM 2.0 Part 1 section 16",
        "the Name of another key",
        Session,
        [Certify(|a| if let Attested::Certify(certify) = &mut a.attested {
            certify.name = certify.qualified_name.clone();
            certify.name = a.qualified_signer.clone();
        }),]
    ),
    case!(
        "certification-key-mismatch",
        "attributes-edited",
        "TPM 2.0 Part 1 section 16",
        "an attribute of the public area after signing",
        Workload,
        [Tpm(|m| item(m, 3, 2, |b| b[5] ^= 0x01)),]
    ),
    case!(
        "certification-key-mismatch",
        "another-point",
        "protocol 2.4 step 10",
        "a certified key that is not the connection's",
        Session,
        [Public(|p| ecc(p, |e| {
            // The base point of P-256 is on the curve and nobody's key.
            e.x = hex("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296");
            e.y = hex("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5");
        })),]
    ),
    case!(
        "tls-key-attributes",
        "not-fixed-to-its-tpm",
        "protocol 4.1",
        "fixedTPM is clear",
        Session,
        [Public(|p| without(p, ObjectAttributes::FIXED_TPM)),]
    ),
    case!(
        "tls-key-attributes",
        "not-fixed-to-its-parent",
        "protocol 4.1",
        "fixedParent is clear",
        Workload,
        [Public(|p| without(p, ObjectAttributes::FIXED_PARENT)),]
    ),
    case!(
        "tls-key-attributes",
        "made-outside",
        "protocol 4.1",
        "sensitiveDataOrigin is clear",
        Pin,
        [Public(|p| without(p, ObjectAttributes::SENSITIVE_DATA_ORIGIN)),]
    ),
    case!(
        "tls-key-attributes",
        "does-not-sign",
        "protocol 4.1",
        "sign is clear",
        Session,
        [Public(|p| without(p, ObjectAttributes::SIGN))]
    ),
    case!(
        "tls-key-attributes",
        "restricted",
        "protocol 4.1",
        "restricted is set",
        Session,
        [Public(|p| with(p, ObjectAttributes::RESTRICTED))]
    ),
    case!(
        "tls-key-attributes",
        "decrypts",
        "protocol 4.1",
        "decrypt is set",
        Session,
        [Public(|p| with(p, ObjectAttributes::DECRYPT))]
    ),
    case!(
        "tls-key-attributes",
        "signs-certificates",
        "protocol 4.1",
        "x509sign is set",
        Session,
        [Public(|p| with(p, ObjectAttributes::X509_SIGN)),]
    ),
    case!(
        "tls-key-attributes",
        "any-scheme",
        "protocol 4.1",
        "no signing scheme is fixed",
        Session,
        [Public(|p| ecc(p, |e| e.scheme = Scheme::Null))]
    ),
    case!(
        "tls-key-attributes",
        "scheme-with-sha1",
        "protocol 4.1",
        "ECDSA with SHA-1",
        Session,
        [Public(|p| ecc(p, |e| e.scheme = Scheme::Ecdsa(HashAlgorithm::Sha1))),]
    ),
    case!(
        "tls-key-attributes",
        "named-by-sha1",
        "protocol 4.1",
        "a Name by SHA-1",
        Session,
        [Public(|p| p.name_algorithm = HashAlgorithm::Sha1),]
    ),
    case!(
        "tls-key-attributes",
        "of-p384",
        "protocol 4.1",
        "a key on P-384",
        Session,
        [Public(|p| ecc(p, |e| e.curve = EccCurve::P384))]
    ),
    case!(
        "tls-key-attributes",
        "symmetric",
        "protocol 4.1",
        "a signing key with AES",
        Session,
        [Public(|p| ecc(p, |e| e.symmetric = Symmetric::AesCfb { key_bits: 128 })),]
    ),
    case!(
        "tls-key-attributes",
        "not-on-the-curve",
        "protocol 4.1",
        "a point that is not on the curve",
        Session,
        [Public(|p| ecc(p, |e| e.x[31] ^= 1)),]
    ),
    case!(
        "evidence-malformed",
        "certification-signature-as-text",
        "protocol 2.1",
        "text in the place of a signature",
        Session,
        [Tpm(|m| {
            if let Some((_, Value::Array(items))) =
                m.iter_mut().find(|(key, _)| *key == Value::from(3))
            {
                items[1] = "signature".into();
                items[2] = bytes([1]);
            }
        }),]
    ),
];

fn hex(text: &str) -> Vec<u8> {
    signet_evidence::thumbprint::unhex(text).unwrap_or_default()
}
