//! Makes genuine evidence on real parts and, from it, every kind of evidence that must be refused.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use signet_evidence::cbor::{self, Value};
use signet_evidence::header::SignedAttest;
use signet_evidence::tpm::{HashAlgorithm, PublicParameters, TpmtPublic, TpmtSignature};
use signet_evidence::{
    Action, ActionDetails, ActionKind, CertificateChain, CertificateThumbprint, DeviceId,
    FidoAssertion, Purpose, Statement, TpmEvidence, UnixTime, UnsignedEvidence,
};
use signet_verifier::certificate::TrustAnchors;
use signet_verifier::challenge::{ChallengeContext, ChallengeKey};
use signet_verifier::enrolment::{
    EnrolmentPolicy, EnrolmentRandomness, EnrolmentRequest, PendingEnrolment,
};
use signet_verifier::policy::{AttestationRoot, RegistrationPolicy};
use signet_verifier::webauthn::{ExpectedRegistration, UserVerification, VerifiedRegistration};
use zeroize::Zeroizing;

use crate::attester::{Attester, Fault, PCRS, RP_ID, TestCa};
use crate::fixture::{Fixture, Kind};
use crate::world::{Bytes, Change, World};

const AUDIENCE: &str = "https://authority.mesh.example";
const TRUST_DOMAIN: &str = "mesh.example";
const NOW: i64 = 1_800_000_000;
const ORIGIN: &str = "https://presence.mesh.example";

/// The parts of one piece of evidence, each of which an attack may exchange.
#[derive(Clone)]
pub struct Parts {
    statement: Vec<u8>,
    chain: Vec<Vec<u8>>,
    assertion: Option<Vec<u8>>,
    registration: Option<Vec<u8>>,
    tpm: TpmEvidence,
}

/// Records fixtures into a folder.
pub struct Recorder {
    attester: Attester,
    world: World,
    challenge_key: ChallengeKey,
    device: DeviceId,
    peer: Vec<u8>,
    ak_certificate: Vec<u8>,
    ca: TestCa,
    /// A key in software: what an attacker without a TPM has.
    software: EcdsaKeyPair,
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
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
        let software = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref())?;
        let token_key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
        let credential = register(&mut attester, &device).await?;
        let other_device = DeviceId::from_random(&[0xee; 16]).ok_or("device id")?;
        let other_ca = TestCa::generate("Another CA")?;
        let tls = verified.tls_key().uncompressed_point();
        let peers = BTreeMap::from([
            ("workstation".to_owned(), Bytes(peer.clone())),
            ("other-device".to_owned(), Bytes(ca.device(TRUST_DOMAIN, &other_device, tls)?)),
            ("other-ca".to_owned(), Bytes(other_ca.device(TRUST_DOMAIN, &device, tls)?)),
            (
                "other-key".to_owned(),
                Bytes(ca.device(TRUST_DOMAIN, &device, software.public_key().as_ref())?),
            ),
        ]);
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
            session: Bytes(vec![0x51; 16]),
            peers,
        };
        let challenge_key = world.challenge_key()?;
        Ok(Self {
            attester,
            world,
            challenge_key,
            device,
            peer,
            ak_certificate,
            ca,
            software,
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
        self.certifications().await?;
        self.assertions().await?;
        self.edited_assertions().await?;
        self.registrations().await
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
        Ok(Parts { statement, chain: vec![self.peer.clone()], assertion, registration: None, tpm })
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
        Ok(Parts { statement, chain, assertion: None, registration: Some(registration), tpm })
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

    // --- the fixtures --------------------------------------------------------------------------

    async fn accepted(&mut self) -> Result<(), Fault> {
        let session = self.session().await?;
        self.write_sealed(
            "accepted",
            "session",
            "protocol 2.4",
            "as the workstation makes it",
            &session,
        )
        .await?;
        let renewal = self.renewal().await?;
        self.write_sealed(
            "accepted",
            "renewal",
            "protocol 3.2",
            "as the workstation makes it",
            &renewal,
        )
        .await?;
        let statement = self.statement(Purpose::Action)?.encode()?;
        let assertion = self.assert(&statement, true).await?;
        let action = self.parts(statement, Some(&assertion), false).await?;
        self.write_sealed(
            "accepted",
            "action",
            "protocol 3.1",
            "as the workstation makes it",
            &action,
        )
        .await?;
        let statement = self.statement(Purpose::Workload)?.encode()?;
        let workload = self.parts(statement, None, true).await?;
        self.write_sealed(
            "accepted",
            "workload",
            "protocol 3.2",
            "as the workstation makes it",
            &workload,
        )
        .await?;
        let registration = self.registration().await?;
        let bytes = self.seal(&registration).await?;
        let mut fixture = self.fixture(
            "accepted",
            "registration",
            "protocol 4.2",
            "as the workstation makes it",
            bytes,
        );
        fixture.kind = Kind::Registration;
        Ok(fixture.write()?)
    }

    async fn shape_and_challenge(&mut self) -> Result<(), Fault> {
        let genuine = self.session().await?;
        let sealed = self.seal(&genuine).await?;
        let header =
            edit_message(&sealed, |items| items[1] = cbor::map(vec![(4, Value::Bytes(vec![1]))]))?;
        self.write(
            "evidence-malformed",
            "unprotected-header-added",
            "protocol 2.1",
            "an unprotected kid was added",
            header,
        )?;
        let mut trailing = sealed.clone();
        trailing.push(0);
        self.write(
            "evidence-malformed",
            "trailing-byte",
            "protocol 2.1",
            "one byte after the message",
            trailing,
        )?;
        let long = edit_protected(&sealed, |map| {
            map.retain(|(label, _)| *label != Value::from(33));
            let certificates = vec![Value::Bytes(vec![1; 3000]); 4];
            map.push((33.into(), Value::Array(certificates)));
        })?;
        self.write(
            "evidence-too-large",
            "long-certificate-chain",
            "protocol 2.1",
            "12 KB of certificates and no event log",
            long,
        )?;

        let profile = edit_statement(
            &genuine.statement,
            265,
            "urn:uuid:00000000-0000-0000-0000-000000000000".into(),
        )?;
        let bytes = self.seal_with_statement(&genuine, profile).await?;
        self.write(
            "profile-wrong",
            "other-profile",
            "protocol 2.4 step 2",
            "eat_profile of something else",
            bytes,
        )?;
        let mut statement = self.statement(Purpose::Session)?;
        statement.audience = "https://other.example".into();
        let parts = self.signed_anew(&statement).await?;
        self.write_sealed(
            "audience-wrong",
            "other-authority",
            "protocol 2.4 step 2",
            "made for another authority",
            &parts,
        )
        .await?;
        let registration = self.registration().await?;
        self.write_sealed(
            "purpose-wrong",
            "key-enrolment-for-a-token",
            "protocol 2.4 step 2",
            "evidence of a new key where a token is asked for",
            &registration,
        )
        .await?;
        let purpose = edit_statement(&genuine.statement, -70001, 9.into())?;
        let bytes = self.seal_with_statement(&genuine, purpose).await?;
        self.write("purpose-wrong", "unknown-purpose", "protocol 2.4 step 2", "purpose 9", bytes)?;

        let mut statement = self.statement(Purpose::Session)?;
        statement.challenge[20] ^= 1;
        let parts = self.signed_anew(&statement).await?;
        self.write_sealed(
            "challenge-invalid",
            "challenge-edited",
            "protocol 2.3",
            "one bit of the random part",
            &parts,
        )
        .await?;
        let mut statement = self.statement(Purpose::Session)?;
        statement.challenge = self.statement(Purpose::Renew)?.challenge;
        let parts = self.signed_anew(&statement).await?;
        self.write_sealed(
            "challenge-invalid",
            "challenge-of-another-purpose",
            "protocol 2.3",
            "a renewal's challenge in a session",
            &parts,
        )
        .await?;
        let mut statement = self.statement(Purpose::Action)?;
        let challenge = statement.challenge.clone();
        let mut details = action()?.details().clone();
        details.path = "/v1/routes/ledger".into();
        statement.action = Some(Action::new(details)?);
        statement.challenge = challenge;
        let parts = self.signed_anew(&statement).await?;
        self.write_sealed(
            "challenge-invalid",
            "challenge-of-another-action",
            "protocol 2.3",
            "another request than the challenge was issued for",
            &parts,
        )
        .await?;
        let mut fixture = self.fixture(
            "challenge-invalid",
            "sent-by-another-machine",
            "protocol 2.3",
            "genuine evidence over the connection of another machine",
            sealed.clone(),
        );
        fixture.peer = Some("other-device".into());
        fixture.write()?;
        let mut fixture = self.fixture(
            "challenge-expired",
            "two-minutes-late",
            "protocol 2.3",
            "genuine evidence, 120 seconds later",
            sealed,
        );
        fixture.now = NOW + 120;
        Ok(fixture.write()?)
    }

    async fn certificates(&mut self) -> Result<(), Fault> {
        let genuine = self.session().await?;
        let with_leaf = |name: &str| -> Result<Parts, Fault> {
            let leaf = self.world.peers.get(name).ok_or("peer")?.0.clone();
            Ok(Parts { chain: vec![leaf], ..genuine.clone() })
        };
        self.write_sealed(
            "certificate-mismatch",
            "certificate-of-another-device",
            "protocol 2.4 step 4",
            "x5chain names another device",
            &with_leaf("other-device")?,
        )
        .await?;
        let statement =
            edit_statement(&genuine.statement, 8, cbor::map(vec![(5, Value::Bytes(vec![9; 32]))]))?;
        let bytes = self.seal_with_statement(&genuine, statement).await?;
        self.write(
            "key-thumbprint-mismatch",
            "cnf-of-another-key",
            "protocol 2.2",
            "cnf.ckt of another key",
            bytes,
        )?;

        // A certificate of another CA: both in the evidence and on the connection.
        let other = self.world.peers.get("other-ca").ok_or("peer")?.0.clone();
        let kept = std::mem::replace(&mut self.peer, other);
        let foreign = self.session().await?;
        self.peer = kept;
        let bytes = self.seal(&foreign).await?;
        let mut fixture = self.fixture(
            "device-certificate-untrusted",
            "another-ca",
            "protocol 2.4 step 4",
            "device certificate of another CA",
            bytes,
        );
        fixture.peer = Some("other-ca".into());
        fixture.write()?;

        let sealed = self.seal(&genuine).await?;
        let edited = edit_message(&sealed, |items| {
            let payload = items[2].as_bytes().cloned().unwrap_or_default();
            let payload = edit_statement(&payload, 9, "mesh.everything".into()).unwrap_or_default();
            items[2] = Value::Bytes(payload);
        })?;
        self.write(
            "evidence-signature-invalid",
            "payload-edited",
            "protocol 2.4 step 5",
            "a wider scope was written in",
            edited,
        )?;
        let edited = edit_message(&sealed, |items| {
            let mut signature = items[3].as_bytes().cloned().unwrap_or_default();
            signature[63] ^= 1;
            items[3] = Value::Bytes(signature);
        })?;
        self.write(
            "evidence-signature-invalid",
            "signature-edited",
            "protocol 2.4 step 5",
            "one bit of the outer signature",
            edited,
        )?;
        for (change, code) in
            [(Change::DeviceUnknown, "device-unknown"), (Change::DeviceRevoked, "device-revoked")]
        {
            let mut fixture = self.fixture(
                code,
                "genuine",
                "protocol 2.4 step 6",
                "genuine evidence of a machine that may not speak",
                sealed.clone(),
            );
            fixture.with = vec![change];
            fixture.write()?;
        }
        Ok(())
    }

    /// Mix and match: every part is genuine, and they do not belong together.
    async fn quotes(&mut self) -> Result<(), Fault> {
        let one = self.session().await?;
        let two = self.session().await?;
        let renewal = self.renewal().await?;
        let step = "protocol 2.4 step 7";
        let code = "quote-challenge-mismatch";
        self.write_sealed(
            code,
            "statement-swapped",
            step,
            "the statement of another session",
            &Parts { statement: two.statement.clone(), ..one.clone() },
        )
        .await?;
        let again = self.assert(&one.statement.clone(), true).await?.encode();
        self.write_sealed(
            code,
            "assertion-made-again",
            step,
            "touched again under the same quote",
            &Parts { assertion: Some(again), ..one.clone() },
        )
        .await?;
        self.write_sealed(
            code,
            "tpm-evidence-of-another-session",
            step,
            "quote and certification of another session",
            &Parts { tpm: two.tpm.clone(), ..one.clone() },
        )
        .await?;
        self.write_sealed(
            code,
            "renewal-quote-for-a-session",
            step,
            "the quote of a renewal",
            &Parts {
                tpm: TpmEvidence {
                    certification: one.tpm.certification.clone(),
                    ..renewal.tpm.clone()
                },
                ..one.clone()
            },
        )
        .await?;
        self.write_sealed(
            code,
            "assertion-stripped",
            step,
            "the touch was taken out",
            &Parts { assertion: None, ..one.clone() },
        )
        .await?;
        let hint = edit_map(one.assertion.as_deref().ok_or("assertion")?, 5, 2.into())?;
        self.write_sealed(
            code,
            "verification-hint-edited",
            step,
            "observed verification changed from built-in to PIN",
            &Parts { assertion: Some(hint), ..one.clone() },
        )
        .await?;

        let mut pcrs = one.tpm.pcrs.clone().ok_or("pcrs")?;
        if let Some(value) = pcrs.get_mut(&7) {
            value[0] ^= 1;
        }
        self.write_sealed(
            "pcr-digest-mismatch",
            "pcr-value-edited",
            "protocol 2.4 step 8",
            "one bit of PCR 7",
            &Parts { tpm: TpmEvidence { pcrs: Some(pcrs), ..one.tpm.clone() }, ..one.clone() },
        )
        .await?;
        let tpm = self
            .attester
            .tpm_evidence(
                &self.ak_certificate,
                &one.statement,
                one.assertion.as_deref(),
                None,
                true,
                &[0],
            )
            .await?;
        self.write_sealed(
            "pcr-selection-insufficient",
            "pcr-0-only",
            "protocol 2.4 step 8",
            "a genuine quote of PCR 0 alone",
            &Parts { tpm, ..one.clone() },
        )
        .await?;
        let certification = one.tpm.certification.clone().ok_or("certification")?;
        self.write_sealed(
            "quote-type-wrong",
            "certification-as-quote",
            step,
            "the certification in the place of the quote",
            &with_quote(&one, certification.signed),
        )
        .await?;
        let mut quote = one.tpm.quote.clone();
        quote.signature.truncate(40);
        self.write_sealed(
            "quote-malformed",
            "signature-truncated",
            step,
            "TPMT_SIGNATURE cut after 40 bytes",
            &with_quote(&one, quote),
        )
        .await?;
        let mut quote = one.tpm.quote.clone();
        let last = quote.attest.len() - 1;
        quote.attest[last] ^= 1;
        self.write_sealed(
            "quote-signature-invalid",
            "attest-edited",
            step,
            "one bit of the quoted digest",
            &with_quote(&one, quote),
        )
        .await?;
        let other = TestCa::generate("Another AK CA")?;
        let chain =
            CertificateChain::new(vec![other.attestation_key(&self.world.ak.0)?]).ok_or("chain")?;
        self.write_sealed(
            "ak-certificate-untrusted",
            "another-ca",
            step,
            "the AK certified by another CA",
            &Parts { tpm: TpmEvidence { ak_chain: chain, ..one.tpm.clone() }, ..one.clone() },
        )
        .await?;
        let chain = CertificateChain::new(vec![self.peer.clone()]).ok_or("chain")?;
        self.write_sealed(
            "ak-certificate-untrusted",
            "tls-certificate-as-ak",
            step,
            "the device's TLS certificate posing as the AK's",
            &Parts { tpm: TpmEvidence { ak_chain: chain, ..one.tpm.clone() }, ..one.clone() },
        )
        .await
    }

    /// What a key outside any TPM can sign.
    async fn forged_by_software(&mut self) -> Result<(), Fault> {
        let genuine = self.session().await?;
        let step = "protocol 2.4 step 7";
        let forged = self.sign_in_software(&genuine.tpm.quote.attest)?;
        self.write_sealed(
            "quote-signature-invalid",
            "signed-by-another-key",
            step,
            "a TPMS_ATTEST signed by a key that is not the AK",
            &with_quote(&genuine, forged.clone()),
        )
        .await?;
        let software = self.ca.attestation_key(self.software.public_key().as_ref())?;
        let chain = CertificateChain::new(vec![software]).ok_or("chain")?;
        let posing = Parts {
            tpm: TpmEvidence { ak_chain: chain, quote: forged, ..genuine.tpm.clone() },
            ..genuine.clone()
        };
        self.write_sealed(
            "ak-mismatch",
            "another-certified-ak",
            step,
            "the AK of another machine",
            &posing,
        )
        .await
    }

    async fn state(&mut self) -> Result<(), Fault> {
        let session = self.session().await?;
        let sealed = self.seal(&session).await?;
        for (code, change, spec) in [
            ("boot-policy-refused", Change::PcrsDrifted, "protocol 2.4 step 8"),
            ("tpm-clock-regressed", Change::ClockAhead, "protocol 2.4 step 9"),
            ("credential-unknown", Change::CredentialUnknown, "protocol 2.4 step 11"),
            ("credential-revoked", Change::CredentialRevoked, "protocol 2.4 step 11"),
            ("counter-regressed", Change::CounterAhead, "WebAuthn L3 7.2 step 22"),
        ] {
            let mut fixture = self.fixture(
                code,
                "genuine",
                spec,
                "genuine evidence against what the verifier knows",
                sealed.clone(),
            );
            fixture.with = vec![change];
            fixture.write()?;
        }
        let renewal = self.renewal().await?;
        let sealed = self.seal(&renewal).await?;
        for (code, change) in
            [("tpm-rebooted", Change::SessionRebooted), ("session-ended", Change::SessionEnded)]
        {
            let mut fixture = self.fixture(
                code,
                "renewal",
                "protocol 3.2",
                "a genuine renewal of a session that is over",
                sealed.clone(),
            );
            fixture.with = vec![change];
            fixture.write()?;
        }
        Ok(())
    }

    async fn certifications(&mut self) -> Result<(), Fault> {
        let one = self.session().await?;
        let two = self.session().await?;
        let step = "protocol 2.4 step 10";
        let certification = one.tpm.certification.clone().ok_or("certification")?;
        let with = |certification: Option<_>| Parts {
            tpm: TpmEvidence { certification, ..one.tpm.clone() },
            ..one.clone()
        };
        self.write_sealed(
            "certification-missing",
            "certification-stripped",
            step,
            "no certification at session start",
            &with(None),
        )
        .await?;
        self.write_sealed(
            "certification-challenge-mismatch",
            "certification-of-another-session",
            step,
            "genuine, over another statement",
            &with(two.tpm.certification.clone()),
        )
        .await?;
        let mut edited = certification.clone();
        edited.signed = one.tpm.quote.clone();
        self.write_sealed(
            "certification-malformed",
            "quote-as-certification",
            step,
            "the quote in the place of the certification",
            &with(Some(edited)),
        )
        .await?;
        let mut edited = certification.clone();
        edited.signed = self.sign_in_software(&certification.signed.attest)?;
        self.write_sealed(
            "certification-signature-invalid",
            "signed-by-another-key",
            step,
            "signed by a key that is not the AK",
            &with(Some(edited)),
        )
        .await?;
        let mut edited = certification.clone();
        edited.public = edit_public(&certification.public)?;
        self.write_sealed(
            "certification-key-mismatch",
            "public-area-of-another-key",
            step,
            "the public area of another key",
            &with(Some(edited)),
        )
        .await
    }

    async fn assertions(&mut self) -> Result<(), Fault> {
        let step = "protocol 2.4 step 11";
        let statement = self.statement(Purpose::Session)?.encode()?;
        let none = self.parts(statement, None, true).await?;
        self.write_sealed(
            "assertion-missing",
            "session-without-touch",
            step,
            "consistent evidence in which nobody touched a key",
            &none,
        )
        .await?;
        let statement = self.statement(Purpose::Action)?.encode()?;
        let none = self.parts(statement, None, false).await?;
        self.write_sealed(
            "assertion-missing",
            "action-without-touch",
            step,
            "an action that nobody approved",
            &none,
        )
        .await?;
        let other = self.statement(Purpose::Session)?.encode()?;
        let statement = self.statement(Purpose::Session)?.encode()?;
        let moved = self.assert(&other, true).await?;
        let parts = self.parts(statement, Some(&moved), true).await?;
        self.write_sealed(
            "assertion-challenge-mismatch",
            "assertion-from-another-statement",
            step,
            "a genuine touch for another request, quoted with this one",
            &parts,
        )
        .await?;
        let statement = self.statement(Purpose::Session)?.encode()?;
        let touched = self.assert(&statement, false).await?;
        let parts = self.parts(statement, Some(&touched), true).await?;
        self.write_sealed(
            "uv-missing",
            "touch-only",
            "WebAuthn L3 7.2 step 17",
            "a genuine touch without user verification",
            &parts,
        )
        .await?;
        let statement = self.statement(Purpose::Session)?.encode()?;
        let credential = self.world.credential.0.clone();
        let phished =
            self.attester.assert(&statement, &credential, "https://evil.example", true).await?;
        let parts = self.parts(statement, Some(&phished), true).await?;
        self.write_sealed(
            "assertion-client-data-wrong",
            "another-origin",
            "WebAuthn L3 7.2 step 12",
            "a genuine touch under another origin",
            &parts,
        )
        .await
    }

    /// Edits of a genuine assertion, quoted consistently: what a daemon under attack could send.
    async fn edited_assertions(&mut self) -> Result<(), Fault> {
        type Edit = fn(&mut FidoAssertion);
        let edits: [(&str, &str, &str, &str, Edit); 6] = [
            (
                "rp-id-mismatch",
                "rp-id-hash-edited",
                "WebAuthn L3 7.2 step 15",
                "one bit of rpIdHash",
                |a| a.authenticator_data[0] ^= 1,
            ),
            ("up-missing", "up-flag-cleared", "WebAuthn L3 7.2 step 16", "UP cleared", |a| {
                a.authenticator_data[32] &= !1
            }),
            ("uv-missing", "uv-flag-cleared", "WebAuthn L3 7.2 step 17", "UV cleared", |a| {
                a.authenticator_data[32] &= !4
            }),
            ("backup-eligible", "be-flag-set", "WebAuthn L3 7.2 step 18", "BE set", |a| {
                a.authenticator_data[32] |= 8
            }),
            (
                "assertion-malformed",
                "authenticator-data-truncated",
                "WebAuthn L3 6.1",
                "authenticator data of 36 bytes",
                |a| a.authenticator_data.truncate(36),
            ),
            (
                "assertion-signature-invalid",
                "signature-edited",
                "WebAuthn L3 7.2 step 21",
                "the last bit of the signature",
                |a| {
                    if let Some(byte) = a.signature.last_mut() {
                        *byte ^= 1;
                    }
                },
            ),
        ];
        for (code, name, spec, comment, edit) in edits {
            let statement = self.statement(Purpose::Session)?.encode()?;
            let mut assertion = self.assert(&statement, true).await?;
            edit(&mut assertion);
            let parts = self.parts(statement, Some(&assertion), true).await?;
            self.write_sealed(code, name, spec, comment, &parts).await?;
        }
        let statement = self.statement(Purpose::Session)?.encode()?;
        let mut assertion = self.assert(&statement, true).await?;
        assertion.credential_id[0] ^= 1;
        let parts = self.parts(statement, Some(&assertion), true).await?;
        self.write_sealed(
            "credential-unknown",
            "credential-id-edited",
            "protocol 2.4 step 11",
            "an id that nobody registered",
            &parts,
        )
        .await
    }

    async fn registrations(&mut self) -> Result<(), Fault> {
        let genuine = self.registration().await?;
        let sealed = self.seal(&genuine).await?;
        for (code, change) in [
            ("attestation-untrusted", Change::OtherAttestationRoots),
            ("aaguid-refused", Change::OtherModels),
        ] {
            let mut fixture = self.fixture(
                code,
                "genuine",
                "protocol 4.2",
                "a genuine key that the policy does not name",
                sealed.clone(),
            );
            fixture.kind = Kind::Registration;
            fixture.with = vec![change];
            fixture.write()?;
        }
        let none = |map: &mut Vec<(Value, Value)>| {
            set(map, "fmt", "none".into());
            set(map, "attStmt", Value::Map(Vec::new()));
        };
        self.write_registration(
            "attestation-format-refused",
            "attestation-stripped",
            "WebAuthn L3 8.7",
            "format none in the place of packed",
            none,
        )
        .await?;
        let unknown = |map: &mut Vec<(Value, Value)>| set(map, "fmt", "android-safetynet".into());
        self.write_registration(
            "attestation-format-refused",
            "unknown-format",
            "WebAuthn L3 8",
            "a format that is not accepted",
            unknown,
        )
        .await?;
        let edited =
            |map: &mut Vec<(Value, Value)>| edit_bytes(map, "authData", |data| data[36] ^= 1);
        self.write_registration(
            "attestation-invalid",
            "counter-edited",
            "WebAuthn L3 7.1 step 21",
            "one bit of authenticator data",
            edited,
        )
        .await?;
        // The credential's key is the last 77 bytes: a5 01 02 03 26 …, where 26 is alg −7.
        let eddsa = |map: &mut Vec<(Value, Value)>| {
            edit_bytes(map, "authData", |data| {
                let at = data.len() - 77 + 4;
                data[at] = 0x27;
            });
        };
        self.write_registration(
            "credential-algorithm-refused",
            "alg-edited",
            "protocol 4.2",
            "alg −8 in the credential's key",
            eddsa,
        )
        .await
    }

    async fn write_registration(
        &mut self,
        code: &str,
        name: &str,
        spec: &str,
        comment: &str,
        edit: impl Fn(&mut Vec<(Value, Value)>),
    ) -> Result<(), Fault> {
        let mut parts = self.registration().await?;
        let header = parts.registration.take().ok_or("registration")?;
        let object = bytes_at(&header, 1)?;
        let Value::Map(mut map) = cbor::decode(&object)? else { return Err("not a map".into()) };
        edit(&mut map);
        let object = cbor::encode(&Value::Map(map));
        let header = edit_map(&header, 1, Value::Bytes(object))?;
        parts.tpm = self.quote(&parts.statement, None, Some(&header), false).await?;
        parts.registration = Some(header);
        let bytes = self.seal(&parts).await?;
        let mut fixture = self.fixture(code, name, spec, comment, bytes);
        fixture.kind = Kind::Registration;
        Ok(fixture.write()?)
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
        let signature = self.software.sign(&SystemRandom::new(), attest)?;
        let r_s: [u8; 64] = signature.as_ref().try_into()?;
        let signature = TpmtSignature::Ecdsa { hash: HashAlgorithm::Sha256, r_s }.to_bytes();
        Ok(SignedAttest { attest: attest.to_vec(), signature })
    }
}

fn unsigned(parts: &Parts) -> Result<UnsignedEvidence, Fault> {
    let chain = CertificateChain::new(parts.chain.clone()).ok_or("empty chain")?;
    let (assertion, registration) = (parts.assertion.as_deref(), parts.registration.as_deref());
    Ok(UnsignedEvidence::new(&parts.statement, &chain, assertion, registration, &parts.tpm))
}

fn with_quote(parts: &Parts, quote: SignedAttest) -> Parts {
    Parts { tpm: TpmEvidence { quote, ..parts.tpm.clone() }, ..parts.clone() }
}

/// The one request that the action fixtures approve.
fn action() -> Result<Action, Fault> {
    Ok(Action::new(ActionDetails {
        kind: ActionKind::SignetAction,
        actions: vec!["mesh.route.update".into()],
        locations: vec!["https://ctl.mesh.example".into()],
        method: "PUT".into(),
        path: "/v1/routes/payments".into(),
        content_digest: signet_evidence::action::content_digest(b"{}"),
    })?)
}

async fn enrol(attester: &Attester) -> Result<signet_verifier::enrolment::VerifiedDevice, Fault> {
    let ek = attester.endorsement.certified()?;
    let ca = attester.swtpm.ca_certificates();
    let request = EnrolmentRequest {
        ek_public: ek.public.clone(),
        ek_certificate: ek.certificate.clone(),
        ek_chain: vec![ca.intermediate_der()?],
        ak_public: attester.ak_public.clone(),
        tls_public: attester.tls_public.clone(),
    };
    let makers = TrustAnchors::from_der([ca.root_der()?])?;
    let policy = EnrolmentPolicy { makers, danger_accept_unproven: false };
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
    let root =
        AttestationRoot { certificate: attester.attestation_root.clone(), models: Vec::new() };
    // Only to read the credential out of it; policy is the fixtures' subject.
    RegistrationPolicy::new(vec![root], false)?;
    let anchors = TrustAnchors::from_der([&attester.attestation_root])?;
    let expected = ExpectedRegistration {
        challenge: &signet_evidence::binding::registration_challenge(&statement),
        rp_id: RP_ID,
        origin: ORIGIN,
        user_verification: UserVerification::Required,
    };
    Ok(VerifiedRegistration::verify(&registration, &expected, &anchors, UnixTime(NOW))?)
}

fn message(bytes: &[u8]) -> Result<Vec<Value>, Fault> {
    match cbor::decode(bytes)? {
        Value::Tag(18, inner) => match *inner {
            Value::Array(items) if items.len() == 4 => Ok(items),
            _ => Err("not a COSE_Sign1".into()),
        },
        _ => Err("not tagged".into()),
    }
}

fn edit_message(bytes: &[u8], edit: impl FnOnce(&mut Vec<Value>)) -> Result<Vec<u8>, Fault> {
    let mut items = message(bytes)?;
    edit(&mut items);
    Ok(cbor::encode(&Value::Tag(18, Box::new(Value::Array(items)))))
}

fn edit_protected(
    bytes: &[u8],
    edit: impl FnOnce(&mut Vec<(Value, Value)>),
) -> Result<Vec<u8>, Fault> {
    let items = message(bytes)?;
    let Value::Map(mut map) = cbor::decode(items[0].as_bytes().ok_or("protected")?)? else {
        return Err("not a map".into());
    };
    edit(&mut map);
    edit_message(bytes, |items| items[0] = Value::Bytes(cbor::encode(&Value::Map(map))))
}

fn edit_statement(statement: &[u8], claim: i64, value: Value) -> Result<Vec<u8>, Fault> {
    edit_map(statement, claim, value)
}

/// The map in `bytes` with `key` set to `value`.
fn edit_map(bytes: &[u8], key: i64, value: Value) -> Result<Vec<u8>, Fault> {
    let Value::Map(mut map) = cbor::decode(bytes)? else { return Err("not a map".into()) };
    map.retain(|(found, _)| *found != Value::from(key));
    map.push((key.into(), value));
    Ok(cbor::encode(&Value::Map(map)))
}

fn bytes_at(bytes: &[u8], key: i64) -> Result<Vec<u8>, Fault> {
    let Value::Map(map) = cbor::decode(bytes)? else { return Err("not a map".into()) };
    let found = map.into_iter().find(|(found, _)| *found == Value::from(key));
    found.and_then(|(_, value)| value.into_bytes().ok()).ok_or_else(|| "no such member".into())
}

fn set(map: &mut Vec<(Value, Value)>, name: &str, value: Value) {
    map.retain(|(found, _)| found.as_text() != Some(name));
    map.push((name.into(), value));
}

fn edit_bytes(map: &mut [(Value, Value)], name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
    let found = map.iter_mut().find(|(found, _)| found.as_text() == Some(name));
    if let Some((_, Value::Bytes(bytes))) = found {
        edit(bytes);
    }
}

/// A `TPMT_PUBLIC` of the same template for another key.
fn edit_public(public: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut public = TpmtPublic::parse(public)?;
    if let PublicParameters::Ecc(ecc) = &mut public.parameters {
        ecc.x[0] ^= 1;
    }
    Ok(public.to_bytes())
}
