//! Enrolment of machines whose TPM is this program: who holds EK and AK opens the secret, and nobody else; what
//! does not belong together is refused by its fault.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use std::collections::BTreeMap;

use aws_lc_rs::agreement::{self, ECDH_P256, ECDH_P384};
use aws_lc_rs::cipher::{AES_128, AES_256, DecryptingKey, DecryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use aws_lc_rs::{constant_time, hmac};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, date_time_ymd,
};
use signet_evidence::binding::{enrolment_qualifying_data, sha256};
use signet_evidence::header::SignedAttest;
use signet_evidence::thumbprint::unhex;
use signet_evidence::tpm::{
    Attested, CertifyInfo, ClockInfo, EccCurve, EccParameters, HashAlgorithm, Name,
    ObjectAttributes, PcrSelection, PcrValues, PublicParameters, QuoteInfo, RsaParameters, Scheme,
    Symmetric, TpmsAttest, TpmtPublic, TpmtSignature, pcr_digest,
};
use signet_evidence::{DeviceId, RejectionCode, UnixTime};
use signet_verifier::Rejection;
use signet_verifier::certificate::TrustAnchors;
use signet_verifier::enrolment::{
    EnrolmentPolicy, EnrolmentProof, EnrolmentRandomness, EnrolmentRequest, PendingEnrolment,
    VerifiedDevice,
};
use signet_verifier::records::TpmClock;
use signet_verifier::tpm::{CredentialError, EndorsementKey, make_credential};
use zeroize::Zeroizing;

const SHA256: HashAlgorithm = HashAlgorithm::Sha256;
const SHA384: HashAlgorithm = HashAlgorithm::Sha384;
/// 2026-01-01.
const NOW: UnixTime = UnixTime(1_767_225_600);
const SECRET: [u8; 32] = [0x5e; 32];
const CLOCK: ClockInfo = ClockInfo { clock: 1000, reset_count: 3, restart_count: 1, safe: true };

// --- a TPM ---------------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
}

const KINDS: [Kind; 3] = [Kind::Rsa, Kind::P256, Kind::P384];

/// A key pair with the public area that a TPM would give it.
struct Key {
    pair: KeyPair,
    public: TpmtPublic,
}

fn point(
    pair: &KeyPair,
    curve: EccCurve,
    symmetric: Symmetric,
    scheme: Scheme,
) -> PublicParameters {
    let (x, y) = pair.public_key_raw()[1..].split_at(curve.coordinate_length());
    let (x, y) = (x.to_vec(), y.to_vec());
    PublicParameters::Ecc(EccParameters { symmetric, scheme, curve, x, y })
}

impl Key {
    fn signing(attributes: ObjectAttributes) -> Self {
        let pair = KeyPair::generate().unwrap();
        let scheme = Scheme::Ecdsa(SHA256);
        let parameters = point(&pair, EccCurve::P256, Symmetric::Null, scheme);
        let attributes = ObjectAttributes::FIXED_TPM
            .union(ObjectAttributes::FIXED_PARENT)
            .union(ObjectAttributes::SENSITIVE_DATA_ORIGIN)
            .union(ObjectAttributes::SIGN)
            .union(attributes);
        let public =
            TpmtPublic { name_algorithm: SHA256, attributes, auth_policy: vec![], parameters };
        Self { pair, public }
    }

    fn tls() -> Self {
        Self::signing(ObjectAttributes::USER_WITH_AUTH)
    }

    /// By templates L-1, L-2 and H-3 of the TCG EK Credential Profile.
    fn endorsement(kind: Kind) -> Self {
        let algorithm = match kind {
            Kind::Rsa => &PKCS_RSA_SHA256,
            Kind::P256 => &PKCS_ECDSA_P256_SHA256,
            Kind::P384 => &PKCS_ECDSA_P384_SHA384,
        };
        let pair = KeyPair::generate_for(algorithm).unwrap();
        let aes = |key_bits| Symmetric::AesCfb { key_bits };
        let parameters = match kind {
            Kind::Rsa => PublicParameters::Rsa(RsaParameters {
                symmetric: aes(128),
                scheme: Scheme::Null,
                key_bits: 2048,
                exponent: 0,
                // RSAPublicKey: two heads and a zero before the modulus, five bytes of exponent behind it.
                modulus: pair.public_key_raw()[9..265].to_vec(),
            }),
            Kind::P256 => point(&pair, EccCurve::P256, aes(128), Scheme::Null),
            Kind::P384 => point(&pair, EccCurve::P384, aes(256), Scheme::Null),
        };
        let (name_algorithm, attributes, policy) = match kind {
            Kind::Rsa | Kind::P256 => (
                SHA256,
                0x0003_00b2,
                "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa",
            ),
            Kind::P384 => (
                SHA384,
                0x0003_00f2,
                "b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419ca\
                 cb47ba09699646150f9fc000f3f80e12",
            ),
        };
        let attributes = ObjectAttributes::from_bits(attributes).unwrap();
        let auth_policy = unhex(policy).unwrap();
        Self { pair, public: TpmtPublic { name_algorithm, attributes, auth_policy, parameters } }
    }
}

fn hmac_of(hash: HashAlgorithm, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let algorithm = if hash == SHA256 { hmac::HMAC_SHA256 } else { hmac::HMAC_SHA384 };
    hmac::sign(&hmac::Key::new(algorithm, key), &parts.concat()).as_ref().to_vec()
}

/// What a `TPM2B` holds, and what follows it.
fn sized(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (size, rest) = bytes.split_first_chunk().unwrap();
    rest.split_at(usize::from(u16::from_be_bytes(*size)))
}

struct Tpm {
    ek: Key,
    ak: Key,
    tls: Key,
}

impl Tpm {
    fn new(kind: Kind) -> Self {
        let ak = Key::signing(ObjectAttributes::RESTRICTED);
        Self { ek: Key::endorsement(kind), ak, tls: Key::tls() }
    }

    /// The seed that only this EK finds (Part 1 §B.10.4, §C.6.4).
    fn seed(&self, secret: &[u8]) -> Vec<u8> {
        let private = self.ek.pair.serialize_der();
        let (hash, algorithm) = match &self.ek.public.parameters {
            PublicParameters::Rsa(_) => {
                let key = PrivateDecryptingKey::from_pkcs8(&private).unwrap();
                let key = OaepPrivateDecryptingKey::new(key).unwrap();
                let mut seed = vec![0; key.min_output_size()];
                let label = Some(b"IDENTITY\0".as_slice());
                return key
                    .decrypt(&OAEP_SHA256_MGF1SHA256, secret, &mut seed, label)
                    .unwrap()
                    .to_vec();
            }
            PublicParameters::Ecc(ecc) if ecc.curve == EccCurve::P256 => (SHA256, &ECDH_P256),
            PublicParameters::Ecc(_) => (SHA384, &ECDH_P384),
        };
        let (x, rest) = sized(secret);
        let (y, rest) = sized(rest);
        assert!(rest.is_empty());
        let own = agreement::PrivateKey::from_private_key_der(algorithm, &private).unwrap();
        let other = agreement::UnparsedPublicKey::new(algorithm, [&[4], x, y].concat());
        let ek_x = &self.ek.pair.public_key_raw()[1..=x.len()];
        // KDFe: one block is as long as the digest that is asked for.
        agreement::agree(&own, other, (), |z| {
            Ok(hash.digest(&[&1_u32.to_be_bytes(), z, b"IDENTITY\0", x, ek_x]))
        })
        .unwrap()
    }

    /// `TPM2_ActivateCredential` (Part 3 §12.5): `None` where the blob is for another AK or another EK.
    fn activate(&self, blob: &[u8], secret: &[u8]) -> Option<Vec<u8>> {
        let hash = self.ek.public.name_algorithm;
        let (seed, name) = (self.seed(secret), Name::of(&self.ak.public));
        let (integrity, identity) = sized(blob);
        let bits = |bytes: usize| u32::try_from(bytes * 8).unwrap().to_be_bytes();
        let one = 1_u32.to_be_bytes();
        // KDFa: one block again.
        let length = hash.digest_length();
        let hmac_key = hmac_of(hash, &seed, &[&one, b"INTEGRITY\0", &bits(length)]);
        let expected = hmac_of(hash, &hmac_key, &[identity, name.as_bytes()]);
        constant_time::verify_slices_are_equal(integrity, &expected).ok()?;
        let (aes, length) = if hash == SHA256 { (&AES_128, 16) } else { (&AES_256, 32) };
        let parts = [&one[..], b"STORAGE\0", name.as_bytes(), &bits(length)];
        let key = &hmac_of(hash, &seed, &parts)[..length];
        let key = DecryptingKey::cfb128(UnboundCipherKey::new(aes, key).unwrap()).unwrap();
        let mut identity = identity.to_vec();
        let start = DecryptionContext::Iv128(FixedLength::from([0; 16]));
        let (opened, rest) = sized(key.decrypt(&mut identity, start).unwrap());
        assert!(rest.is_empty());
        Some(opened.to_vec())
    }

    fn attest(&self, extra_data: &[u8], attested: Attested) -> SignedAttest {
        let attest = TpmsAttest {
            qualified_signer: Name::of(&self.ak.public),
            extra_data: extra_data.to_vec(),
            clock_info: CLOCK,
            firmware_version: 1,
            attested,
        };
        let key = self.ak.pair.serialize_der();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key).unwrap();
        let attest = attest.to_bytes();
        let r_s = key.sign(&SystemRandom::new(), &attest).unwrap();
        let r_s = r_s.as_ref().try_into().unwrap();
        SignedAttest { attest, signature: TpmtSignature::Ecdsa { hash: SHA256, r_s }.to_bytes() }
    }

    fn request(&self) -> EnrolmentRequest {
        EnrolmentRequest {
            ek_public: self.ek.public.to_bytes(),
            ek_certificate: None,
            ek_chain: Vec::new(),
            ak_public: self.ak.public.to_bytes(),
            tls_public: self.tls.public.to_bytes(),
            ek_approved: true,
        }
    }

    /// What an honest machine answers, with its PCRs of this bank.
    fn proof(&self, pending: &PendingEnrolment, bank: HashAlgorithm) -> EnrolmentProof {
        let (blob, rest) = sized(&pending.credential_blob);
        let (encrypted, more) = sized(&pending.encrypted_secret);
        assert!(rest.is_empty() && more.is_empty());
        let secret = self.activate(blob, encrypted).unwrap();
        let data = enrolment_qualifying_data(&pending.transcript, &pending.nonce);
        let name = Name::of(&self.tls.public);
        let certify = CertifyInfo { name: name.clone(), qualified_name: name };
        let pcrs: BTreeMap<u8, Vec<u8>> =
            [0, 7].map(|index| (index, vec![index; bank.digest_length()])).into();
        let values = PcrValues::of_bank(bank, pcrs.clone()).unwrap();
        let pcr_select = vec![PcrSelection::new(bank, [0, 7]).unwrap()];
        let pcr_digest = pcr_digest(&pcr_select, &values, SHA256).unwrap();
        EnrolmentProof {
            proof: hmac_of(SHA256, &secret, &[&pending.transcript, &pending.nonce]),
            certification: self.attest(&data, Attested::Certify(certify)),
            quote: self.attest(&data, Attested::Quote(QuoteInfo { pcr_select, pcr_digest })),
            pcrs,
            request: signing_request(&self.tls.pair),
        }
    }
}

/// PKCS#10.
fn signing_request(pair: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(pair).unwrap().der().to_vec()
}

// --- the authority -------------------------------------------------------------------------------

fn begin(
    request: &EnrolmentRequest,
    policy: &EnrolmentPolicy,
) -> Result<PendingEnrolment, Rejection> {
    let randomness = EnrolmentRandomness {
        secret: Zeroizing::new(SECRET),
        seed: Zeroizing::new([0x0d; 32]),
        nonce: [0x0c; 32],
        device: [0xde; 16],
    };
    PendingEnrolment::begin("enrolment-1", request, policy, randomness, NOW)
}

fn code<T>(result: Result<T, Rejection>) -> Option<RejectionCode> {
    result.err().map(|rejection| rejection.code())
}

fn enrolled(
    tpm: &Tpm,
    edit: impl FnOnce(&mut EnrolmentProof),
) -> Result<VerifiedDevice, Rejection> {
    let pending = begin(&tpm.request(), &EnrolmentPolicy::default()).unwrap();
    let mut proof = tpm.proof(&pending, SHA256);
    edit(&mut proof);
    pending.finish(&proof)
}

/// Who makes TPMs, and certifies their EKs.
struct Maker(Issuer<'static, KeyPair>, TrustAnchors);

impl Maker {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().to_vec();
        Self(Issuer::new(params, key), TrustAnchors::from_der([root]).unwrap())
    }

    fn certify(&self, ek: &Key) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1])];
        params.signed_by(&ek.pair, &self.0).unwrap().der().to_vec()
    }

    fn policy(&self) -> EnrolmentPolicy {
        EnrolmentPolicy { makers: self.1.clone(), ..EnrolmentPolicy::default() }
    }
}

// --- tests ---------------------------------------------------------------------------------------

#[test]
fn a_machine_enrols_with_every_kind_of_endorsement_key_and_either_bank() {
    for (kind, bank) in [(Kind::Rsa, SHA256), (Kind::P256, SHA384), (Kind::P384, SHA256)] {
        let tpm = Tpm::new(kind);
        let pending = begin(&tpm.request(), &EnrolmentPolicy::default()).unwrap();
        assert_eq!(pending.id, "enrolment-1");
        let proof = tpm.proof(&pending, bank);
        let device = pending.finish(&proof).unwrap();
        assert_eq!(device.device(), &DeviceId::from_random(&[0xde; 16]).unwrap());
        assert_eq!(device.ak().uncompressed_point().as_slice(), tpm.ak.pair.public_key_raw());
        assert_eq!(device.ak_name(), &Name::of(&tpm.ak.public));
        assert_eq!(device.tls_key().uncompressed_point().as_slice(), tpm.tls.pair.public_key_raw());
        assert_eq!(device.ek_digest(), sha256(&tpm.ek.public.to_bytes()));
        assert_eq!(device.clock(), TpmClock::from(CLOCK));
        assert_eq!(device.pcrs(), &proof.pcrs);
        assert!(!device.endorsement_proven(), "{kind:?}");
    }
}

/// The secret is wrapped for one EK and one AK: whoever holds one of them only learns nothing.
#[test]
fn the_secret_opens_in_the_tpm_that_holds_both_keys_only() {
    for kind in KINDS {
        let mut tpm = Tpm::new(kind);
        let ek = EndorsementKey::from_public(&tpm.ek.public).unwrap();
        let name = Name::of(&tpm.ak.public);
        let wrap = |secret: &[u8]| make_credential(&ek, &name, secret, &Zeroizing::new([7; 32]));
        let limit = ek.public().name_algorithm.digest_length();
        for length in [1, 16, limit] {
            let secret = vec![0xa5; length];
            let made = wrap(&secret).unwrap();
            let opened = tpm.activate(&made.credential_blob, &made.encrypted_secret);
            assert_eq!(opened, Some(secret), "{kind:?}");
        }
        let made = wrap(&SECRET).unwrap();
        tpm.ak = Key::signing(ObjectAttributes::RESTRICTED);
        assert_eq!(tpm.activate(&made.credential_blob, &made.encrypted_secret), None, "{kind:?}");
        for length in [0, limit + 1] {
            let refused = wrap(&vec![0xa5; length]);
            assert_eq!(refused, Err(CredentialError::SecretLength { length, limit }), "{kind:?}");
        }
    }
}

/// A key that is none is the sender's fault, not the library's.
#[test]
fn a_secret_is_wrapped_for_public_keys_only() {
    let wrap = |public: &TpmtPublic| {
        let ek = EndorsementKey::from_public(public).unwrap();
        let name = Name::of(&Key::tls().public);
        make_credential(&ek, &name, &SECRET, &Zeroizing::new([7; 32])).map(|_| ())
    };
    for kind in KINDS {
        let mut public = Key::endorsement(kind).public;
        assert_eq!(wrap(&public), Ok(()));
        match &mut public.parameters {
            PublicParameters::Ecc(ecc) => ecc.x[3] ^= 1,
            PublicParameters::Rsa(rsa) => *rsa.modulus.last_mut().unwrap() &= 0xfe,
        }
        assert_eq!(wrap(&public), Err(CredentialError::PublicKey), "{kind:?}");
    }
}

#[test]
fn a_tpm_without_certificate_needs_somebody_who_answers_for_it() {
    let unapproved = Some(RejectionCode::EkUnapproved);
    let tpm = Tpm::new(Kind::P256);
    let due = [(false, false, unapproved), (true, false, None), (false, true, None)];
    for (ek_approved, danger_accept_unproven, due) in due {
        let policy = EnrolmentPolicy { danger_accept_unproven, ..EnrolmentPolicy::default() };
        let request = EnrolmentRequest { ek_approved, ..tpm.request() };
        assert_eq!(code(begin(&request, &policy)), due);
    }
}

#[test]
fn a_makers_certificate_is_believed_for_its_own_key_only() {
    let (maker, other) = (Maker::new(), Maker::new());
    for kind in KINDS {
        let (tpm, foreign) = (Tpm::new(kind), Key::endorsement(kind));
        let with = |certificate| EnrolmentRequest {
            ek_certificate: Some(certificate),
            ek_approved: false,
            ..tpm.request()
        };
        let pending = begin(&with(maker.certify(&tpm.ek)), &maker.policy()).unwrap();
        let proof = tpm.proof(&pending, SHA256);
        assert!(pending.finish(&proof).unwrap().endorsement_proven(), "{kind:?}");
        let mismatch = begin(&with(maker.certify(&foreign)), &maker.policy());
        assert_eq!(code(mismatch), Some(RejectionCode::EkMismatch), "{kind:?}");
        // Where none would do, one that is not believed is refused all the same.
        let policy = EnrolmentPolicy { danger_accept_unproven: true, ..maker.policy() };
        let untrusted = begin(&with(other.certify(&tpm.ek)), &policy);
        assert_eq!(code(untrusted), Some(RejectionCode::EkUntrusted), "{kind:?}");
    }
}

#[test]
fn each_public_area_must_be_of_its_kind() {
    let tpm = Tpm::new(Kind::P256);
    let judge = |edit: fn(&Tpm, &mut EnrolmentRequest)| {
        let mut request = tpm.request();
        edit(&tpm, &mut request);
        code(begin(&request, &EnrolmentPolicy::default()))
    };
    let ek = judge(|tpm, request| request.ek_public = tpm.ak.public.to_bytes());
    assert_eq!(ek, Some(RejectionCode::EkMismatch));
    let ak = judge(|tpm, request| request.ak_public = tpm.tls.public.to_bytes());
    assert_eq!(ak, Some(RejectionCode::AkAttributes));
    let tls = judge(|tpm, request| request.tls_public = tpm.ak.public.to_bytes());
    assert_eq!(tls, Some(RejectionCode::TlsKeyAttributes));
    let malformed = judge(|_, request| request.tls_public.push(0));
    assert_eq!(malformed, Some(RejectionCode::TlsKeyAttributes));
}

#[test]
fn an_answer_that_does_not_prove_is_refused_by_its_fault() {
    use RejectionCode as C;
    let tpm = Tpm::new(Kind::P256);
    let foreign = Tpm::new(Kind::P256);
    let judge = |edit: &dyn Fn(&mut EnrolmentProof)| code(enrolled(&tpm, edit));
    assert_eq!(judge(&|_| ()), None);
    assert_eq!(judge(&|proof| proof.proof[0] ^= 1), Some(C::ActivationFailed));
    assert_eq!(judge(&|proof| proof.proof.truncate(16)), Some(C::ActivationFailed));
    // Another key of the same TPM, honestly certified.
    let name = Name::of(&foreign.tls.public);
    let other = Attested::Certify(CertifyInfo { name: name.clone(), qualified_name: name });
    let pending = begin(&tpm.request(), &EnrolmentPolicy::default()).unwrap();
    let sound = tpm.proof(&pending, SHA256);
    let data = enrolment_qualifying_data(&pending.transcript, &pending.nonce);
    let certification = tpm.attest(&data, other);
    let refused = pending.finish(&EnrolmentProof { certification, ..sound });
    assert_eq!(code(refused), Some(C::CertificationKeyMismatch));
    // Those of an earlier enrolment: the same keys, and another transcript.
    let pending = begin(&tpm.request(), &EnrolmentPolicy::default()).unwrap();
    let stale = tpm.proof(&pending, SHA256);
    let mac = |proof: &mut EnrolmentProof| proof.proof.clone_from(&stale.proof);
    assert_eq!(judge(&mac), Some(C::ActivationFailed));
    let certification =
        |proof: &mut EnrolmentProof| proof.certification = stale.certification.clone();
    assert_eq!(judge(&certification), Some(C::CertificationChallengeMismatch));
    let quote = |proof: &mut EnrolmentProof| proof.quote = stale.quote.clone();
    assert_eq!(judge(&quote), Some(C::QuoteChallengeMismatch));
    assert_eq!(judge(&|proof| proof.pcrs.clear()), Some(C::PcrDigestMismatch));
}

/// The certificate is made for the key that was certified, and its holder asks for it.
#[test]
fn a_certificate_request_is_for_the_certified_key_and_signed_by_it() {
    let (tpm, foreign) = (Tpm::new(Kind::P256), Key::tls());
    let judge = |request: Vec<u8>| code(enrolled(&tpm, |proof| proof.request = request));
    let mismatch = Some(RejectionCode::CsrMismatch);
    let own = signing_request(&tpm.tls.pair);
    assert_eq!(judge(own.clone()), None);
    assert_eq!(judge([&own[..], &[0]].concat()), mismatch);
    assert_eq!(judge(own[1..].to_vec()), mismatch);
    assert_eq!(judge(signing_request(&foreign.pair)), mismatch);
    let mut forged = own;
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(judge(forged), mismatch);
}
