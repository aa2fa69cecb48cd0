//! TPM structures: one value has one encoding, and every other one is refused by name.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use proptest::prelude::*;
use signet_evidence::tpm::{
    Attested, CertifyInfo, ClockInfo, EccCurve, EccParameters, HashAlgorithm, Name,
    ObjectAttributes, PcrError, PcrSelection, PcrValues, PublicParameters, QuoteInfo,
    RsaParameters, Scheme, Structure, Symmetric, TpmsAttest, TpmtPublic, TpmtSignature, WireError,
};

fn public() -> TpmtPublic {
    TpmtPublic {
        name_algorithm: HashAlgorithm::Sha256,
        attributes: ObjectAttributes::FIXED_TPM.union(ObjectAttributes::SIGN),
        auth_policy: vec![],
        parameters: PublicParameters::Ecc(EccParameters {
            symmetric: Symmetric::Null,
            scheme: Scheme::Ecdsa(HashAlgorithm::Sha256),
            curve: EccCurve::P256,
            x: vec![1; 32],
            y: vec![2; 31],
        }),
    }
}

fn storage_key() -> TpmtPublic {
    TpmtPublic {
        name_algorithm: HashAlgorithm::Sha384,
        attributes: ObjectAttributes::RESTRICTED.union(ObjectAttributes::DECRYPT),
        auth_policy: vec![7; 48],
        parameters: PublicParameters::Rsa(RsaParameters {
            symmetric: Symmetric::AesCfb { key_bits: 256 },
            scheme: Scheme::Null,
            key_bits: 2048,
            exponent: 0,
            modulus: vec![0xc3; 256],
        }),
    }
}

fn attest(attested: Attested) -> TpmsAttest {
    TpmsAttest {
        qualified_signer: Name::of(&public()),
        extra_data: vec![0xaa; 32],
        clock_info: ClockInfo { clock: 1, reset_count: 2, restart_count: 3, safe: true },
        firmware_version: 4,
        attested,
    }
}

fn quote() -> TpmsAttest {
    let selection = PcrSelection::new(HashAlgorithm::Sha256, [0, 7, 23]).unwrap();
    attest(Attested::Quote(QuoteInfo { pcr_select: vec![selection], pcr_digest: vec![5; 32] }))
}

fn certify() -> TpmsAttest {
    let name = Name::of(&public());
    attest(Attested::Certify(CertifyInfo { name: name.clone(), qualified_name: name }))
}

fn ecdsa() -> TpmtSignature {
    TpmtSignature::Ecdsa { hash: HashAlgorithm::Sha256, r_s: [9; 64] }
}

#[test]
fn every_prefix_is_truncated_and_every_addition_trails() {
    fn judge<T: std::fmt::Debug>(bytes: &[u8], parse: impl Fn(&[u8]) -> Result<T, WireError>) {
        parse(bytes).unwrap();
        for length in 0..bytes.len() {
            let error = parse(&bytes[..length]).unwrap_err();
            assert!(matches!(error, WireError::Truncated { .. }), "{length}: {error:?}");
        }
        let longer = [bytes, &[0]].concat();
        assert_eq!(parse(&longer).unwrap_err(), WireError::Trailing { left: 1 });
    }
    judge(&quote().to_bytes(), TpmsAttest::parse);
    judge(&certify().to_bytes(), TpmsAttest::parse);
    judge(&public().to_bytes(), TpmtPublic::parse);
    judge(&storage_key().to_bytes(), TpmtPublic::parse);
    judge(&ecdsa().to_bytes(), TpmtSignature::parse);
}

#[test]
fn magic_and_type_come_before_anything_else() {
    let mut bytes = quote().to_bytes();
    bytes.truncate(6);
    bytes[0] = 0xfe;
    assert_eq!(TpmsAttest::parse(&bytes), Err(WireError::Magic { found: 0xfe54_4347 }));
    bytes[0] = 0xff;
    for kind in [0x8014_u16, 0x8015, 0x8016, 0x8019, 0x801a, 0x801c, 0x0000] {
        bytes[4..6].copy_from_slice(&kind.to_be_bytes());
        assert_eq!(TpmsAttest::parse(&bytes), Err(WireError::AttestType(kind)));
    }
}

#[test]
fn lengths_are_bounded() {
    let too_long = |structure, length, limit| WireError::TooLong { structure, length, limit };
    let mut bytes = quote().to_bytes();
    bytes[6..8].copy_from_slice(&67_u16.to_be_bytes());
    assert_eq!(TpmsAttest::parse(&bytes), Err(too_long(Structure::Name, 67, 66)));
    let mut bytes = quote().to_bytes();
    let extra_data = 4 + 2 + 2 + 34;
    bytes[extra_data..extra_data + 2].copy_from_slice(&67_u16.to_be_bytes());
    assert_eq!(TpmsAttest::parse(&bytes), Err(too_long(Structure::ExtraData, 67, 66)));
    let mut bytes = quote().to_bytes();
    let selections = extra_data + 2 + 32 + 17 + 8;
    bytes[selections..selections + 4].copy_from_slice(&u32::MAX.to_be_bytes());
    let limit = usize::try_from(u32::MAX).unwrap();
    assert_eq!(TpmsAttest::parse(&bytes), Err(too_long(Structure::PcrSelection, limit, 16)));
    let mut bytes = quote().to_bytes();
    bytes[selections + 6] = 5;
    assert_eq!(TpmsAttest::parse(&bytes), Err(too_long(Structure::PcrSelection, 5, 4)));
    bytes[selections + 6] = 4;
    bytes.insert(selections + 10, 0x80);
    let Attested::Quote(quoted) = TpmsAttest::parse(&bytes).unwrap().attested else {
        panic!("not a quote")
    };
    assert_eq!(quoted.pcr_select[0].indices().collect::<Vec<_>>(), [0, 7, 23, 31]);
    let selected = |banks| {
        let selection = PcrSelection::new(HashAlgorithm::Sha256, [0]).unwrap();
        let pcr_select = vec![selection; banks];
        let quote = attest(Attested::Quote(QuoteInfo { pcr_select, pcr_digest: vec![5; 32] }));
        TpmsAttest::parse(&quote.to_bytes()).map(|parsed| parsed == quote)
    };
    assert_eq!(selected(16), Ok(true));
    assert_eq!(selected(17), Err(too_long(Structure::PcrSelection, 17, 16)));
    let mut bytes = ecdsa().to_bytes();
    bytes[5] = 48;
    assert_eq!(TpmtSignature::parse(&bytes), Err(too_long(Structure::EccParameter, 48, 32)));
}

#[test]
fn yes_no_is_one_of_two() {
    let mut bytes = quote().to_bytes();
    let safe = 4 + 2 + 2 + 34 + 2 + 32 + 16;
    assert_eq!(bytes[safe], 1);
    bytes[safe] = 2;
    assert_eq!(TpmsAttest::parse(&bytes), Err(WireError::YesNo(2)));
}

#[test]
fn foreign_algorithms_are_named() {
    let with = |at: usize, value: u16| {
        let mut bytes = public().to_bytes();
        bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
        TpmtPublic::parse(&bytes).unwrap_err()
    };
    assert_eq!(with(0, 0x0008), WireError::ObjectType(0x0008)); // keyed hash
    assert_eq!(with(2, 0x0012), WireError::HashAlgorithm(0x0012)); // SM3
    assert_eq!(with(10, 0x0013), WireError::SymmetricAlgorithm(0x0013)); // SM4
    assert_eq!(with(12, 0x001a), WireError::Scheme(0x001a)); // ECDAA
    assert_eq!(with(16, 0x0005), WireError::Curve(0x0005)); // P-521
    assert_eq!(with(18, 0x0020), WireError::Kdf(0x0020)); // KDF1
    let mut bytes = storage_key().to_bytes();
    bytes[60..62].copy_from_slice(&129_u16.to_be_bytes());
    assert_eq!(TpmtPublic::parse(&bytes), Err(WireError::SymmetricKeyBits(129)));
    let mut bytes = storage_key().to_bytes();
    bytes[62..64].copy_from_slice(&0x0040_u16.to_be_bytes());
    assert_eq!(TpmtPublic::parse(&bytes), Err(WireError::SymmetricMode(0x0040)));
    let mut bytes = ecdsa().to_bytes();
    bytes[..2].copy_from_slice(&0x0016_u16.to_be_bytes());
    assert_eq!(TpmtSignature::parse(&bytes), Err(WireError::SignatureAlgorithm(0x0016)));
}

#[test]
fn reserved_attributes_are_refused() {
    for bit in [0, 3, 12, 13, 14, 15, 20, 31] {
        let error = WireError::ReservedAttributes(1 << bit);
        assert_eq!(ObjectAttributes::from_bits(1 << bit), Err(error));
    }
    let attributes = ObjectAttributes::from_bits(0x0005_0472).unwrap();
    assert!(attributes.fixed_tpm() && attributes.fixed_parent() && attributes.restricted());
    assert!(attributes.sensitive_data_origin() && attributes.user_with_auth());
    assert!(attributes.no_da() && attributes.sign() && !attributes.decrypt());
    let (fixed, sign) = (ObjectAttributes::FIXED_TPM, ObjectAttributes::SIGN);
    let both = fixed.union(sign);
    assert_eq!((both.bits(), both.union(sign)), (fixed.bits() + sign.bits(), both));
}

#[test]
fn names_that_name_no_key_are_refused() {
    let expected = 34;
    for (bytes, length) in [(vec![0x00, 0x0b], 2), ([&[0x00, 0x0b][..], &[0; 33]].concat(), 35)] {
        let error = WireError::WrongLength { structure: Structure::Name, length, expected };
        assert_eq!(Name::from_bytes(&bytes), Err(error));
    }
    let empty = WireError::Truncated { needed: 2, left: 0 };
    assert_eq!(Name::from_bytes(&[]), Err(empty));
    // A handle, as for the permanent entities.
    let handle = [0x40, 0x00, 0x00, 0x0b];
    assert_eq!(Name::from_bytes(&handle), Err(WireError::HashAlgorithm(0x4000)));
}

#[test]
fn a_policy_must_fit_the_name_algorithm() {
    let mut key = public();
    key.auth_policy = vec![0; 20];
    let error = WireError::WrongLength { structure: Structure::Digest, length: 20, expected: 32 };
    assert_eq!(TpmtPublic::parse(&key.to_bytes()), Err(error));
}

#[test]
fn short_coordinates_and_signature_halves_are_padded() {
    let key = TpmtPublic::parse(&public().to_bytes()).unwrap();
    let point = key.ecc().unwrap().uncompressed_point();
    assert_eq!(point, [&[4][..], &[1; 32], &[0], &[2; 31]].concat());
    let bytes = [&[0, 0x18, 0, 0x0b, 0, 1, 0xab, 0, 32][..], &[0xcd; 32]].concat();
    let TpmtSignature::Ecdsa { r_s, .. } = TpmtSignature::parse(&bytes).unwrap() else {
        panic!("not ECDSA")
    };
    assert_eq!(r_s.as_slice(), [&[0; 31][..], &[0xab], &[0xcd; 32]].concat());
}

#[test]
fn pcr_values_are_measured_before_use() {
    let bank = HashAlgorithm::Sha256;
    let mut values = PcrValues::default();
    assert_eq!(values.insert(bank, 24, vec![0; 32]), Err(PcrError::NoSuchPcr { index: 24 }));
    let short = PcrError::ValueLength { bank, index: 0, length: 20 };
    assert_eq!(values.insert(bank, 0, vec![0; 20]), Err(short));
    assert_eq!(PcrSelection::new(bank, [24]), Err(PcrError::NoSuchPcr { index: 24 }));
    let indices: Vec<u8> = PcrSelection::new(bank, [23, 0, 7]).unwrap().indices().collect();
    assert_eq!(indices, [0, 7, 23]);
}

/// A sound structure with a few bytes changed, cut or added.
fn mutated(sound: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let edits = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4);
    (edits, any::<Option<prop::sample::Index>>()).prop_map(move |(edits, cut)| {
        let mut bytes = sound.clone();
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(sound.len()));
        }
        bytes
    })
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..400),
        mutated(quote().to_bytes()),
        mutated(certify().to_bytes()),
        mutated(public().to_bytes()),
        mutated(storage_key().to_bytes()),
        mutated(ecdsa().to_bytes()),
    ]
}

proptest! {
    #[test]
    fn what_parses_marshals_to_the_same_bytes(bytes in any_bytes()) {
        if let Ok(attest) = TpmsAttest::parse(&bytes) {
            prop_assert_eq!(attest.to_bytes(), &bytes[..]);
        }
        if let Ok(public) = TpmtPublic::parse(&bytes) {
            prop_assert_eq!(public.to_bytes(), &bytes[..]);
        }
        // Halves of a signature may have come shorter; they mean the same.
        if let Ok(signature) = TpmtSignature::parse(&bytes) {
            prop_assert_eq!(TpmtSignature::parse(&signature.to_bytes()), Ok(signature));
        }
    }

    #[test]
    fn sound_attestations_survive_the_wire(
        extra_data in proptest::collection::vec(any::<u8>(), 0..=66),
        clock in any::<u64>(),
        counts in any::<(u32, u32)>(),
        safe in any::<bool>(),
        firmware_version in any::<u64>(),
        indices in proptest::collection::btree_set(0_u8..24, 0..24),
    ) {
        let selection = PcrSelection::new(HashAlgorithm::Sha384, indices.iter().copied()).unwrap();
        prop_assert_eq!(selection.indices().collect::<Vec<_>>(), indices.into_iter().collect::<Vec<_>>());
        let mut attest = quote();
        attest.extra_data = extra_data;
        attest.clock_info = ClockInfo { clock, reset_count: counts.0, restart_count: counts.1, safe };
        attest.firmware_version = firmware_version;
        attest.attested = Attested::Quote(QuoteInfo { pcr_select: vec![selection], pcr_digest: vec![1; 32] });
        prop_assert_eq!(TpmsAttest::parse(&attest.to_bytes()), Ok(attest));
    }
}
