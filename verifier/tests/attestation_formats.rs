//! `tpm`, `android-key` and `apple` attestations made here: what holds is believed and says where its
//! flags come from; every fault has its own name. webauthn-rs-core has no part in this: it takes
//! neither ECC keys in `tpm` nor chains to roots other than the makers'.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256, SigningKey, date_time_ymd,
};
use signet_evidence::binding::sha256;
use signet_evidence::tpm::{
    Attested, CertifyInfo, ClockInfo, EccCurve, EccParameters, HashAlgorithm, Name,
    ObjectAttributes, PublicParameters, Scheme, Symmetric, TpmsAttest, TpmtPublic,
};
use signet_evidence::webauthn::{
    Aaguid, AttestationObject, AttestationStatement, Ceremony, ClientData, CoseKey,
    PackedStatement, TpmStatement,
};
use signet_evidence::{FidoRegistration, UnixTime};
use signet_verifier::AttestationKind;
use signet_verifier::certificate::{CertificateError, PathError, TrustAnchors};
use signet_verifier::webauthn::{
    AttestationError, ExpectedRegistration, PlatformStatementError, TpmStatementError,
    UserVerification, VerifiedAttestation, VerifiedRegistration,
};

/// 2026-01-01.
const NOW: UnixTime = UnixTime(1_767_225_600);
const RP_ID: &str = "presence.mesh.example";
const ORIGIN: &str = "https://presence.mesh.example";
const CHALLENGE: [u8; 32] = [0xc4; 32];
const MODEL: Aaguid = Aaguid([0xaa; 16]);

fn client_data() -> Vec<u8> {
    let (ceremony, challenge) = (Ceremony::Registration, &CHALLENGE);
    ClientData { ceremony, challenge, origin: ORIGIN }.to_json()
}

fn client_data_hash() -> [u8; 32] {
    sha256(&client_data())
}

struct Root {
    anchors: TrustAnchors,
    issuer: Issuer<'static, KeyPair>,
}

impl Root {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().to_vec();
        Self { anchors: TrustAnchors::from_der([root]).unwrap(), issuer: Issuer::new(params, key) }
    }

    fn certify(&self, key: &Key, params: &CertificateParams) -> Vec<u8> {
        let pkcs8 = key.0.to_pkcs8v1().unwrap();
        let certified = KeyPair::try_from(pkcs8.as_ref()).unwrap();
        params.signed_by(&certified, &self.issuer).unwrap().der().to_vec()
    }
}

struct Key(EcdsaKeyPair);

impl Key {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    fn point(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }

    /// Authenticator data that attests this key.
    fn data(&self) -> Vec<u8> {
        let point = self.point();
        let key = CoseKey::from_coordinates(
            point[1..33].try_into().unwrap(),
            point[33..].try_into().unwrap(),
        );
        let head =
            [&sha256(RP_ID.as_bytes())[..], &[0x45, 0, 0, 0, 0], &MODEL.0, &[0, 16], &[0x1d; 16]]
                .concat();
        [head, key.to_bytes()].concat()
    }

    fn signed(&self) -> Vec<u8> {
        [&self.data()[..], &client_data_hash()].concat()
    }
}

fn judge(
    key: &Key,
    statement: AttestationStatement,
    root: &Root,
) -> Result<VerifiedAttestation, AttestationError> {
    let object = AttestationObject { statement, authenticator_data: key.data() };
    VerifiedAttestation::verify(&object.to_bytes(), &client_data_hash(), &root.anchors, NOW)
}

fn leaf_params(extensions: Vec<CustomExtension>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2030, 1, 1);
    params.is_ca = IsCa::ExplicitNoCa;
    params.custom_extensions = extensions;
    params
}

// --- tpm ---------------------------------------------------------------------------------------

fn public(key: &Key, attributes: ObjectAttributes) -> TpmtPublic {
    let point = key.point();
    TpmtPublic {
        name_algorithm: HashAlgorithm::Sha256,
        attributes,
        auth_policy: Vec::new(),
        parameters: PublicParameters::Ecc(EccParameters {
            symmetric: Symmetric::Null,
            scheme: Scheme::Null,
            curve: EccCurve::P256,
            x: point[1..33].to_vec(),
            y: point[33..].to_vec(),
        }),
    }
}

fn fixed() -> ObjectAttributes {
    let bits = ObjectAttributes::FIXED_TPM.bits()
        | ObjectAttributes::FIXED_PARENT.bits()
        | ObjectAttributes::SENSITIVE_DATA_ORIGIN.bits()
        | ObjectAttributes::SIGN.bits();
    ObjectAttributes::from_bits(bits).unwrap()
}

/// DER of an attribute `SET { SEQUENCE { 2.23.133.2.<last>, UTF8String } }`.
fn tpm_name(last: u8) -> Vec<u8> {
    let oid = [0x06, 5, 0x67, 0x81, 5, 2, last];
    let value = [0x0c, 2, b'i', b'd'];
    let pair = [&[0x30, 11][..], &oid, &value].concat();
    [&[0x31, 13][..], &pair].concat()
}

/// An AIK certificate by L3 §8.3.1, with these TPM names.
fn aik_params(names: &[u8]) -> CertificateParams {
    let names: Vec<u8> = names.iter().flat_map(|last| tpm_name(*last)).collect();
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
    let directory = [&[0x30, length(&names)][..], &names].concat();
    let general = [&[0xa4, length(&directory)][..], &directory].concat();
    let content = [&[0x30, length(&general)][..], &general].concat();
    let mut alternative = CustomExtension::from_oid_content(&[2, 5, 29, 17], content);
    alternative.set_criticality(true);
    let mut params = leaf_params(vec![alternative]);
    params.distinguished_name = DistinguishedName::new();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 3])];
    params
}

struct Tpm {
    root: Root,
    aik: Key,
    key: Key,
}

impl Tpm {
    fn new() -> Self {
        Self { root: Root::new(), aik: Key::new(), key: Key::new() }
    }

    fn info(&self, public: &TpmtPublic) -> TpmsAttest {
        let name = Name::of(public);
        TpmsAttest {
            qualified_signer: name.clone(),
            extra_data: sha256(&self.key.signed()).to_vec(),
            clock_info: ClockInfo { clock: 1, reset_count: 2, restart_count: 3, safe: true },
            firmware_version: 4,
            attested: Attested::Certify(CertifyInfo { name: name.clone(), qualified_name: name }),
        }
    }

    fn statement(
        &self,
        public: &TpmtPublic,
        info: &TpmsAttest,
        params: &CertificateParams,
    ) -> AttestationStatement {
        let certify_info = info.to_bytes();
        AttestationStatement::Tpm(TpmStatement {
            algorithm: -7,
            x5c: vec![self.root.certify(&self.aik, params)],
            signature: self.aik.sign(&certify_info),
            certify_info,
            public_area: public.to_bytes(),
        })
    }

    fn judge(
        &self,
        statement: AttestationStatement,
    ) -> Result<VerifiedAttestation, AttestationError> {
        judge(&self.key, statement, &self.root)
    }
}

#[test]
fn a_key_in_a_tpm_is_believed_and_says_whether_it_stays_there() {
    let tpm = Tpm::new();
    let public_area = public(&tpm.key, fixed());
    let info = tpm.info(&public_area);
    let params = aik_params(&[1, 2, 3]);
    let verified = tpm.judge(tpm.statement(&public_area, &info, &params)).unwrap();
    assert_eq!((verified.kind(), verified.leaves_tpm()), (AttestationKind::Tpm, false));
    assert!(verified.kind().flags_are_the_hosts() && verified.anchor().is_some());
    for lacking in [
        ObjectAttributes::FIXED_TPM,
        ObjectAttributes::FIXED_PARENT,
        ObjectAttributes::SENSITIVE_DATA_ORIGIN,
    ] {
        let movable = public(&tpm.key, fixed().difference(lacking));
        let statement = tpm.statement(&movable, &tpm.info(&movable), &params);
        assert!(tpm.judge(statement.clone()).unwrap().leaves_tpm(), "{lacking:?}");
        // Whoever registers it is told.
        let object = AttestationObject { statement, authenticator_data: tpm.key.data() };
        let registration =
            FidoRegistration { attestation_object: object.to_bytes(), client_data: client_data() };
        let expected = ExpectedRegistration {
            challenge: &CHALLENGE,
            rp_id: RP_ID,
            origin: ORIGIN,
            user_verification: UserVerification::Required,
        };
        let anchors = &tpm.root.anchors;
        let verified = VerifiedRegistration::verify(&registration, &expected, anchors, NOW);
        assert!(verified.unwrap().leaves_tpm(), "{lacking:?}");
    }
}

/// As Windows machines have them.
#[test]
fn the_key_by_which_a_tpm_attests_may_be_rsa() {
    let tpm = Tpm::new();
    let aik = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let public_area = public(&tpm.key, fixed());
    let (info, params) = (tpm.info(&public_area), aik_params(&[1, 2, 3]));
    let AttestationStatement::Tpm(by_p256) = tpm.statement(&public_area, &info, &params) else {
        panic!("not tpm");
    };
    let by_rsa = TpmStatement {
        algorithm: -257,
        x5c: vec![params.signed_by(&aik, &tpm.root.issuer).unwrap().der().to_vec()],
        signature: aik.sign(&by_p256.certify_info).unwrap(),
        ..by_p256.clone()
    };
    let judged = |statement: &TpmStatement| tpm.judge(AttestationStatement::Tpm(statement.clone()));
    assert_eq!(judged(&by_rsa).unwrap().kind(), AttestationKind::Tpm);
    let mut forged = by_rsa.clone();
    forged.signature[10] ^= 1;
    assert_eq!(judged(&forged).unwrap_err(), AttestationError::SignatureInvalid);
    // Neither key serves under the other's algorithm.
    for (statement, algorithm) in [(by_rsa, -7), (by_p256, -257)] {
        let error = judged(&TpmStatement { algorithm, ..statement }).unwrap_err();
        assert_eq!(error, AttestationError::Certificate(CertificateError::KeyNotP256));
    }
}

#[test]
fn a_tpm_statement_that_does_not_hold_is_refused_by_its_fault() {
    use TpmStatementError as E;
    let tpm = Tpm::new();
    let public_area = public(&tpm.key, fixed());
    let sound = tpm.info(&public_area);
    let params = aik_params(&[1, 2, 3]);
    let refused = |statement| tpm.judge(statement).unwrap_err();
    let fault = |statement| match refused(statement) {
        AttestationError::Tpm(fault) => fault,
        other => panic!("{other:?}"),
    };
    let mut other = sound.clone();
    other.extra_data[0] ^= 1;
    assert_eq!(fault(tpm.statement(&public_area, &other, &params)), E::ExtraData);
    let mut other = sound.clone();
    let foreign = Name::of(&public(&Key::new(), fixed()));
    other.attested =
        Attested::Certify(CertifyInfo { name: foreign.clone(), qualified_name: foreign });
    assert_eq!(fault(tpm.statement(&public_area, &other, &params)), E::Name);
    let foreign = public(&Key::new(), fixed());
    assert_eq!(fault(tpm.statement(&foreign, &tpm.info(&foreign), &params)), E::OtherKey);

    // The certificate of section 8.3.1.
    for names in [&[1, 2][..], &[1, 3], &[2, 3], &[]] {
        let statement = tpm.statement(&public_area, &sound, &aik_params(names));
        assert_eq!(fault(statement), E::CertificateRequirements, "{names:?}");
    }
    let edits: [fn(&mut CertificateParams); 4] = [
        |params| params.extended_key_usages.clear(),
        |params| params.is_ca = IsCa::NoCa,
        |params| params.custom_extensions.clear(),
        |params| params.distinguished_name.push(rcgen::DnType::CommonName, "AIK"),
    ];
    for (number, edit) in edits.into_iter().enumerate() {
        let mut params = aik_params(&[1, 2, 3]);
        edit(&mut params);
        let statement = tpm.statement(&public_area, &sound, &params);
        assert_eq!(fault(statement), E::CertificateRequirements, "{number}");
    }

    let edited = |edit: &dyn Fn(&mut TpmStatement)| {
        let AttestationStatement::Tpm(mut statement) = tpm.statement(&public_area, &sound, &params)
        else {
            panic!("not tpm");
        };
        edit(&mut statement);
        refused(AttestationStatement::Tpm(statement))
    };
    let error = edited(&|statement| statement.signature[10] ^= 1);
    assert_eq!(error, AttestationError::SignatureInvalid);
    // RS1: SHA-1, as older Windows machines send.
    let error = edited(&|statement| statement.algorithm = -65535);
    assert_eq!(error, AttestationError::Algorithm(-65535));
    let error = edited(&|statement| {
        statement.certify_info.pop();
    });
    assert!(matches!(error, AttestationError::Tpm(E::Structure(_))), "{error:?}");
    let statement = tpm.statement(&public_area, &sound, &params);
    let error = judge(&tpm.key, statement, &Root::new()).unwrap_err();
    // The other root has the same name, and another key.
    assert_eq!(error, AttestationError::Untrusted(PathError::SignatureInvalid));
}

// --- android-key and apple ---------------------------------------------------------------------

fn tlv(tag: &[u8], content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    assert!(length < 128);
    [tag, &[length], content].concat()
}

const SEQUENCE: &[u8] = &[0x30];
/// `[1] EXPLICIT SET { INTEGER }`.
fn purpose(value: u8) -> Vec<u8> {
    tlv(&[0xa1], &tlv(&[0x31], &[2, 1, value]))
}
/// `[702] EXPLICIT INTEGER`.
fn origin(value: u8) -> Vec<u8> {
    tlv(&[0xbf, 0x85, 0x3e], &[2, 1, value])
}
/// `[600] EXPLICIT NULL`.
fn all_applications() -> Vec<u8> {
    tlv(&[0xbf, 0x84, 0x58], &[5, 0])
}

fn description(challenge: &[u8], software: &[u8], protected: &[u8]) -> CustomExtension {
    let content = [
        &[2, 1, 4, 10, 1, 1, 2, 1, 4, 10, 1, 1][..],
        &tlv(&[4], challenge),
        &[4, 0],
        &tlv(SEQUENCE, software),
        &tlv(SEQUENCE, protected),
    ];
    let content = tlv(SEQUENCE, &content.concat());
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 11129, 2, 1, 17], content)
}

fn android(key: &Key, root: &Root, extensions: Vec<CustomExtension>) -> AttestationStatement {
    AttestationStatement::AndroidKey(PackedStatement {
        algorithm: -7,
        signature: key.sign(&key.signed()),
        x5c: vec![root.certify(key, &leaf_params(extensions))],
    })
}

#[test]
fn an_android_key_is_believed_by_what_its_protected_part_enforces() {
    use PlatformStatementError as E;
    let (root, key) = (Root::new(), Key::new());
    let made_to_sign = [purpose(2), origin(0)].concat();
    let sound = || description(&client_data_hash(), &[], &made_to_sign);
    let verified = judge(&key, android(&key, &root, vec![sound()]), &root).unwrap();
    assert_eq!(verified.kind(), AttestationKind::AndroidKey);
    assert!(verified.kind().flags_are_the_hosts() && verified.anchor().is_some());
    let cases = [
        (vec![], E::Extension),
        (vec![description(&[1; 32], &[], &made_to_sign)], E::Challenge),
        // What software says of itself does not count.
        (vec![description(&client_data_hash(), &made_to_sign, &[])], E::NotMadeToSign),
        (vec![description(&client_data_hash(), &[], &purpose(2))], E::NotMadeToSign),
        (vec![description(&client_data_hash(), &[], &origin(0))], E::NotMadeToSign),
        (
            vec![description(&client_data_hash(), &[], &[purpose(3), origin(0)].concat())],
            E::NotMadeToSign,
        ),
        // 2: imported.
        (
            vec![description(&client_data_hash(), &[], &[purpose(2), origin(2)].concat())],
            E::NotMadeToSign,
        ),
        (
            vec![description(&client_data_hash(), &all_applications(), &made_to_sign)],
            E::AllApplications,
        ),
    ];
    for (extensions, expected) in cases {
        let error = judge(&key, android(&key, &root, extensions), &root).unwrap_err();
        assert_eq!(error, AttestationError::Platform(expected));
    }
    // A certificate of another key, which did sign.
    let other = Key::new();
    let statement = AttestationStatement::AndroidKey(PackedStatement {
        algorithm: -7,
        signature: other.sign(&key.signed()),
        x5c: vec![root.certify(&other, &leaf_params(vec![sound()]))],
    });
    let error = judge(&key, statement, &root).unwrap_err();
    assert_eq!(error, AttestationError::Platform(E::OtherKey));
    let error = judge(&key, android(&key, &root, vec![sound()]), &Root::new()).unwrap_err();
    // The other root has the same name, and another key.
    assert_eq!(error, AttestationError::Untrusted(PathError::SignatureInvalid));
}

#[test]
fn an_apple_key_is_believed_by_the_nonce_in_its_certificate() {
    use PlatformStatementError as E;
    let (root, key) = (Root::new(), Key::new());
    let nonce = |nonce: &[u8]| {
        let content = tlv(SEQUENCE, &tlv(&[0xa1], &tlv(&[4], nonce)));
        CustomExtension::from_oid_content(&[1, 2, 840, 113_635, 100, 8, 2], content)
    };
    let apple = |certified: &Key, extensions| {
        AttestationStatement::Apple(vec![root.certify(certified, &leaf_params(extensions))])
    };
    let right = sha256(&key.signed());
    let verified = judge(&key, apple(&key, vec![nonce(&right)]), &root).unwrap();
    assert_eq!(verified.kind(), AttestationKind::Apple);
    let fault = |statement| judge(&key, statement, &root).unwrap_err();
    let platform = AttestationError::Platform;
    assert_eq!(fault(apple(&key, vec![])), platform(E::Extension));
    assert_eq!(fault(apple(&key, vec![nonce(&[1; 32])])), platform(E::Challenge));
    assert_eq!(fault(apple(&Key::new(), vec![nonce(&right)])), platform(E::OtherKey));
}
