//! Quotes and certifications: sound ones are believed, and each fault has its own name.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::Value;
use signet_evidence::tpm::{
    Attested, CertifyInfo, ClockInfo, EccCurve, EccParameters, HashAlgorithm, Name,
    ObjectAttributes, PcrError, PcrSelection, PcrValues, PublicParameters, QuoteInfo,
    RsaParameters, Scheme, Structure, Symmetric, TpmsAttest, TpmtPublic, TpmtSignature, WireError,
    pcr_digest,
};
use signet_verifier::tpm::{
    AttestationKey, CertificationError, EndorsementKey, QuoteError, TemplateError, TlsKey,
    VerifiedCertification, VerifiedQuote,
};

const QUALIFYING_DATA: [u8; 32] = [0x51; 32];
const SHA256: HashAlgorithm = HashAlgorithm::Sha256;

fn fixed() -> ObjectAttributes {
    ObjectAttributes::FIXED_TPM
        .union(ObjectAttributes::FIXED_PARENT)
        .union(ObjectAttributes::SENSITIVE_DATA_ORIGIN)
        .union(ObjectAttributes::USER_WITH_AUTH)
        .union(ObjectAttributes::SIGN)
}

/// A key outside any TPM, with the public area of one inside: what a forger has.
struct Key {
    pair: EcdsaKeyPair,
    public: TpmtPublic,
}

impl Key {
    fn new(attributes: ObjectAttributes) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = pair.public_key().as_ref();
        let public = TpmtPublic {
            name_algorithm: SHA256,
            attributes,
            auth_policy: vec![],
            parameters: PublicParameters::Ecc(EccParameters {
                symmetric: Symmetric::Null,
                scheme: Scheme::Ecdsa(SHA256),
                curve: EccCurve::P256,
                x: point[1..33].to_vec(),
                y: point[33..].to_vec(),
            }),
        };
        Self { pair, public }
    }

    fn ak() -> Self {
        Self::new(fixed().union(ObjectAttributes::RESTRICTED))
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.pair.sign(&SystemRandom::new(), message).unwrap();
        let r_s = signature.as_ref().try_into().unwrap();
        TpmtSignature::Ecdsa { hash: SHA256, r_s }.to_bytes()
    }

    fn attestation_key(&self) -> AttestationKey {
        AttestationKey::from_public(&self.public).unwrap()
    }
}

fn values() -> PcrValues {
    PcrValues::of_bank(SHA256, [0, 4, 7].map(|index| (index, vec![index; 32]))).unwrap()
}

fn attest(attested: Attested) -> TpmsAttest {
    TpmsAttest {
        qualified_signer: Name::of(&Key::ak().public),
        extra_data: QUALIFYING_DATA.to_vec(),
        clock_info: ClockInfo { clock: 1000, reset_count: 3, restart_count: 1, safe: true },
        firmware_version: 0x2019_1023,
        attested,
    }
}

fn quote() -> TpmsAttest {
    let pcr_select = vec![PcrSelection::new(SHA256, [0, 4, 7]).unwrap()];
    let pcr_digest = pcr_digest(&pcr_select, &values(), SHA256).unwrap();
    attest(Attested::Quote(QuoteInfo { pcr_select, pcr_digest }))
}

fn certify(key: &TpmtPublic) -> TpmsAttest {
    let name = Name::of(key);
    attest(Attested::Certify(CertifyInfo { name: name.clone(), qualified_name: name }))
}

/// Signs `attest` with a fresh AK and verifies it as a quote.
fn judge_quote(attest: &[u8], values: Option<PcrValues>) -> Result<VerifiedQuote, QuoteError> {
    let ak = Key::ak();
    VerifiedQuote::verify(&ak.attestation_key(), attest, &ak.sign(attest), &QUALIFYING_DATA, values)
}

fn judge_certification(
    attest: &[u8],
    public: &[u8],
) -> Result<VerifiedCertification, CertificationError> {
    let ak = Key::ak();
    let signature = ak.sign(attest);
    VerifiedCertification::verify(
        &ak.attestation_key(),
        attest,
        &signature,
        &QUALIFYING_DATA,
        public,
    )
}

#[test]
fn a_sound_quote_is_believed() {
    let verified = judge_quote(&quote().to_bytes(), Some(values())).unwrap();
    assert_eq!(verified.clock_info(), quote().clock_info);
    assert_eq!(verified.firmware_version(), 0x2019_1023);
    assert_eq!(verified.pcr_values(), Some(&values()));
    let Attested::Quote(info) = quote().attested else { panic!("a quote") };
    assert_eq!(verified.pcr_digest(), info.pcr_digest);
    assert_eq!(verified.pcr_select(), info.pcr_select);
    let without_values = judge_quote(&quote().to_bytes(), None).unwrap();
    assert_eq!(without_values.pcr_values(), None);
    assert_eq!(without_values.pcr_digest(), verified.pcr_digest());
    assert_eq!(without_values.pcr_select(), verified.pcr_select());
}

#[test]
fn a_forged_quote_is_refused_by_its_fault() {
    use QuoteError as E;
    let forged = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = quote().to_bytes();
        edit(&mut bytes);
        judge_quote(&bytes, Some(values())).unwrap_err()
    };
    assert_eq!(forged(&|bytes| bytes[3] ^= 1), E::Magic { found: 0xff54_4346 });
    assert_eq!(forged(&|bytes| bytes[5] = 0x1a), E::Type { found: 0x801a });
    let trailing = WireError::Trailing { left: 1 };
    assert_eq!(forged(&|bytes| bytes.push(0)), E::Malformed(trailing));
    let certification = certify(&Key::ak().public).to_bytes();
    assert_eq!(judge_quote(&certification, None).unwrap_err(), E::Type { found: 0x8017 });
    for extra_data in [vec![], vec![0x51; 31], vec![0x51; 33], vec![0x52; 32]] {
        let other = TpmsAttest { extra_data, ..quote() }.to_bytes();
        assert_eq!(judge_quote(&other, Some(values())).unwrap_err(), E::ExtraData);
    }
}

#[test]
fn faults_are_judged_in_order() {
    // Wrong in everything: the signature speaks first, then magic, type, extraData, PCRs.
    let mut attest = TpmsAttest { extra_data: vec![], ..certify(&Key::ak().public) }.to_bytes();
    attest[0] = 0;
    let ak = Key::ak().attestation_key();
    let foreign = Key::ak().sign(&attest);
    let error = VerifiedQuote::verify(&ak, &attest, &foreign, &QUALIFYING_DATA, None).unwrap_err();
    assert_eq!(error, QuoteError::SignatureInvalid);
    assert_eq!(judge_quote(&attest, None).unwrap_err(), QuoteError::Magic { found: 0x0054_4347 });
    attest[0] = 0xff;
    assert_eq!(judge_quote(&attest, None).unwrap_err(), QuoteError::Type { found: 0x8017 });
    let extra_data = TpmsAttest { extra_data: vec![], ..quote() }.to_bytes();
    let no_values = Some(PcrValues::default());
    assert_eq!(judge_quote(&extra_data, no_values).unwrap_err(), QuoteError::ExtraData);
}

#[test]
fn signatures_of_other_keys_schemes_and_bytes_are_refused() {
    let (ak, attest) = (Key::ak(), quote().to_bytes());
    let verify = |signature: &[u8]| {
        VerifiedQuote::verify(&ak.attestation_key(), &attest, signature, &QUALIFYING_DATA, None)
            .unwrap_err()
    };
    assert_eq!(verify(&Key::ak().sign(&attest)), QuoteError::SignatureInvalid);
    assert_eq!(verify(&ak.sign(b"other")), QuoteError::SignatureInvalid);
    let zero = TpmtSignature::Ecdsa { hash: SHA256, r_s: [0; 64] };
    assert_eq!(verify(&zero.to_bytes()), QuoteError::SignatureInvalid);
    let mut by_sha1 = ak.sign(&attest);
    by_sha1[3] = 0x04;
    assert_eq!(verify(&by_sha1), QuoteError::SignatureScheme);
    let mut by_sm3 = ak.sign(&attest);
    by_sm3[3] = 0x12;
    assert_eq!(verify(&by_sm3), QuoteError::SignatureScheme);
    let rsa = TpmtSignature::Rsassa { hash: SHA256, signature: vec![1; 256] };
    assert_eq!(verify(&rsa.to_bytes()), QuoteError::SignatureScheme);
    let mut pss = rsa.to_bytes();
    pss[1] = 0x16;
    assert_eq!(verify(&pss), QuoteError::SignatureScheme);
    let mut longer = ak.sign(&attest);
    longer.push(0);
    assert_eq!(verify(&longer), QuoteError::Malformed(WireError::Trailing { left: 1 }));
}

#[test]
fn pcr_values_are_exactly_those_that_were_quoted() {
    let bank = SHA256;
    let judge = |values| judge_quote(&quote().to_bytes(), Some(values)).unwrap_err();
    let of = |values: Vec<(u8, Vec<u8>)>| PcrValues::of_bank(bank, values).unwrap();
    let sound = || vec![(0, vec![0; 32]), (4, vec![4; 32]), (7, vec![7; 32])];
    let mut other = sound();
    other[1].1[31] ^= 1;
    assert_eq!(judge(of(other)), QuoteError::PcrDigest);
    let missing = PcrError::Missing { bank, index: 7 };
    assert_eq!(judge(of(sound()[..2].to_vec())), QuoteError::PcrSelection(missing));
    let mut more = sound();
    more.push((23, vec![0; 32]));
    let not_selected = PcrError::NotSelected { bank, index: 23 };
    assert_eq!(judge(of(more)), QuoteError::PcrSelection(not_selected));
}

#[test]
fn a_sound_certification_is_believed() {
    let key = Key::new(fixed());
    let public = key.public.to_bytes();
    let verified = judge_certification(&certify(&key.public).to_bytes(), &public).unwrap();
    assert_eq!(verified.key(), &TlsKey::from_public(&key.public).unwrap());
    let point = verified.key().public_key().uncompressed_point();
    assert_eq!(point.as_slice(), key.pair.public_key().as_ref());
    assert_eq!(verified.name(), &Name::of(&key.public));
    assert_eq!(verified.clock_info().reset_count, 3);
}

#[test]
fn a_forged_certification_is_refused_by_its_fault() {
    use CertificationError as E;
    let key = Key::new(fixed()).public;
    let judge = |attest: TpmsAttest, public: &TpmtPublic| {
        judge_certification(&attest.to_bytes(), &public.to_bytes()).unwrap_err()
    };
    assert_eq!(judge(quote(), &key), E::Type { found: 0x8018 });
    let other = TpmsAttest { extra_data: vec![0; 32], ..certify(&key) };
    assert_eq!(judge(other, &key), E::ExtraData);
    // Another key, and the same key with one attribute more.
    assert_eq!(judge(certify(&key), &Key::new(fixed()).public), E::Name);
    let attributes = key.attributes.union(ObjectAttributes::NO_DA);
    assert_eq!(judge(certify(&key), &TpmtPublic { attributes, ..key.clone() }), E::Name);
    let loose = Key::new(fixed().difference(ObjectAttributes::FIXED_TPM)).public;
    let missing = TemplateError::MissingAttributes(ObjectAttributes::FIXED_TPM);
    assert_eq!(judge(certify(&loose), &loose), E::Template(missing));
    let restricted = Key::ak().public;
    let forbidden = TemplateError::ForbiddenAttributes(ObjectAttributes::RESTRICTED);
    assert_eq!(judge(certify(&restricted), &restricted), E::Template(forbidden));
    let attest = certify(&key).to_bytes();
    let error = judge_certification(&attest, &key.to_bytes()[..20]).unwrap_err();
    assert!(matches!(error, E::Public(WireError::Truncated { .. })), "{error:?}");
    let mut magic = certify(&key).to_bytes();
    magic[0] = 0;
    let error = judge_certification(&magic, &key.to_bytes()).unwrap_err();
    assert_eq!(error, E::Magic { found: 0x0054_4347 });
    let (ak, other) = (Key::ak(), Key::ak());
    let (ak, signature) = (ak.attestation_key(), other.sign(&attest));
    let error = VerifiedCertification::verify(&ak, &attest, &signature, &QUALIFYING_DATA, &[]);
    assert_eq!(error.unwrap_err(), E::SignatureInvalid);
}

#[test]
fn an_attestation_key_must_be_restricted_fixed_and_made_inside() {
    use TemplateError as E;
    let ak = Key::ak().public;
    for attribute in [
        ObjectAttributes::FIXED_TPM,
        ObjectAttributes::FIXED_PARENT,
        ObjectAttributes::SENSITIVE_DATA_ORIGIN,
        ObjectAttributes::RESTRICTED,
        ObjectAttributes::SIGN,
    ] {
        let attributes = ak.attributes.difference(attribute);
        let public = TpmtPublic { attributes, ..ak.clone() };
        assert_eq!(AttestationKey::from_public(&public), Err(E::MissingAttributes(attribute)));
    }
    for attribute in [ObjectAttributes::DECRYPT, ObjectAttributes::X509_SIGN] {
        let attributes = ak.attributes.union(attribute);
        let public = TpmtPublic { attributes, ..ak.clone() };
        assert_eq!(AttestationKey::from_public(&public), Err(E::ForbiddenAttributes(attribute)));
    }
    let sha1 = TpmtPublic { name_algorithm: HashAlgorithm::Sha1, ..ak.clone() };
    let error = E::NameAlgorithm(HashAlgorithm::Sha1);
    assert_eq!(AttestationKey::from_public(&sha1), Err(error));
    let with = |edit: &dyn Fn(&mut EccParameters)| {
        let mut public = ak.clone();
        if let PublicParameters::Ecc(ecc) = &mut public.parameters {
            edit(ecc);
        }
        (
            AttestationKey::from_public(&public).unwrap_err(),
            TlsKey::from_public(&TpmtPublic { attributes: fixed(), ..public }).unwrap_err(),
        )
    };
    let both = |error: E| (error, error);
    assert_eq!(with(&|ecc| ecc.scheme = Scheme::Null), both(E::Scheme(Scheme::Null)));
    let sha384 = Scheme::Ecdsa(HashAlgorithm::Sha384);
    assert_eq!(with(&|ecc| ecc.scheme = sha384), both(E::Scheme(sha384)));
    let aes = Symmetric::AesCfb { key_bits: 128 };
    assert_eq!(with(&|ecc| ecc.symmetric = aes), both(E::Symmetric(aes)));
    assert_eq!(with(&|ecc| ecc.curve = EccCurve::P384), both(E::KeyType));
    assert_eq!(with(&|ecc| ecc.x[31] ^= 1), both(E::PublicKey));
    assert_eq!(with(&|ecc| ecc.y = vec![]), both(E::PublicKey));
}

#[test]
fn attestation_keys_of_published_quotes_are_rsa_and_refused() {
    for text in [
        include_str!("../../fixtures/published/tpm-quotes/windows-gce-sha1.json"),
        include_str!("../../fixtures/published/tpm-quotes/gce-cos-85-no-nonce-sha256.json"),
    ] {
        let published: Value = serde_json::from_str(text).unwrap();
        let public = TpmtPublic::parse(&unhex(&published["ak_public"])).unwrap();
        assert_eq!(AttestationKey::from_public(&public), Err(TemplateError::KeyType));
        // Under any of our keys, their quotes fail on the scheme, before anything is believed.
        let (attest, signature) = (unhex(&published["attest"]), unhex(&published["signature"]));
        let ak = Key::ak().attestation_key();
        let extra_data = unhex(&published["extra_data"]);
        let error = VerifiedQuote::verify(&ak, &attest, &signature, &extra_data, None);
        assert_eq!(error.unwrap_err(), QuoteError::SignatureScheme);
    }
}

#[test]
fn a_tpm_drops_leading_zeros_of_a_signature() {
    let (ak, attest) = (Key::ak(), quote().to_bytes());
    let (r_s, half) = loop {
        let TpmtSignature::Ecdsa { r_s, .. } = TpmtSignature::parse(&ak.sign(&attest)).unwrap()
        else {
            panic!("not ECDSA")
        };
        if let Some(half) = [0, 32].into_iter().find(|half| r_s[*half] == 0) {
            break (r_s, half);
        }
    };
    let mut bytes = vec![0, 0x18, 0, 0x0b];
    for start in [0, 32] {
        let cut = usize::from(start == half);
        bytes.extend_from_slice(&u16::try_from(32 - cut).unwrap().to_be_bytes());
        bytes.extend_from_slice(&r_s[start + cut..start + 32]);
    }
    let key = ak.attestation_key();
    VerifiedQuote::verify(&key, &attest, &bytes, &QUALIFYING_DATA, Some(values())).unwrap();
}

#[test]
fn structures_that_are_too_long_are_malformed() {
    let mut attest = quote().to_bytes();
    attest[6..8].copy_from_slice(&0xffff_u16.to_be_bytes());
    let error = WireError::TooLong { structure: Structure::Name, length: 0xffff, limit: 66 };
    assert_eq!(judge_quote(&attest, None).unwrap_err(), QuoteError::Malformed(error));
}

#[test]
fn an_endorsement_key_must_be_of_a_known_template() {
    use TemplateError as E;
    let modulus = [&[0xc3][..], &[0x11; 255]].concat();
    let ek = TpmtPublic {
        name_algorithm: SHA256,
        attributes: ObjectAttributes::from_bits(0x0003_00b2).unwrap(),
        auth_policy: unhex(
            &"837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa".into(),
        ),
        parameters: PublicParameters::Rsa(RsaParameters {
            symmetric: Symmetric::AesCfb { key_bits: 128 },
            scheme: Scheme::Null,
            key_bits: 2048,
            exponent: 0,
            modulus,
        }),
    };
    let judge = |edit: &dyn Fn(&mut TpmtPublic, &mut RsaParameters)| {
        let mut public = ek.clone();
        let PublicParameters::Rsa(mut rsa) = public.parameters.clone() else { panic!("not RSA") };
        edit(&mut public, &mut rsa);
        public.parameters = PublicParameters::Rsa(rsa);
        EndorsementKey::from_public(&public).map(|ek| ek.name())
    };
    assert_eq!(judge(&|_, _| ()), Ok(Name::of(&ek)));
    let error = judge(&|public, _| public.auth_policy[0] ^= 1);
    assert_eq!(error, Err(E::AuthPolicy));
    assert_eq!(judge(&|public, _| public.auth_policy.clear()), Err(E::AuthPolicy));
    let error = judge(&|public, _| public.name_algorithm = HashAlgorithm::Sha384);
    assert_eq!(error, Err(E::NameAlgorithm(HashAlgorithm::Sha384)));
    let aes = Symmetric::AesCfb { key_bits: 256 };
    assert_eq!(judge(&|_, rsa| rsa.symmetric = aes), Err(E::Symmetric(aes)));
    let scheme = Scheme::Rsassa(SHA256);
    assert_eq!(judge(&|_, rsa| rsa.scheme = scheme), Err(E::Scheme(scheme)));
    assert_eq!(judge(&|_, rsa| rsa.key_bits = 1024), Err(E::KeyType));
    assert_eq!(judge(&|_, rsa| rsa.modulus.truncate(128)), Err(E::PublicKey));
    // 2048 bits: the highest is set.
    assert!(judge(&|_, rsa| rsa.modulus[0] = 0x80).is_ok());
    assert_eq!(judge(&|_, rsa| rsa.modulus[0] = 0x7f), Err(E::PublicKey));
    let sign = ObjectAttributes::SIGN;
    let error = judge(&|public, _| public.attributes = public.attributes.union(sign));
    assert_eq!(error, Err(E::ForbiddenAttributes(sign)));
    let restricted = ObjectAttributes::RESTRICTED;
    let error = judge(&|public, _| public.attributes = public.attributes.difference(restricted));
    assert_eq!(error, Err(E::MissingAttributes(restricted)));
}

fn unhex(text: &Value) -> Vec<u8> {
    signet_evidence::thumbprint::unhex(text.as_str().unwrap()).unwrap()
}
