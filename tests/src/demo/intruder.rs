//! Root on a workstation: the daemon stopped, its TPM and the plugged-in key in other hands.
//! Makes whatever evidence the hardware can be brought to sign, in any combination.

use std::sync::Arc;

use signet_client::Workstation;
use signet_ctap::commands::{RelyingParty, UserEntity};
use signet_ctap::operation::{AssertRequest, Prompt, RegisterRequest, UserVerification};
use signet_ctap::{Key, Timing};
use signet_daemon::state::{StateDir, Stored};
use signet_daemon::tpm::{Tpm, TpmConfig};
use signet_evidence::binding::{
    assertion_challenge, qualifying_data, registration_challenge, sha256,
};
use signet_evidence::header::{CertifiedKey, SignedAttest};
use signet_evidence::tpm::TpmtPublic;
use signet_evidence::webauthn::{Ceremony, ClientData};
use signet_evidence::{
    Action, CertificateChain, FidoAssertion, FidoRegistration, KeyPart, KeyThumbprint, Purpose,
    Statement, TpmEvidence, UnixTime, UnsignedEvidence,
};

use super::notes::Fault;
use crate::house::Station;

/// Registers that the workstation quotes.
const PCRS: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

/// Whoever took the workstation over.
pub(super) struct Intruder {
    tpm: Tpm,
    key: Key,
    stored: Arc<Stored>,
}

impl Intruder {
    /// Stops the daemon and takes TPM and key.
    pub(super) async fn take_over(station: &mut Station) -> Result<Self, Fault> {
        station.signetd.stop()?;
        let stored = StateDir::open(&station.signetd.state_dir())?.stored();
        let mut config = TpmConfig::new(station.tpm.tcti(), stored.ak_salt);
        config.tls_key = stored.key().cloned();
        let tpm = Tpm::start(config)?;
        let key = Key::open_path(&station.key.socket(), Timing::default()).await?;
        Ok(Self { tpm, key, stored })
    }

    /// Gives everything back, so that the evidence can be sent over the machine's own TLS key.
    pub(super) async fn leave(self, station: &mut Station) -> Result<(), Fault> {
        self.tpm.close().await;
        drop(self);
        Ok(station.signetd.restart()?)
    }

    /// A statement of this machine over `challenge`.
    pub(super) async fn statement(
        &self,
        workstation: &Workstation,
        purpose: Purpose,
        challenge: &[u8],
        action: Option<&Action>,
    ) -> Result<Vec<u8>, Fault> {
        let enrolment = self.stored.enrolment.as_ref().ok_or("not enrolled")?;
        let public = TpmtPublic::parse(&self.tpm.tls_key().await?.public)?;
        let point = public.ecc().ok_or("not an ECC key")?.uncompressed_point();
        let statement = Statement {
            challenge: challenge.to_vec(),
            audience: enrolment.audience.clone(),
            issued_at: UnixTime(0),
            confirmation: KeyThumbprint::of_uncompressed_point(&point).ok_or("bad point")?,
            device: enrolment.device_id.clone(),
            subject: Some(workstation.enrolment().operator.clone()),
            scope: None,
            purpose,
            acr: None,
            action: action.cloned(),
            session: None,
            host_facts: None,
        };
        Ok(statement.encode()?)
    }

    /// A touch over `statement`; with `verify` also a finger, which must lie ready.
    pub(super) async fn assert(
        &mut self,
        statement: &[u8],
        credential: &[u8],
        verify: bool,
    ) -> Result<Vec<u8>, Fault> {
        let rp_id = self.rp_id()?;
        let client_data =
            client_data(Ceremony::Authentication, &assertion_challenge(statement), &rp_id);
        let request = AssertRequest {
            rp_id,
            client_data_hash: sha256(&client_data),
            allow_list: vec![credential.to_vec()],
            user_verification: match verify {
                true => UserVerification::Required { pin_fallback: false },
                false => UserVerification::Discouraged,
            },
        };
        let made = self.key.assert(&request, &Prompt::nobody()).await?;
        let assertion = FidoAssertion {
            credential_id: made.credential_id,
            authenticator_data: made.auth_data,
            client_data,
            signature: made.signature,
            observed: None,
        };
        Ok(assertion.encode())
    }

    /// A credential without the protection that `signetd` asks keys for; a finger must lie ready.
    pub(super) async fn register(&mut self, statement: &[u8]) -> Result<Vec<u8>, Fault> {
        let rp_id = self.rp_id()?;
        let client_data =
            client_data(Ceremony::Registration, &registration_challenge(statement), &rp_id);
        let name = "bob".to_owned();
        let request = RegisterRequest {
            rp: RelyingParty { id: rp_id.clone(), name: rp_id },
            user: UserEntity { id: vec![2; 16], name: name.clone(), display_name: name },
            client_data_hash: sha256(&client_data),
            algorithms: vec![-7],
            exclude_list: Vec::new(),
            resident_key: false,
            protection: None,
            min_pin_length: false,
            enterprise_attestation: None,
            user_verification: UserVerification::Required { pin_fallback: false },
        };
        let made = self.key.register(&request, &Prompt::nobody()).await?;
        let registration =
            FidoRegistration { attestation_object: made.attestation_object, client_data };
        Ok(registration.encode())
    }

    /// Quote, certification and outer signature over all of it, fresh from the TPM.
    pub(super) async fn seal(
        &self,
        statement: &[u8],
        assertion: Option<&[u8]>,
        registration: Option<&[u8]>,
    ) -> Result<Vec<u8>, Fault> {
        let enrolment = self.stored.enrolment.as_ref().ok_or("not enrolled")?;
        let chain = |certificates: &[signet_daemon::state::Base64]| {
            CertificateChain::new(certificates.iter().map(|der| der.0.clone()).collect())
        };
        let data = qualifying_data(statement, assertion.unwrap_or_default(), registration);
        let quote = self.tpm.quote(data, &PCRS).await?;
        let certified = self.tpm.certify_tls_key(data).await?;
        let signed = SignedAttest { attest: certified.attest, signature: certified.signature };
        let tpm = TpmEvidence {
            ak_chain: chain(&enrolment.ak_chain).ok_or("no AK certificate")?,
            quote: SignedAttest { attest: quote.attest, signature: quote.signature },
            certification: Some(CertifiedKey { signed, public: certified.public }),
            pcrs: Some(quote.pcrs),
            event_log: None,
        };
        let device_chain = chain(&enrolment.device_chain).ok_or("no device certificate")?;
        let (assertion, registration) =
            (assertion.map(KeyPart::SecurityKey), registration.map(KeyPart::SecurityKey));
        let unsigned =
            UnsignedEvidence::new(statement, &device_chain, assertion, registration, &tpm);
        let signature = self.tpm.sign_tls(sha256(&unsigned.to_be_signed())).await?;
        Ok(unsigned.finish(signature)?)
    }

    fn rp_id(&self) -> Result<String, Fault> {
        Ok(self.stored.enrolment.as_ref().ok_or("not enrolled")?.rp_id.clone())
    }
}

fn client_data(ceremony: Ceremony, challenge: &[u8; 32], rp_id: &str) -> Vec<u8> {
    ClientData { ceremony, challenge, origin: &format!("https://{rp_id}") }.to_json()
}
