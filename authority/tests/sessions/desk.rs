//! A machine and security keys in software, which sign as a TPM and a FIDO2 key do; so thousands of
//! evidences cost seconds.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
};
use rustls::pki_types::CertificateDer;
use signet_authority::random;
use signet_authority::state::Authority;
use signet_authority::store::{
    Authorisation, CredentialEnrolment, CredentialRow, DeviceRow, Event,
};
use signet_authority::tls::PeerCertificate;
use signet_evidence::binding::{assertion_challenge, qualifying_data, sha256};
use signet_evidence::header::{CertifiedKey, SignedAttest};
use signet_evidence::tpm::{
    Attested, CertifyInfo, ClockInfo, EccCurve, EccParameters, HashAlgorithm, Name,
    ObjectAttributes, PcrSelection, PcrValues, PublicParameters, QuoteInfo, Scheme, Symmetric,
    TpmsAttest, TpmtPublic, TpmtSignature, pcr_digest,
};
use signet_evidence::webauthn::{Aaguid, Ceremony, ClientData, CoseKey};
use signet_evidence::{
    CertificateChain, DeviceId, FidoAssertion, KeyPart, KeyThumbprint, Statement, TpmEvidence,
    UnixTime, UnsignedEvidence,
};
use signet_verifier::AttestationKind;
use signet_verifier::ecdsa::P256PublicKey;
use signet_verifier::records::TpmClock;

use crate::house::rows;

const SHA256: HashAlgorithm = HashAlgorithm::Sha256;
const WEEK: Duration = Duration::from_secs(7 * 86400);

/// A security key that verifies its user.
pub(crate) struct SecurityKey {
    pub(crate) id: Vec<u8>,
    pair: EcdsaKeyPair,
}

/// A machine with its TPM.
pub(crate) struct Desk {
    pub(crate) id: DeviceId,
    ak: EcdsaKeyPair,
    tls: EcdsaKeyPair,
    ak_certificate: Vec<u8>,
    certificate: CertificateDer<'static>,
    clock_ms: u64,
    reset_count: u32,
}

fn fixed() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()
}

fn sign(key: &EcdsaKeyPair, message: &[u8]) -> Vec<u8> {
    key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
}

fn point(key: &EcdsaKeyPair) -> &[u8; 65] {
    key.public_key().as_ref().try_into().unwrap()
}

fn pcrs(authority: &Authority) -> BTreeMap<u8, Vec<u8>> {
    let required = authority.appraisal.required_pcrs.iter();
    required.map(|index| (*index, vec![*index; 32])).collect()
}

impl SecurityKey {
    /// A key of `operator`, enrolled by the grant of the machine or by their `first` key.
    pub(crate) async fn enrolled(
        authority: &Authority,
        desk: &Desk,
        operator: &str,
        first: Option<&Self>,
    ) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let id = random::bytes::<16>().to_vec();
        let (x, y) = point(&pair)[1..].split_at(32);
        let credential = CredentialRow {
            id: id.clone(),
            subject: operator.into(),
            name: "key".into(),
            public_key: CoseKey::from_coordinates(x.try_into().unwrap(), y.try_into().unwrap()),
            aaguid: Aaguid([3; 16]),
            attestation: AttestationKind::Packed,
            attestation_key: None,
            touch_only: false,
            reported: None,
            platform: None,
            sign_count: 0,
            enrolled_at: authority.now(),
            last_used: None,
            revoked: false,
        };
        let enrolment = CredentialEnrolment {
            credential,
            device: desk.id.clone(),
            clock: rows::clock(desk.reset_count, desk.clock_ms),
            authorisation: match first {
                Some(first) => Authorisation::Credential { id: first.id.clone(), sign_count: 0 },
                None => Authorisation::Grant,
            },
            challenge: rows::challenge(),
        };
        let audit = rows::allowed(Event::KeyEnrol);
        authority.store.enrol_credential(&enrolment, &audit).await.unwrap();
        Self { id, pair }
    }

    /// A touch with user verification.
    fn touch(&self, statement: &[u8], rp_id: &str, origin: &str) -> Vec<u8> {
        let challenge = assertion_challenge(statement);
        let client_data =
            ClientData { ceremony: Ceremony::Authentication, challenge: &challenge, origin }
                .to_json();
        let mut authenticator_data = sha256(rp_id.as_bytes()).to_vec();
        // UP and UV, and a counter that this model of key does not have.
        authenticator_data.extend([0x05, 0, 0, 0, 0]);
        let signed = [authenticator_data.as_slice(), &sha256(&client_data)].concat();
        let signature = sign(&self.pair, &signed);
        let credential_id = self.id.clone();
        FidoAssertion { credential_id, authenticator_data, client_data, signature, observed: None }
            .encode()
    }
}

impl Desk {
    /// A machine of `operator`, enrolled.
    pub(crate) async fn enrolled(authority: &Authority, operator: &str) -> Self {
        let (ak, tls) = (fixed(), fixed());
        let id = DeviceId::from_random(&random::bytes::<16>()).unwrap();
        let (ak_certificate, certificate) = certificates(authority, &id, &ak, &tls);
        let desk =
            Self { id, ak, tls, ak_certificate, certificate, clock_ms: 1000, reset_count: 5 };
        let public = |key| P256PublicKey::from_uncompressed_point(point(key)).unwrap();
        let row = DeviceRow {
            id: desk.id.clone(),
            operator: operator.into(),
            ek_digest: random::bytes(),
            ak_name: Name::of(&desk.public(true)).as_bytes().to_vec(),
            ak: public(&desk.ak),
            tls_key: public(&desk.tls),
            pcrs: pcrs(authority),
            clock: rows::clock(desk.reset_count, desk.clock_ms),
            enrolled_at: authority.now(),
            ..rows::device(0)
        };
        let grant = UnixTime(authority.now().0 + 900);
        rows::enrol(authority.store.as_ref(), row, grant).await;
        desk
    }

    pub(crate) fn reboot(&mut self) {
        self.reset_count += 1;
    }

    /// New certificates for the same keys.
    pub(crate) fn renew_certificates(&mut self, authority: &Authority) {
        (self.ak_certificate, self.certificate) =
            certificates(authority, &self.id, &self.ak, &self.tls);
    }

    pub(crate) fn peer(&self) -> PeerCertificate {
        PeerCertificate::new(self.certificate.clone())
    }

    /// Shows another certificate of its key from now on.
    pub(crate) fn show(&mut self, certificate: CertificateDer<'static>) {
        self.certificate = certificate;
    }

    /// The key of its connections, PKCS #8.
    #[allow(dead_code)] // the bench connects; this suite asks the router
    pub(crate) fn tls_key(&self) -> Vec<u8> {
        self.tls.to_pkcs8v1().unwrap().as_ref().to_vec()
    }

    pub(crate) fn key_thumbprint(&self) -> KeyThumbprint {
        KeyThumbprint::of_uncompressed_point(point(&self.tls)).unwrap()
    }

    /// Evidence of `statement`, with a touch of `key` where one is given.
    pub(crate) fn evidence(
        &mut self,
        authority: &Authority,
        statement: &Statement,
        key: Option<&SecurityKey>,
        certified: bool,
    ) -> Vec<u8> {
        self.clock_ms += 10;
        let statement = statement.encode().unwrap();
        let policy = &authority.appraisal;
        let touch = key.map(|key| key.touch(&statement, &policy.rp_id, &policy.origin()));
        let data = qualifying_data(&statement, touch.as_deref().unwrap_or_default(), None);
        let pcrs = pcrs(authority);
        let values = PcrValues::of_bank(SHA256, pcrs.clone()).unwrap();
        let pcr_select = vec![PcrSelection::new(SHA256, pcrs.keys().copied()).unwrap()];
        let pcr_digest = pcr_digest(&pcr_select, &values, SHA256).unwrap();
        let quote = self.attest(&data, Attested::Quote(QuoteInfo { pcr_select, pcr_digest }));
        let certification = certified.then(|| {
            let public = self.public(false);
            let name = Name::of(&public);
            let certify = CertifyInfo { name: name.clone(), qualified_name: name };
            let signed = self.attest(&data, Attested::Certify(certify));
            CertifiedKey { signed, public: public.to_bytes() }
        });
        let chain = |der: &[u8]| CertificateChain::new(vec![der.to_vec()]).unwrap();
        let tpm = TpmEvidence {
            ak_chain: chain(&self.ak_certificate),
            quote,
            certification,
            pcrs: Some(pcrs),
            event_log: None,
        };
        let touch = touch.as_deref().map(KeyPart::SecurityKey);
        let evidence =
            UnsignedEvidence::new(&statement, &chain(&self.certificate), touch, None, &tpm);
        let signature = sign(&self.tls, &evidence.to_be_signed());
        evidence.finish(signature.as_slice().try_into().unwrap()).unwrap()
    }

    fn attest(&self, data: &[u8], attested: Attested) -> SignedAttest {
        let TpmClock { clock_ms, reset_count, restart_count, safe } =
            rows::clock(self.reset_count, self.clock_ms);
        let attest = TpmsAttest {
            qualified_signer: Name::of(&self.public(true)),
            extra_data: data.to_vec(),
            clock_info: ClockInfo { clock: clock_ms, reset_count, restart_count, safe },
            firmware_version: 1,
            attested,
        }
        .to_bytes();
        let r_s = sign(&self.ak, &attest).as_slice().try_into().unwrap();
        SignedAttest { signature: TpmtSignature::Ecdsa { hash: SHA256, r_s }.to_bytes(), attest }
    }

    fn public(&self, ak: bool) -> TpmtPublic {
        let attributes = ObjectAttributes::FIXED_TPM
            .union(ObjectAttributes::FIXED_PARENT)
            .union(ObjectAttributes::SENSITIVE_DATA_ORIGIN)
            .union(ObjectAttributes::USER_WITH_AUTH)
            .union(ObjectAttributes::SIGN);
        let restricted = attributes.union(ObjectAttributes::RESTRICTED);
        let point = point(if ak { &self.ak } else { &self.tls });
        TpmtPublic {
            name_algorithm: SHA256,
            attributes: if ak { restricted } else { attributes },
            auth_policy: vec![],
            parameters: PublicParameters::Ecc(EccParameters {
                symmetric: Symmetric::Null,
                scheme: Scheme::Ecdsa(SHA256),
                curve: EccCurve::P256,
                x: point[1..33].to_vec(),
                y: point[33..].to_vec(),
            }),
        }
    }
}

/// AK and TLS certificate.
fn certificates(
    authority: &Authority,
    id: &DeviceId,
    ak: &EcdsaKeyPair,
    tls: &EcdsaKeyPair,
) -> (Vec<u8>, CertificateDer<'static>) {
    let (name, now) = (authority.config.device_spiffe_id(id), authority.now());
    let keys = &authority.keys;
    let ak = keys.ak_ca.issuer(now).issue_attestation_key(point(ak), &name, now, WEEK).unwrap();
    let tls = keys.device_ca.issuer(now).issue_device(point(tls), &name, now, WEEK).unwrap();
    (ak.to_vec(), tls)
}
