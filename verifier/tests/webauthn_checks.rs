//! Assertions and registrations of keys made here: every fault has its own name.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

#[path = "webauthn_checks/attestation.rs"]
mod attestation;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, Issuer,
    KeyPair, date_time_ymd,
};
use signet_evidence::binding::sha256;
use signet_evidence::webauthn::{
    Aaguid, AttestationObject, AttestationStatement, AuthenticatorDataError, Ceremony, ClientData,
    ClientDataError, CoseKey, CoseKeyError, PackedStatement, U2fStatement,
};
use signet_evidence::{FidoAssertion, FidoRegistration, UnixTime};
use signet_verifier::certificate::TrustAnchors;
use signet_verifier::webauthn::{
    AssertionError, AttestationError, ExpectedAssertion, ExpectedRegistration, RegistrationError,
    UserVerification, VerifiedAssertion, VerifiedRegistration,
};

/// 2026-01-01.
const NOW: UnixTime = UnixTime(1_767_225_600);
const RP_ID: &str = "presence.mesh.example";
const ORIGIN: &str = "https://presence.mesh.example";
const CHALLENGE: [u8; 32] = [0xc4; 32];
const CREDENTIAL_ID: [u8; 48] = [0x1d; 48];
const MODEL: Aaguid = Aaguid([0xaa; 16]);
const UP: u8 = 0x01;
const UV: u8 = 0x04;
const BE: u8 = 0x08;
const BS: u8 = 0x10;
const AT: u8 = 0x40;
const ED: u8 = 0x80;

fn client_data(ceremony: Ceremony) -> ClientData<'static> {
    ClientData { ceremony, challenge: &CHALLENGE, origin: ORIGIN }
}

/// A credential's private key.
struct Credential(EcdsaKeyPair);

impl Credential {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    fn public_key(&self) -> CoseKey {
        let point = self.0.public_key().as_ref();
        CoseKey::from_coordinates(point[1..33].try_into().unwrap(), point[33..].try_into().unwrap())
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }

    /// An assertion with the given authenticator data and client data.
    fn assert(&self, authenticator_data: Vec<u8>, client_data: Vec<u8>) -> FidoAssertion {
        let signed = [&authenticator_data[..], &sha256(&client_data)].concat();
        FidoAssertion {
            credential_id: CREDENTIAL_ID.to_vec(),
            signature: self.sign(&signed),
            authenticator_data,
            client_data,
            observed: None,
        }
    }
}

fn authenticator_data(flags: u8, sign_count: u32) -> Vec<u8> {
    [&sha256(RP_ID.as_bytes())[..], &[flags], &sign_count.to_be_bytes()].concat()
}

fn judge_assertion(
    credential: &Credential,
    assertion: &FidoAssertion,
    edit: impl FnOnce(&mut ExpectedAssertion<'_>),
) -> Result<VerifiedAssertion, AssertionError> {
    let public_key = credential.public_key();
    let mut expected = ExpectedAssertion {
        credential_id: &CREDENTIAL_ID,
        public_key: &public_key,
        sign_count: 0,
        challenge: &CHALLENGE,
        rp_id: RP_ID,
        origin: ORIGIN,
        user_verification: UserVerification::Required,
    };
    edit(&mut expected);
    VerifiedAssertion::verify(assertion, &expected)
}

#[test]
fn a_sound_assertion_is_believed() {
    let credential = Credential::new();
    let json = client_data(Ceremony::Authentication).to_json();
    let verified = credential.assert(authenticator_data(UP | UV, 7), json.clone());
    let verified = judge_assertion(&credential, &verified, |_| ()).unwrap();
    assert!(verified.user_verified());
    assert_eq!((verified.sign_count(), verified.credential_id()), (7, CREDENTIAL_ID.as_slice()));
    let touch = credential.assert(authenticator_data(UP, 0), json);
    let discouraged = |expected: &mut ExpectedAssertion<'_>| {
        expected.user_verification = UserVerification::Discouraged;
    };
    assert!(!judge_assertion(&credential, &touch, discouraged).unwrap().user_verified());
}

#[test]
fn flags_are_judged_one_by_one() {
    use AssertionError as E;
    let credential = Credential::new();
    let with = |flags| {
        let json = client_data(Ceremony::Authentication).to_json();
        let assertion = credential.assert(authenticator_data(flags, 0), json);
        judge_assertion(&credential, &assertion, |_| ()).unwrap_err()
    };
    assert_eq!(with(0), E::UserPresence);
    assert_eq!(with(UV), E::UserPresence);
    assert_eq!(with(UP), E::UserVerification);
    assert_eq!(with(UP | UV | BE), E::BackupEligible);
    assert_eq!(with(UP | UV | BE | BS), E::BackupEligible);
    assert_eq!(with(UP | UV | BS), E::BackupEligible);
    let truncated = E::AuthenticatorData(AuthenticatorDataError::Truncated);
    assert_eq!(with(UP | UV | AT), truncated);
}

#[test]
fn an_assertion_of_something_else_is_refused_by_what_it_is() {
    use AssertionError as E;
    let credential = Credential::new();
    let data = || authenticator_data(UP | UV, 0);
    let json = || client_data(Ceremony::Authentication).to_json();
    let judge =
        |assertion: &FidoAssertion| judge_assertion(&credential, assertion, |_| ()).unwrap_err();
    let mut other = credential.assert(data(), json());
    other.credential_id[0] ^= 1;
    assert_eq!(judge(&other), E::CredentialMismatch);
    let with = |edit: &dyn Fn(&mut ClientData<'_>)| {
        let mut client_data = client_data(Ceremony::Authentication);
        edit(&mut client_data);
        judge(&credential.assert(data(), client_data.to_json()))
    };
    assert_eq!(with(&|client| client.challenge = &[0; 32]), E::Challenge);
    let error = with(&|client| client.ceremony = Ceremony::Registration);
    assert_eq!(error, E::ClientData(ClientDataError::Type));
    let error = with(&|client| client.origin = "https://mesh.example");
    assert_eq!(error, E::ClientData(ClientDataError::Origin));
    let cross = String::from_utf8(json()).unwrap().replace("false", "true");
    let error = judge(&credential.assert(data(), cross.into_bytes()));
    assert_eq!(error, E::ClientData(ClientDataError::CrossOrigin));
    let mut foreign = data();
    foreign[0] ^= 1;
    assert_eq!(judge(&credential.assert(foreign, json())), E::RpId);
    let attested = [&data()[..32], &[UP | UV | AT], &[0; 4], &attested_data(&credential, MODEL)];
    let error = judge(&credential.assert(attested.concat(), json()));
    assert_eq!(error, E::AttestedCredentialData);
}

#[test]
fn a_signature_of_other_bytes_or_keys_is_refused() {
    let credential = Credential::new();
    let json = client_data(Ceremony::Authentication).to_json();
    let sound = credential.assert(authenticator_data(UP | UV, 3), json.clone());
    let judge =
        |assertion: &FidoAssertion| judge_assertion(&credential, assertion, |_| ()).unwrap_err();
    let mut counted = sound.clone();
    counted.authenticator_data[36] = 4;
    assert_eq!(judge(&counted), AssertionError::SignatureInvalid);
    let mut cut = sound.clone();
    cut.signature.pop();
    assert_eq!(judge(&cut), AssertionError::SignatureInvalid);
    let mut empty = sound.clone();
    empty.signature.clear();
    assert_eq!(judge(&empty), AssertionError::SignatureInvalid);
    let stranger = Credential::new().assert(authenticator_data(UP | UV, 3), json);
    assert_eq!(judge(&stranger), AssertionError::SignatureInvalid);
    let off_curve = CoseKey::from_coordinates(&[1; 32], &[2; 32]);
    let expected = ExpectedAssertion {
        credential_id: &CREDENTIAL_ID,
        public_key: &off_curve,
        sign_count: 0,
        challenge: &CHALLENGE,
        rp_id: RP_ID,
        origin: ORIGIN,
        user_verification: UserVerification::Required,
    };
    let error = VerifiedAssertion::verify(&sound, &expected).unwrap_err();
    assert_eq!(error, AssertionError::PublicKey);
}

#[test]
fn the_counter_advances_or_stays_at_zero() {
    let credential = Credential::new();
    let from_to = |stored, found| {
        let json = client_data(Ceremony::Authentication).to_json();
        let assertion = credential.assert(authenticator_data(UP | UV, found), json);
        judge_assertion(&credential, &assertion, |expected| expected.sign_count = stored)
            .map(|verified| verified.sign_count())
    };
    for (stored, found) in [(0, 0), (0, 1), (1, 2), (5, u32::MAX)] {
        assert_eq!(from_to(stored, found), Ok(found));
    }
    for (stored, found) in [(1, 0), (1, 1), (5, 4), (u32::MAX, 0)] {
        assert_eq!(from_to(stored, found), Err(AssertionError::CounterRegressed { stored, found }));
    }
}

fn attested_data(credential: &Credential, model: Aaguid) -> Vec<u8> {
    let key = credential.public_key().to_bytes();
    [&model.0[..], &[0, 48], &CREDENTIAL_ID, &key].concat()
}

/// A maker of authenticators, with a root and one batch key.
struct Maker {
    root: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Maker {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().to_vec();
        Self { root, issuer: Issuer::new(params, key) }
    }

    fn roots(&self) -> TrustAnchors {
        TrustAnchors::from_der([&self.root]).unwrap()
    }

    fn batch(&self, params: &CertificateParams) -> Batch {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let pkcs8 = key.to_pkcs8v1().unwrap();
        let certified = KeyPair::try_from(pkcs8.as_ref()).unwrap();
        let certificate = params.signed_by(&certified, &self.issuer).unwrap().der().to_vec();
        Batch { certificate, key: Credential(key) }
    }
}

struct Batch {
    certificate: Vec<u8>,
    key: Credential,
}

fn aaguid_extension(value: &[u8]) -> CustomExtension {
    let content = [&[0x04, u8::try_from(value.len()).unwrap()], value].concat();
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 45724, 1, 1, 4], content)
}

/// A certificate as L3 §8.2.1 wants it.
fn batch_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2030, 1, 1);
    params.is_ca = IsCa::ExplicitNoCa;
    let mut name = DistinguishedName::new();
    name.push(DnType::CountryName, "SE");
    name.push(DnType::OrganizationName, "Maker of keys");
    name.push(DnType::OrganizationalUnitName, "Authenticator Attestation");
    name.push(DnType::CommonName, "Key, first batch");
    params.distinguished_name = name;
    params.custom_extensions = vec![aaguid_extension(&MODEL.0)];
    params
}

struct Registration {
    credential: Credential,
    data: Vec<u8>,
    json: Vec<u8>,
}

impl Registration {
    fn new(flags: u8, model: Aaguid, extensions: &[u8]) -> Self {
        let credential = Credential::new();
        let attested = attested_data(&credential, model);
        let data = [&authenticator_data(flags | AT, 9), &attested, extensions].concat();
        Self { credential, data, json: client_data(Ceremony::Registration).to_json() }
    }

    fn of_model() -> Self {
        Self::new(UP | UV, MODEL, &[])
    }

    fn signed(&self) -> Vec<u8> {
        [&self.data[..], &sha256(&self.json)].concat()
    }

    fn packed(&self, batch: &Batch) -> AttestationStatement {
        AttestationStatement::Packed(PackedStatement {
            algorithm: -7,
            signature: batch.key.sign(&self.signed()),
            x5c: vec![batch.certificate.clone()],
        })
    }

    fn u2f(&self, batch: &Batch) -> AttestationStatement {
        let public_key = self.credential.public_key();
        let signed = [
            &[0][..],
            &sha256(RP_ID.as_bytes()),
            &sha256(&self.json),
            &CREDENTIAL_ID,
            public_key.uncompressed_point(),
        ];
        AttestationStatement::FidoU2f(U2fStatement {
            signature: batch.key.sign(&signed.concat()),
            certificate: batch.certificate.clone(),
        })
    }

    fn judge(
        &self,
        statement: AttestationStatement,
        roots: &TrustAnchors,
    ) -> Result<VerifiedRegistration, RegistrationError> {
        self.judge_at(NOW, statement, roots)
    }

    fn judge_at(
        &self,
        now: UnixTime,
        statement: AttestationStatement,
        roots: &TrustAnchors,
    ) -> Result<VerifiedRegistration, RegistrationError> {
        let object = AttestationObject { statement, authenticator_data: self.data.clone() };
        let registration = FidoRegistration {
            attestation_object: object.to_bytes(),
            client_data: self.json.clone(),
        };
        let expected = ExpectedRegistration {
            challenge: &CHALLENGE,
            rp_id: RP_ID,
            origin: ORIGIN,
            user_verification: UserVerification::Required,
        };
        VerifiedRegistration::verify(&registration, &expected, roots, now)
    }
}

fn none() -> AttestationStatement {
    AttestationStatement::None
}

#[test]
fn a_registration_of_something_else_is_refused_by_what_it_is() {
    use RegistrationError as E;
    let roots = TrustAnchors::default();
    let judge = |registration: &Registration| registration.judge(none(), &roots).unwrap_err();
    let with_flags = |flags| judge(&Registration::new(flags, MODEL, &[]));
    assert_eq!(with_flags(UV), E::UserPresence);
    assert_eq!(with_flags(UP), E::UserVerification);
    assert_eq!(with_flags(UP | UV | BE), E::BackupEligible);
    assert_eq!(with_flags(UP | UV | BS), E::BackupEligible);
    let mut foreign = Registration::of_model();
    foreign.data[31] ^= 1;
    assert_eq!(judge(&foreign), E::RpId);
    let mut client = Registration::of_model();
    client.json =
        ClientData { challenge: b"other", ..client_data(Ceremony::Registration) }.to_json();
    assert_eq!(judge(&client), E::Challenge);
    client.json = client_data(Ceremony::Authentication).to_json();
    assert_eq!(judge(&client), E::ClientData(ClientDataError::Type));
    let mut missing = Registration::of_model();
    missing.data = authenticator_data(UP | UV, 0);
    assert_eq!(judge(&missing), E::Attestation(AttestationError::CredentialMissing));
    let mut off_curve = Registration::of_model();
    let last = off_curve.data.len() - 1;
    off_curve.data[last] ^= 1;
    assert_eq!(judge(&off_curve), E::Attestation(AttestationError::CredentialKey));
    let mut eddsa = Registration::of_model();
    let algorithm = 37 + 16 + 2 + 48 + 4;
    assert_eq!(eddsa.data[algorithm], 0x26);
    eddsa.data[algorithm] = 0x27;
    let unsupported = AuthenticatorDataError::PublicKey(CoseKeyError::UnsupportedAlgorithm(-8));
    let error = AttestationError::AuthenticatorData(unsupported);
    assert_eq!(judge(&eddsa), E::Attestation(error));
}

fn mutated(sound: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let edits = proptest::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..4);
    edits.prop_map(move |edits| {
        let mut bytes = sound.clone();
        for (at, change) in edits {
            let at = at.index(bytes.len());
            bytes[at] ^= change;
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_change_to_signed_bytes_is_believed(
        data in mutated(authenticator_data(UP | UV, 7)),
        json in mutated(client_data(Ceremony::Authentication).to_json()),
    ) {
        let credential = Credential::new();
        let sound_json = client_data(Ceremony::Authentication).to_json();
        let sound = credential.assert(authenticator_data(UP | UV, 7), sound_json);
        let changed = FidoAssertion { authenticator_data: data, ..sound.clone() };
        let unchanged = changed == sound;
        prop_assert_eq!(judge_assertion(&credential, &changed, |_| ()).is_ok(), unchanged);
        let changed = FidoAssertion { client_data: json, ..sound.clone() };
        let unchanged = changed == sound;
        prop_assert_eq!(judge_assertion(&credential, &changed, |_| ()).is_ok(), unchanged);
    }

    #[test]
    fn no_attestation_object_makes_the_verifier_panic(
        bytes in {
            let maker = Maker::new();
            let registration = Registration::of_model();
            let statement = registration.packed(&maker.batch(&batch_params()));
            let authenticator_data = registration.data.clone();
            mutated(AttestationObject { statement, authenticator_data }.to_bytes())
        },
    ) {
        let client_data = client_data(Ceremony::Registration).to_json();
        let registration = FidoRegistration { attestation_object: bytes, client_data };
        let expected = ExpectedRegistration {
            challenge: &CHALLENGE,
            rp_id: RP_ID,
            origin: ORIGIN,
            user_verification: UserVerification::Discouraged,
        };
        let roots = TrustAnchors::default();
        let _ = VerifiedRegistration::verify(&registration, &expected, &roots, NOW);
    }
}
