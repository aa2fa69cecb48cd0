//! Makes genuine evidence on real parts and, from it, everything that must be refused.

mod assertion;
mod edit;
mod evidence;
mod platform;
mod registration;
mod software;
mod token;
mod tpm;

use std::collections::BTreeMap;
use std::path::PathBuf;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use signet_evidence::cbor::{self, Value};
use signet_evidence::header::SignedAttest;
use signet_evidence::tpm::{HashAlgorithm, TpmtSignature};
use signet_evidence::{
    Action, ActionDetails, ActionKind, CertificateChain, CertificateThumbprint, DeviceId,
    FidoAssertion, KeyPart, Purpose, Statement, TpmEvidence, UnixTime, UnsignedEvidence,
};
use signet_verifier::certificate::TrustAnchors;
use signet_verifier::challenge::{ChallengeContext, ChallengeKey};
use signet_verifier::enrolment::{
    EnrolmentPolicy, EnrolmentRandomness, EnrolmentRequest, PendingEnrolment, VerifiedDevice,
};
use signet_verifier::webauthn::{ExpectedRegistration, UserVerification, VerifiedRegistration};
use zeroize::Zeroizing;

use crate::attester::{Attester, Fault, PCRS, RP_ID, TestCa};
use crate::fixture::{Fixture, Kind};
use crate::forge::SoftwareKey;
use crate::platform_keys::{MadeKey, PlatformKeys, finger_facts};
use crate::world::{Bytes, World};
use edit::message;

pub(crate) const AUDIENCE: &str = "https://authority.mesh.example";
pub(crate) const TRUST_DOMAIN: &str = "mesh.example";
pub(crate) const NOW: i64 = 1_800_000_000;
/// The request that the action fixtures approve: a production route of the example policy.
pub(crate) const APPROVED: &str = "/v1/namespaces/payments/routes/ledger";
pub(crate) const ORIGIN: &str = "https://presence.mesh.example";

/// The parts of one piece of evidence, each of which an attack may exchange.
#[derive(Clone)]
pub struct Parts {
    statement: Vec<u8>,
    chain: Vec<Vec<u8>>,
    assertion: Option<Vec<u8>>,
    registration: Option<Vec<u8>>,
    tpm: TpmEvidence,
    /// Whether the new key, or the asserting one where there is none, is one of the TPM's.
    platform: bool,
}

/// Records fixtures into a folder.
pub struct Recorder {
    attester: Attester,
    platform: PlatformKeys,
    pin_key: MadeKey,
    finger_key: MadeKey,
    world: World,
    challenge_key: ChallengeKey,
    device: DeviceId,
    peer: Vec<u8>,
    ak_certificate: Vec<u8>,
    ca: TestCa,
    /// A key in software: what an attacker without a TPM has.
    software: SoftwareKey,
    folder: PathBuf,
    counter: u8,
}

impl Recorder {
    /// Enrols the machine and its operator's key, by the verifier's own procedures.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn start(folder: PathBuf) -> Result<Self, Fault> {
        let mut attester = Attester::start().await?;
        let ca = TestCa::generate("Signet fixture device CA")?;
        let verified = enrol(&attester).await?;
        let device = verified.device().clone();
        let peer = ca.device(TRUST_DOMAIN, &device, verified.tls_key().uncompressed_point())?;
        let ak_certificate = ca.attestation_key(verified.ak().uncompressed_point())?;
        let token_key =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())?;
        let credential = register(&mut attester, &device).await?;
        let platform = PlatformKeys::new(attester.tpm.clone())?;
        let statement = attester.statement(Purpose::EnrolKey, AUDIENCE, &device)?.encode()?;
        let pin_key = platform.register_pin(&statement).await?;
        let finger_key = platform.register_finger(&statement).await?;
        let (pin, finger) = (pin_key.public()?, finger_key.public()?);
        let other_device = DeviceId::from_random(&[0xee; 16]).ok_or("device id")?;
        let other_ca = TestCa::generate("Another CA")?;
        let tls = verified.tls_key().uncompressed_point();
        let software = software::keys(&ca, &attester.batch)?;
        let software_ak = SoftwareKey::of(&software, "ak")?;
        let mut peers = BTreeMap::from([
            ("workstation".to_owned(), Bytes(peer.clone())),
            ("other-device".to_owned(), Bytes(ca.device(TRUST_DOMAIN, &other_device, tls)?)),
            ("other-ca".to_owned(), Bytes(other_ca.device(TRUST_DOMAIN, &device, tls)?)),
        ]);
        peers.extend(software::peers(&ca, &device, &software.tls.0)?);
        let world = World {
            now: NOW,
            audience: AUDIENCE.into(),
            trust_domain: TRUST_DOMAIN.into(),
            rp_id: RP_ID.into(),
            device_ca: Bytes(ca.der().to_vec()),
            challenge_key: Bytes(vec![0x5a; 32]),
            token_key: Bytes(token_key.as_ref().to_vec()),
            attestation_root: Bytes(attester.attestation_root.clone()),
            aaguid: Bytes(credential.aaguid().0.to_vec()),
            device: Bytes(device.as_bytes().to_vec()),
            ak: Bytes(verified.ak().uncompressed_point().to_vec()),
            ak_public: Bytes(attester.ak_public.clone()),
            tls: Bytes(tls.to_vec()),
            software_ak: Bytes(software_ak.point().to_vec()),
            software,
            ek_digest: Bytes(verified.ek_digest().to_vec()),
            pcrs: verified
                .pcrs()
                .iter()
                .map(|(index, value)| (*index, Bytes(value.clone())))
                .collect(),
            clock_ms: verified.clock().clock_ms,
            reset_count: verified.clock().reset_count,
            restart_count: verified.clock().restart_count,
            operator: "alice".into(),
            credential: Bytes(credential.credential_id().to_vec()),
            credential_key: Bytes(credential.public_key().to_bytes()),
            sign_count: credential.sign_count(),
            pin_key: Bytes(pin.to_bytes()),
            finger_key: Bytes(finger.to_bytes()),
            driver: finger_facts().driver,
            fingers: Bytes(finger_facts().fingers.to_vec()),
            session: Bytes(vec![0x51; 16]),
            peers,
        };
        let challenge_key = world.challenge_key()?;
        Ok(Self {
            attester,
            platform,
            pin_key,
            finger_key,
            world,
            challenge_key,
            device,
            peer,
            ak_certificate,
            ca,
            software: software_ak,
            folder,
            counter: 0,
        })
    }

    /// Writes the world and every fixture.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn record(mut self) -> Result<(), Fault> {
        std::fs::create_dir_all(&self.folder)?;
        let text = serde_json::to_string_pretty(&self.world)?;
        std::fs::write(self.folder.join("world.json"), text + "\n")?;
        self.accepted().await?;
        self.shape_and_challenge().await?;
        self.certificates().await?;
        self.quotes().await?;
        self.forged_by_software().await?;
        self.state().await?;
        self.boot_logs().await?;
        self.certifications().await?;
        self.assertions().await?;
        self.edited_assertions().await?;
        self.registrations().await?;
        self.platform_keys().await?;
        self.tokens().await
    }

    // --- genuine parts -------------------------------------------------------------------------

    fn statement(&mut self, purpose: Purpose) -> Result<Statement, Fault> {
        let mut statement = self.attester.statement(purpose, AUDIENCE, &self.device)?;
        match purpose {
            Purpose::Action => statement.action = Some(action()?),
            Purpose::Renew => statement.session = Some(self.world.session_id()?),
            Purpose::Workload => statement.subject = None,
            _ => {}
        }
        statement.issued_at = UnixTime(NOW);
        self.challenge(&mut statement);
        Ok(statement)
    }

    /// Gives `statement` a fresh challenge that fits what it says.
    fn challenge(&mut self, statement: &mut Statement) {
        self.counter += 1;
        let context = ChallengeContext {
            peer: CertificateThumbprint::of_der(&self.peer),
            purpose: statement.purpose,
            action: statement.action.as_ref().map(Action::as_bytes),
            session: statement.session,
        };
        let expires = UnixTime(NOW + 120);
        statement.challenge = self.challenge_key.issue(&context, expires, [self.counter; 16]);
    }

    async fn assert(&mut self, statement: &[u8], verify: bool) -> Result<FidoAssertion, Fault> {
        let credential = self.world.credential.0.clone();
        self.attester.assert(statement, &credential, ORIGIN, verify).await
    }

    async fn parts(
        &mut self,
        statement: Vec<u8>,
        assertion: Option<&FidoAssertion>,
        certify: bool,
    ) -> Result<Parts, Fault> {
        let assertion = assertion.map(FidoAssertion::encode);
        let tpm = self.quote(&statement, assertion.as_deref(), None, certify).await?;
        let chain = vec![self.peer.clone()];
        Ok(Parts { statement, chain, assertion, registration: None, tpm, platform: false })
    }

    async fn quote(
        &self,
        statement: &[u8],
        assertion: Option<&[u8]>,
        registration: Option<&[u8]>,
        certify: bool,
    ) -> Result<TpmEvidence, Fault> {
        self.attester
            .tpm_evidence(&self.ak_certificate, statement, assertion, registration, certify, &PCRS)
            .await
    }

    /// A whole session's evidence: touch, finger, quote, certification.
    async fn session(&mut self) -> Result<Parts, Fault> {
        let statement = self.statement(Purpose::Session)?.encode()?;
        let assertion = self.assert(&statement, true).await?;
        self.parts(statement, Some(&assertion), true).await
    }

    async fn renewal(&mut self) -> Result<Parts, Fault> {
        let statement = self.statement(Purpose::Renew)?.encode()?;
        self.parts(statement, None, false).await
    }

    async fn registration(&mut self) -> Result<Parts, Fault> {
        let statement = self.statement(Purpose::EnrolKey)?.encode()?;
        let registration = self.attester.register(&statement).await?.encode();
        let tpm = self.quote(&statement, None, Some(&registration), false).await?;
        let chain = vec![self.peer.clone()];
        let registration = Some(registration);
        Ok(Parts { statement, chain, assertion: None, registration, tpm, platform: false })
    }

    async fn seal(&self, parts: &Parts) -> Result<Vec<u8>, Fault> {
        self.attester.seal(unsigned(parts)?).await
    }

    // --- writing -------------------------------------------------------------------------------

    fn fixture(
        &self,
        expect: &str,
        name: &str,
        spec: &str,
        comment: &str,
        bytes: Vec<u8>,
    ) -> Fixture {
        let folder =
            if expect == "accepted" { "accepted".into() } else { format!("rejected/{expect}") };
        Fixture {
            path: self.folder.join(folder).join(format!("{name}.fixture")),
            expect: expect.into(),
            kind: Kind::Evidence,
            now: NOW,
            peer: Some("workstation".into()),
            with: Vec::new(),
            request: None,
            spec: spec.into(),
            comment: comment.into(),
            bytes,
        }
    }

    fn write(
        &self,
        expect: &str,
        name: &str,
        spec: &str,
        comment: &str,
        bytes: Vec<u8>,
    ) -> Result<(), Fault> {
        Ok(self.fixture(expect, name, spec, comment, bytes).write()?)
    }

    async fn write_sealed(
        &self,
        expect: &str,
        name: &str,
        spec: &str,
        comment: &str,
        parts: &Parts,
    ) -> Result<(), Fault> {
        let bytes = self.seal(parts).await?;
        self.write(expect, name, spec, comment, bytes)
    }

    /// Evidence over `statement` as it stands, touched and quoted for it.
    async fn signed_anew(&mut self, statement: &Statement) -> Result<Parts, Fault> {
        let statement = statement.encode()?;
        let assertion = self.assert(&statement, true).await?;
        self.parts(statement, Some(&assertion), true).await
    }

    /// Genuine parts with another statement under the outer signature: what the builder would
    /// refuse to finish.
    async fn seal_with_statement(
        &self,
        parts: &Parts,
        statement: Vec<u8>,
    ) -> Result<Vec<u8>, Fault> {
        let sealed = self.seal(parts).await?;
        let mut items = message(&sealed)?;
        items[2] = Value::Bytes(statement);
        // Sig_structure (RFC 9052 section 4.4).
        let structure =
            vec!["Signature1".into(), items[0].clone(), Value::Bytes(Vec::new()), items[2].clone()];
        let digest = signet_evidence::binding::sha256(&cbor::encode(&Value::Array(structure)));
        items[3] = Value::Bytes(self.attester.tpm.sign_tls(digest).await?.to_vec());
        Ok(cbor::encode(&Value::Tag(18, Box::new(Value::Array(items)))))
    }

    fn sign_in_software(&self, attest: &[u8]) -> Result<SignedAttest, Fault> {
        let r_s = self.software.sign(attest);
        let signature = TpmtSignature::Ecdsa { hash: HashAlgorithm::Sha256, r_s }.to_bytes();
        Ok(SignedAttest { attest: attest.to_vec(), signature })
    }
}

fn unsigned(parts: &Parts) -> Result<UnsignedEvidence, Fault> {
    let chain = CertificateChain::new(parts.chain.clone()).ok_or("empty chain")?;
    let kind = if parts.platform { KeyPart::Platform } else { KeyPart::SecurityKey };
    let assertion = parts.assertion.as_deref().map(match parts.registration {
        Some(_) => KeyPart::SecurityKey,
        None => kind,
    });
    let registration = parts.registration.as_deref().map(kind);
    Ok(UnsignedEvidence::new(&parts.statement, &chain, assertion, registration, &parts.tpm))
}

fn with_quote(parts: &Parts, quote: SignedAttest) -> Parts {
    Parts { tpm: TpmEvidence { quote, ..parts.tpm.clone() }, ..parts.clone() }
}

/// The one request that the action fixtures approve.
pub(crate) fn action() -> Result<Action, Fault> {
    Ok(Action::new(ActionDetails {
        kind: ActionKind::SignetAction,
        actions: vec!["mesh.route.update".into()],
        locations: vec!["https://ctl.mesh.example".into()],
        method: "PUT".into(),
        path: APPROVED.into(),
        content_digest: signet_evidence::action::content_digest(b"{}"),
    })?)
}

async fn enrol(attester: &Attester) -> Result<VerifiedDevice, Fault> {
    let ek = attester.endorsement.certified()?;
    let ca = attester.swtpm.ca_certificates();
    let request = EnrolmentRequest {
        ek_public: ek.public.clone(),
        ek_certificate: ek.certificate.clone(),
        ek_chain: vec![ca.intermediate_der()?],
        ak_public: attester.ak_public.clone(),
        tls_public: attester.tls_public.clone(),
        ek_approved: false,
    };
    let makers = TrustAnchors::from_der([ca.root_der()?])?;
    let policy = EnrolmentPolicy { makers, ..EnrolmentPolicy::default() };
    let randomness = EnrolmentRandomness {
        secret: Zeroizing::new([1; 32]),
        seed: Zeroizing::new([2; 32]),
        nonce: [3; 32],
        device: [4; 16],
    };
    let pending = PendingEnrolment::begin("fixture", &request, &policy, randomness, UnixTime(NOW))?;
    let proof = attester.prove_enrolment(&pending).await?;
    Ok(pending.finish(&proof)?)
}

async fn register(
    attester: &mut Attester,
    device: &DeviceId,
) -> Result<VerifiedRegistration, Fault> {
    let statement = attester.statement(Purpose::EnrolKey, AUDIENCE, device)?.encode()?;
    let registration = attester.register(&statement).await?;
    let anchors = TrustAnchors::from_der([&attester.attestation_root])?;
    let expected = ExpectedRegistration {
        challenge: &signet_evidence::binding::registration_challenge(&statement),
        rp_id: RP_ID,
        origin: ORIGIN,
        user_verification: UserVerification::Required,
    };
    Ok(VerifiedRegistration::verify(&registration, &expected, &anchors, UnixTime(NOW))?)
}
