//! A stand-in for the authority: it makes the credential with tpm2-tools, checks the proof as the
//! protocol says, and issues certificates.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::time::Duration;

use aws_lc_rs::hmac;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer,
    KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SignatureAlgorithm, date_time_ymd,
};
use signet_evidence::binding::enrolment_qualifying_data;
use signet_evidence::cbor::{self, Value};
use signet_evidence::tpm::{Attested, Name, TpmsAttest, TpmtPublic};
use signet_tests::swtpm::Swtpm;
use zbus::Variant;

use crate::client::{Answer, Options, bytes, options};

pub const AUTHORITY: &str = "https://authority.example:8443";
pub const RP_ID: &str = "presence.mesh.example";
pub const DEVICE_ID: [u8; 17] = [1, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7];
pub const NONCE: [u8; 32] = [0x4e; 32];
const SECRET: [u8; 32] = [0x5e; 32];

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: Vec<u8>,
}

/// What was exchanged in one enrolment, for changing it.
#[derive(Clone)]
pub struct Exchange {
    pub ek_kind: String,
    pub credential_blob: Vec<u8>,
    pub encrypted_secret: Vec<u8>,
    pub transcript: Vec<u8>,
    pub ak_public: Vec<u8>,
    pub tls_public: Vec<u8>,
}

/// A raw P-256 point as a key to certify.
struct Point(Vec<u8>);

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, "device ca");
        let root = parameters.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: Issuer::new(parameters, key), root }
    }

    /// Answer to what BeginEnrolment gave, for the key of this kind.
    pub fn challenge(&self, tpm: &Swtpm, introduction: &Answer, kind: &str) -> Exchange {
        let keys: Vec<HashMap<String, Variant<'_>>> =
            introduction["endorsement"].try_clone().unwrap().try_into().unwrap();
        let of_kind = |key: &&HashMap<String, Variant<'_>>| key["kind"] == Variant::from(kind);
        let ek = keys.iter().find(of_kind).unwrap()["public"].try_clone().unwrap();
        let ek: Vec<u8> = ek.try_into().unwrap();
        let (ak_public, tls_public) =
            (bytes(introduction, "ak_public"), bytes(introduction, "tls_public"));
        let name = Name::of(&TpmtPublic::parse(&ak_public).unwrap());
        let (credential_blob, encrypted_secret) = make_credential(tpm, &ek, name.as_bytes());
        let members: [&[u8]; 7] =
            [&ek, &ak_public, &tls_public, &credential_blob, &encrypted_secret, &NONCE, &DEVICE_ID];
        let mut transcript = vec![Value::from("signet-enrol-v1"), Value::from("enrolment-1")];
        transcript.extend(members.into_iter().map(|member| Value::Bytes(member.to_vec())));
        Exchange {
            ek_kind: kind.to_owned(),
            credential_blob,
            encrypted_secret,
            transcript: cbor::encode(&Value::Array(transcript)),
            ak_public,
            tls_public,
        }
    }

    /// Checks what ActivateEnrolment gave and issues the certificates.
    pub fn admit(&self, exchange: &Exchange, activated: &Answer) -> Options {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &SECRET);
        let message = [exchange.transcript.as_slice(), &NONCE].concat();
        hmac::verify(&key, &message, &bytes(activated, "proof")).unwrap();
        let expected = enrolment_qualifying_data(&exchange.transcript, &NONCE);
        let certify = TpmsAttest::parse(&bytes(activated, "certify_attest")).unwrap();
        assert_eq!(certify.extra_data, expected);
        let tls = TpmtPublic::parse(&exchange.tls_public).unwrap();
        match certify.attested {
            Attested::Certify(info) => assert_eq!(info.name, Name::of(&tls)),
            Attested::Quote(_) => panic!("a quote in place of a certification"),
        }
        let quote = TpmsAttest::parse(&bytes(activated, "quote_attest")).unwrap();
        assert_eq!(quote.extra_data, expected);
        let pcrs: BTreeMap<u8, Vec<u8>> =
            activated["pcrs"].try_clone().unwrap().try_into().unwrap();
        let quoted: Vec<u8> = pcrs.keys().copied().collect();
        assert_eq!(quoted, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 14]);
        // Verifies the signature and the form.
        let csr = bytes(activated, "csr").into();
        let csr = CertificateSigningRequestParams::from_der(&csr).unwrap();
        assert_eq!(csr.public_key.der_bytes(), point(&exchange.tls_public));
        let device = csr.signed_by(&self.issuer).unwrap().der().to_vec();
        let ak = self.certify(&exchange.ak_public);
        self.admission(device, ak)
    }

    /// Options of CompleteEnrolment with these leaves.
    pub fn admission(&self, device: Vec<u8>, ak: Vec<u8>) -> Options {
        options([
            ("device_chain", vec![device, self.root.clone()].into()),
            ("ak_chain", vec![ak].into()),
            ("device_id", DEVICE_ID.to_vec().into()),
            ("authority", AUTHORITY.into()),
            ("audience", AUTHORITY.into()),
            ("rp_id", RP_ID.into()),
            ("operator", "alice".into()),
            ("ca", vec![self.root.clone()].into()),
        ])
    }

    /// The CA's certificate.
    pub fn root(&self) -> Vec<u8> {
        self.root.clone()
    }

    /// The certificate of `next`, as this CA makes it; `as_ca` is what a CA's says.
    pub fn certify_next(&self, next: &Self, as_ca: bool) -> Vec<u8> {
        let mut parameters = CertificateParams::default();
        if as_ca {
            parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        }
        let key = Point(next.issuer.key().der_bytes().to_vec());
        parameters.signed_by(&key, &self.issuer).unwrap().der().to_vec()
    }

    /// A certificate for a key of this device (its id in hex) that ends with this year.
    pub fn certify_until(&self, public: &[u8], device: &str, year: i32) -> Vec<u8> {
        let mut parameters = CertificateParams::default();
        let name = format!("spiffe://mesh.example/device/{device}");
        parameters.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
        parameters.not_after = date_time_ymd(year, 12, 31);
        parameters.signed_by(&Point(point(public)), &self.issuer).unwrap().der().to_vec()
    }

    /// A certificate for a key that is given as `TPMT_PUBLIC`.
    pub fn certify(&self, public: &[u8]) -> Vec<u8> {
        let parameters = CertificateParams::default();
        parameters.signed_by(&Point(point(public)), &self.issuer).unwrap().der().to_vec()
    }
}

pub fn point(public: &[u8]) -> Vec<u8> {
    TpmtPublic::parse(public).unwrap().ecc().unwrap().uncompressed_point()
}

/// `TPM2_MakeCredential` by an independent program.
fn make_credential(tpm: &Swtpm, ek: &[u8], name: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let folder = tpm.scratch();
    let length = u16::try_from(ek.len()).unwrap().to_be_bytes();
    fs::write(folder.join("ek.pub"), [&length[..], ek].concat()).unwrap();
    fs::write(folder.join("secret"), SECRET).unwrap();
    let name = signet_evidence::thumbprint::hex(name);
    let arguments = ["-T", "none", "-u", "ek.pub", "-n", &name, "-s", "secret", "-o", "credential"];
    tpm.run_tool("tpm2_makecredential", &arguments).unwrap();
    let made = fs::read(folder.join("credential")).unwrap();
    // Magic and version, then both structures.
    let end = 10 + usize::from(u16::from_be_bytes([made[8], made[9]]));
    (made[8..end].to_vec(), made[end..].to_vec())
}

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(60);
