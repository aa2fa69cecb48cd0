//! Keys of the machine's TPM in the place of a security key: as the workstation makes them, and moved,
//! edited and forged.

use signet_evidence::cbor::Value;
use signet_evidence::header::SignedAttest;
use signet_evidence::tpm::{
    Attested, CertifyInfo, FINGERPRINT_POLICY_REF, Name, ObjectAttributes, TpmsAttest, TpmtPublic,
    policy_auth_value, policy_signed,
};
use signet_evidence::{
    CertificateChain, HostFacts, PlatformAssertion, PlatformRegistration, Purpose, Statement,
    TpmEvidence,
};

use super::edit::{edit_protected, edit_public};
use super::{Parts, Recorder};
use crate::attester::Fault;
use crate::fixture::Kind;
use crate::platform_keys::{finger_facts, key_pair, public_area};
use crate::world::Change;
use aws_lc_rs::signature::KeyPair as _;

const STEP: &str = "protocol 2.4 step 11";
const REGISTRATION: &str = "protocol 4.2";

impl Recorder {
    pub(super) async fn platform_keys(&mut self) -> Result<(), Fault> {
        self.platform_accepted().await?;
        self.platform_mixed().await?;
        self.platform_fingers().await?;
        self.platform_state().await?;
        self.platform_registrations().await?;
        self.platform_forged().await
    }

    async fn platform_accepted(&mut self) -> Result<(), Fault> {
        let comment = "as the workstation makes it";
        let pin = self.pin_session().await?;
        self.write_sealed("accepted", "session-tpm-pin", "protocol 5.1", comment, &pin).await?;
        let finger = self.finger_session(finger_facts().into()).await?;
        self.write_sealed("accepted", "session-fingerprint", "protocol 5.1", comment, &finger)
            .await?;
        for finger in [false, true] {
            let parts = self.platform_registration(finger, |_| ()).await?;
            let name = if finger { "registration-fingerprint" } else { "registration-tpm-pin" };
            let bytes = self.seal(&parts).await?;
            let mut fixture = self.fixture("accepted", name, REGISTRATION, comment, bytes);
            fixture.kind = Kind::Registration;
            fixture.write()?;
        }
        Ok(())
    }

    /// Every part is genuine, and they do not belong together.
    async fn platform_mixed(&mut self) -> Result<(), Fault> {
        let (one, two) = (self.pin_session().await?, self.pin_session().await?);
        let touched = self.session().await?;
        let quoted = "protocol 2.4 step 7";
        let code = "quote-challenge-mismatch";
        let moved = Parts { assertion: two.assertion.clone(), ..one.clone() };
        let comment = "a PIN's signature of another session under this quote";
        self.write_sealed(code, "platform-assertion-of-another-session", quoted, comment, &moved)
            .await?;
        let stripped = Parts { assertion: None, ..one.clone() };
        let comment = "the PIN's signature was taken out";
        self.write_sealed(code, "platform-assertion-stripped", quoted, comment, &stripped).await?;
        let instead = Parts { statement: touched.statement.clone(), ..one.clone() };
        let comment = "a PIN's signature and its quote under the statement of a touch";
        self.write_sealed(
            code,
            "platform-assertion-in-place-of-a-touch",
            quoted,
            comment,
            &instead,
        )
        .await?;

        let statement = self.statement(Purpose::Session)?.encode()?;
        let replayed = self.platform_parts(statement, two.assertion.ok_or("assertion")?).await?;
        let code = "assertion-signature-invalid";
        let comment = "a PIN's signature of another statement, quoted with this one";
        self.write_sealed(code, "platform-signature-replayed", STEP, comment, &replayed).await?;
        let edited = self.edited_pin(|assertion| assertion.signature[20] ^= 1).await?;
        let comment = "one bit of the platform key's signature";
        self.write_sealed(code, "platform-signature-edited", STEP, comment, &edited).await?;
        let edited = self.edited_pin(|assertion| assertion.signature.truncate(40)).await?;
        let comment = "TPMT_SIGNATURE cut after 40 bytes";
        let code = "assertion-malformed";
        self.write_sealed(code, "platform-signature-truncated", STEP, comment, &edited).await?;

        let sealed = self.seal(&touched).await?;
        let content = one.assertion.ok_or("assertion")?;
        let both = edit_protected(&sealed, |map| {
            map.push((Value::from(-70103), Value::Bytes(content.clone())));
        })?;
        let comment = "a touch and a PIN's signature in one evidence";
        let name = "two-kinds-of-assertion";
        self.write("evidence-malformed", name, "protocol 2.1", comment, both)?;
        for (name, registration) in [
            ("platform-key-authorises-a-security-key", self.registration().await?),
            (
                "platform-key-authorises-a-platform-key",
                self.platform_registration(false, |_| ()).await?,
            ),
        ] {
            let sealed = self.seal(&registration).await?;
            let bytes = edit_protected(&sealed, |map| {
                map.push((Value::from(-70103), Value::Bytes(content.clone())));
            })?;
            let comment = "a platform key where only a security key may authorise";
            let mut fixture = self.fixture("purpose-wrong", name, "protocol 2.1", comment, bytes);
            fixture.kind = Kind::Registration;
            fixture.write()?;
        }
        Ok(())
    }

    async fn platform_fingers(&mut self) -> Result<(), Fault> {
        let facts = finger_facts();
        let mut other_fingers = facts.clone();
        other_fingers.fingers =
            signet_evidence::finger_set_digest(["right-index-finger", "right-thumb"]);
        let mut other_reader = facts.clone();
        other_reader.driver = "Virtual device for debugging".into();
        let no_driver = HostFacts { driver: None, ..facts.clone().into() };
        let missing = "platform-facts-missing";
        let changed = "platform-fingers-changed";
        for (code, name, comment, facts) in [
            (missing, "no-facts", "a match by nobody knows which reader", HostFacts::default()),
            (missing, "no-driver", "fingers without a reader", no_driver),
            (changed, "another-finger", "another finger is enrolled", other_fingers.into()),
            (changed, "another-reader", "another reader", other_reader.into()),
        ] {
            let parts = self.finger_session(facts).await?;
            self.write_sealed(code, name, "protocol 5.1", comment, &parts).await?;
        }
        let mut statement = self.statement(Purpose::EnrolKey)?;
        statement.host_facts = None;
        let parts = self.platform_registration_of(statement, true, |_| ()).await?;
        let comment = "a fingerprint key of nobody knows which reader";
        self.write_registered(missing, "registration-without-facts", comment, &parts).await
    }

    async fn platform_state(&mut self) -> Result<(), Fault> {
        let pin = self.pin_session().await?;
        let sealed = self.seal(&pin).await?;
        for (code, name, change) in [
            ("credential-unknown", "platform-key-of-another-device", Change::PlatformKeyElsewhere),
            ("credential-unknown", "platform-key-of-another-operator", Change::CredentialUnknown),
            ("credential-revoked", "platform-key", Change::CredentialRevoked),
        ] {
            let comment = "genuine evidence against what the verifier knows";
            let mut fixture = self.fixture(code, name, STEP, comment, sealed.clone());
            fixture.with = vec![change];
            fixture.write()?;
        }
        let parts = self.platform_registration(false, |_| ()).await?;
        let sealed = self.seal(&parts).await?;
        for (code, change) in [
            ("credential-duplicate", Change::CredentialEnrolled),
            ("registration-not-authorised", Change::NoGrant),
        ] {
            let comment = "a genuine platform key";
            let name = "platform-key";
            let mut fixture = self.fixture(code, name, REGISTRATION, comment, sealed.clone());
            fixture.kind = Kind::Registration;
            fixture.with = vec![change];
            fixture.write()?;
        }
        Ok(())
    }

    /// Real keys with a registration that says something else.
    async fn platform_registrations(&mut self) -> Result<(), Fault> {
        let stranger = public_area(key_pair()?.public_key().as_ref());
        let code = "platform-key-policy";
        let parts = self
            .platform_registration(true, |new| new.authorisation_key = Some(stranger.clone()))
            .await?;
        let comment = "the public area of another authorisation key";
        self.write_registered(code, "authorisation-key-swapped", comment, &parts).await?;
        let parts = self.platform_registration(true, |new| new.authorisation_key = None).await?;
        let comment = "a fingerprint key that claims to be a PIN key";
        self.write_registered(code, "fingerprint-key-posing-as-pin-key", comment, &parts).await?;
        let parts = self
            .platform_registration(false, |new| new.authorisation_key = Some(stranger.clone()))
            .await?;
        let comment = "a PIN key that claims to be released by a key";
        self.write_registered(code, "pin-key-with-authorisation-key", comment, &parts).await?;

        let other = self.platform_registration(false, |_| ()).await?;
        let other = other.registration.ok_or("registration")?;
        let statement = self.statement(Purpose::EnrolKey)?.encode()?;
        let tpm = self.quote(&statement, None, Some(&other), false).await?;
        let chain = vec![self.peer.clone()];
        let registration = Some(other);
        let parts = Parts { statement, chain, assertion: None, registration, tpm, platform: true };
        let comment = "a key certified for another statement, quoted with this one";
        let code = "assertion-challenge-mismatch";
        self.write_registered(code, "platform-certification-replayed", comment, &parts).await?;

        let mut edited = Err("no registration".into());
        let parts = self
            .platform_registration(false, |new| {
                edited = edit_public(&new.public).map(|public| new.public = public);
            })
            .await?;
        edited?;
        let code = "attestation-invalid";
        let comment = "the public area of another key";
        self.write_registered(code, "platform-public-area-of-another-key", comment, &parts).await?;
        let mut statement = self.statement(Purpose::EnrolKey)?;
        statement.host_facts = None;
        let encoded = statement.encode()?;
        let made = self.platform.register_pin(&encoded).await?;
        let signed = self.sign_in_software(&made.registration.certification.attest)?;
        let registration = PlatformRegistration { certification: signed, ..made.registration };
        let parts = self.platform_registration_parts(encoded, &registration).await?;
        let comment = "certified by a key that is not the AK";
        self.write_registered(code, "platform-certified-by-another-key", comment, &parts).await
    }

    /// Keys that no TPM of the project makes, vouched for by a key that got an AK certificate by mistake.
    async fn platform_forged(&mut self) -> Result<(), Fault> {
        let attributes = "platform-key-attributes";
        let pin = policy_auth_value().to_vec();
        let with = |attribute: ObjectAttributes, policy: &[u8]| {
            let policy = policy.to_vec();
            move |public: &mut TpmtPublic| {
                public.attributes = public.attributes.union(attribute);
                public.auth_policy = policy;
            }
        };
        let comment = "userWithAuth is set: the key can be used around its policy";
        let edit = with(ObjectAttributes::USER_WITH_AUTH, &pin);
        self.write_forged(attributes, "user-with-auth", comment, None, edit).await?;
        let comment = "noDA is set: PINs can be tried without end";
        let edit = with(ObjectAttributes::NO_DA, &pin);
        self.write_forged(attributes, "pin-without-lockout", comment, None, edit).await?;
        let comment = "fixedTPM is clear: the key can leave the TPM";
        let movable = |public: &mut TpmtPublic| {
            public.attributes = public.attributes.difference(ObjectAttributes::FIXED_TPM);
        };
        self.write_forged(attributes, "key-that-can-leave", comment, None, movable).await?;

        let policy = "platform-key-policy";
        let broker = self.platform.authorisation_public();
        let name = Name::of(&TpmtPublic::parse(&broker)?);
        let other = policy_signed(&name, b"signet-fprint-v2");
        let edit = with(ObjectAttributes::SIGN, &other);
        let comment = "a policy reference that no method has";
        let key = Some(broker.clone());
        self.write_forged(policy, "another-policy-reference", comment, key, edit).await?;
        let right = policy_signed(&name, FINGERPRINT_POLICY_REF);
        let edit = with(ObjectAttributes::SIGN, &right[..0]);
        let comment = "no policy at all";
        self.write_forged(policy, "no-policy", comment, Some(broker), edit).await
    }

    // --- parts ---------------------------------------------------------------------------------

    async fn pin_session(&mut self) -> Result<Parts, Fault> {
        let statement = self.statement(Purpose::Session)?.encode()?;
        let assertion = self.platform.assert_pin(&self.pin_key, &statement).await?;
        self.platform_parts(statement, assertion.encode()).await
    }

    async fn edited_pin(
        &mut self,
        edit: impl FnOnce(&mut PlatformAssertion),
    ) -> Result<Parts, Fault> {
        let statement = self.statement(Purpose::Session)?.encode()?;
        let mut assertion = self.platform.assert_pin(&self.pin_key, &statement).await?;
        edit(&mut assertion);
        self.platform_parts(statement, assertion.encode()).await
    }

    async fn finger_session(&mut self, facts: HostFacts) -> Result<Parts, Fault> {
        let mut statement = self.statement(Purpose::Session)?;
        statement.host_facts = Some(facts);
        let statement = statement.encode()?;
        let assertion = self.platform.assert_finger(&self.finger_key, &statement).await?;
        self.platform_parts(statement, assertion.encode()).await
    }

    async fn platform_parts(
        &mut self,
        statement: Vec<u8>,
        assertion: Vec<u8>,
    ) -> Result<Parts, Fault> {
        let tpm = self.quote(&statement, Some(&assertion), None, true).await?;
        let chain = vec![self.peer.clone()];
        let assertion = Some(assertion);
        Ok(Parts { statement, chain, assertion, registration: None, tpm, platform: true })
    }

    async fn platform_registration(
        &mut self,
        finger: bool,
        edit: impl FnOnce(&mut PlatformRegistration),
    ) -> Result<Parts, Fault> {
        let mut statement = self.statement(Purpose::EnrolKey)?;
        statement.host_facts = finger.then(|| finger_facts().into());
        self.platform_registration_of(statement, finger, edit).await
    }

    async fn platform_registration_of(
        &mut self,
        statement: Statement,
        finger: bool,
        edit: impl FnOnce(&mut PlatformRegistration),
    ) -> Result<Parts, Fault> {
        let statement = statement.encode()?;
        let mut made = if finger {
            self.platform.register_finger(&statement).await?
        } else {
            self.platform.register_pin(&statement).await?
        };
        edit(&mut made.registration);
        self.platform_registration_parts(statement, &made.registration).await
    }

    async fn platform_registration_parts(
        &self,
        statement: Vec<u8>,
        registration: &PlatformRegistration,
    ) -> Result<Parts, Fault> {
        let registration = registration.encode();
        let tpm = self.quote(&statement, None, Some(&registration), false).await?;
        let chain = vec![self.peer.clone()];
        let registration = Some(registration);
        Ok(Parts { statement, chain, assertion: None, registration, tpm, platform: true })
    }

    async fn write_registered(
        &self,
        code: &str,
        name: &str,
        comment: &str,
        parts: &Parts,
    ) -> Result<(), Fault> {
        let bytes = self.seal(parts).await?;
        let mut fixture = self.fixture(code, name, REGISTRATION, comment, bytes);
        fixture.kind = Kind::Registration;
        Ok(fixture.write()?)
    }

    async fn write_forged(
        &mut self,
        code: &str,
        name: &str,
        comment: &str,
        authorisation_key: Option<Vec<u8>>,
        edit: impl FnOnce(&mut TpmtPublic),
    ) -> Result<(), Fault> {
        let mut statement = self.statement(Purpose::EnrolKey)?;
        statement.host_facts = Some(finger_facts().into());
        let statement = statement.encode()?;
        let made = self.platform.register_pin(&statement).await?;
        let mut public = made.public()?;
        edit(&mut public);
        let certification =
            self.certified_in_software(&made.registration.certification, &public)?;
        let registration =
            PlatformRegistration { public: public.to_bytes(), certification, authorisation_key };
        let mut parts = self.platform_registration_parts(statement, &registration).await?;
        let software = self.ca.attestation_key(&self.world.software_ak.0)?;
        let ak_chain = CertificateChain::new(vec![software]).ok_or("chain")?;
        let quote = self.sign_in_software(&parts.tpm.quote.attest)?;
        parts.tpm = TpmEvidence { ak_chain, quote, ..parts.tpm };
        let bytes = self.seal(&parts).await?;
        let mut fixture = self.fixture(code, name, REGISTRATION, comment, bytes);
        fixture.kind = Kind::Registration;
        fixture.with = vec![Change::SoftwareAk];
        Ok(fixture.write()?)
    }

    /// The certification of another key, as an unrestricted key signs it.
    fn certified_in_software(
        &self,
        genuine: &SignedAttest,
        public: &TpmtPublic,
    ) -> Result<SignedAttest, Fault> {
        let mut attest = TpmsAttest::parse(&genuine.attest)?;
        let name = Name::of(public);
        attest.attested =
            Attested::Certify(CertifyInfo { name: name.clone(), qualified_name: name });
        self.sign_in_software(&attest.to_bytes())
    }
}
