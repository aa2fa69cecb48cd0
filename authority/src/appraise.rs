//! From bytes to an Attestation Result: the verifier's procedure with the store's rows
//! (protocol §2.4, steps 1 to 11).

use std::collections::BTreeMap;
use std::sync::Arc;

use signet_evidence::PlatformKeyId;
use signet_evidence::binding::sha256;
use signet_evidence::{DeviceId, Purpose, RejectionCode, UnixTime};
use signet_verifier::boot::BootReport;
use signet_verifier::challenge::ChallengeKey;
use signet_verifier::ecdsa::P256PublicKey;
use signet_verifier::policy::AppraisalPolicy;
use signet_verifier::records::{
    Enrolled, EnrolledCredential, EnrolledDevice, EnrolledKey, EnrolledPlatformKey,
    EnrolledSession, KeptLog, TpmClock,
};
use signet_verifier::webauthn::UserVerification;
use signet_verifier::{
    Appraisal, AttestationResult, AuthenticatedEvidence, RegistrationResult, Rejection,
};
use thiserror::Error;

use crate::boot;
use crate::metrics::Metrics;
use crate::store::{
    AuditEntry, CredentialRow, DeviceRow, Event, KeptEvidence, MachineRow, SessionRow, Store,
    StoreError,
};

/// What judging evidence needs; plain references, so that a dry run needs no running authority.
#[derive(Clone, Copy)]
pub struct Appraiser<'a> {
    /// Rows.
    pub store: &'a dyn Store,
    /// Makes and checks challenges.
    pub challenge_key: &'a ChallengeKey,
    /// What evidence must show.
    pub policy: &'a AppraisalPolicy,
    /// The authority's time.
    pub now: UnixTime,
    /// Where it is counted what machines boot; without it nothing is noted, as in a dry run.
    pub metrics: Option<&'a Metrics>,
    /// What becomes of the evidence, and what is remembered against it.
    pub memory: Memory,
}

/// What becomes of evidence that is judged, and what is remembered against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// It is new. Its bytes are kept with the record of the decision.
    Keep,
    /// It is new. Only its hash is kept.
    Pass,
    /// It was judged before and is judged again: its challenge was used up, and the clocks, counters and
    /// sessions that it moved on are not held against it. Revocations are.
    Again,
}

/// The rows that judged evidence was about.
pub struct Rows {
    /// The machine.
    pub device: Option<DeviceRow>,
    /// What is known of it besides.
    pub machine: MachineRow,
    /// The credential of the assertion.
    pub credential: Option<CredentialRow>,
    /// The session that is continued.
    pub session: Option<SessionRow>,
}

/// No result.
#[derive(Debug, Error)]
pub enum AppraiseError {
    /// The evidence is bad.
    #[error("the evidence was refused")]
    Rejected(#[from] Rejection),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl From<RejectionCode> for AppraiseError {
    fn from(code: RejectionCode) -> Self {
        Self::Rejected(code.into())
    }
}

impl Appraiser<'_> {
    /// Judges evidence of one of the `expected` purposes. `entry` is filled with what is known so
    /// far, so that a refusal's record says it.
    ///
    /// # Errors
    /// See [`AppraiseError`].
    pub async fn appraise(
        &self,
        evidence: &[u8],
        peer: &[u8],
        expected: &[Purpose],
        entry: &mut AuditEntry,
    ) -> Result<(AttestationResult, Rows), AppraiseError> {
        let authenticated = self.begin(evidence, peer, expected, entry)?;
        let (enrolled, rows) = self.load(&authenticated).await?;
        let (device, verification) = (authenticated.device().clone(), UserVerification::Required);
        let judged = authenticated.appraise(&enrolled, verification, self.policy, self.now);
        let report = judged.as_ref().map_or_else(Rejection::boot, |result| Some(result.boot()));
        self.note(&device, &rows.machine, report).await?;
        let result = judged?;
        entry.action = result.action().map(|action| sha256(action.as_bytes()));
        entry.credential = result.credential().map(|(id, _)| id.to_vec());
        Ok((result, rows))
    }

    /// Judges evidence for the registration of a security key.
    ///
    /// # Errors
    /// See [`AppraiseError`].
    pub async fn appraise_registration(
        &self,
        evidence: &[u8],
        peer: &[u8],
        entry: &mut AuditEntry,
    ) -> Result<(RegistrationResult, Rows), AppraiseError> {
        let authenticated = self.begin(evidence, peer, &[Purpose::EnrolKey], entry)?;
        let (enrolled, rows) = self.load(&authenticated).await?;
        let device = authenticated.device().clone();
        let judged = authenticated.appraise_registration(&enrolled, self.policy, self.now);
        let report =
            judged.as_ref().map_or_else(Rejection::boot, |result| Some(result.machine().boot()));
        self.note(&device, &rows.machine, report).await?;
        let result = judged?;
        entry.credential = Some(result.key().id());
        Ok((result, rows))
    }

    async fn note(
        &self,
        device: &DeviceId,
        machine: &MachineRow,
        report: Option<&BootReport>,
    ) -> Result<(), StoreError> {
        let (Some(metrics), Some(report)) = (self.metrics, report) else { return Ok(()) };
        boot::note(self.store, metrics, device, machine.now.as_ref(), report, self.now).await
    }

    fn begin(
        &self,
        evidence: &[u8],
        peer: &[u8],
        expected: &[Purpose],
        entry: &mut AuditEntry,
    ) -> Result<AuthenticatedEvidence, Rejection> {
        entry.evidence = Some(sha256(evidence));
        if self.memory == Memory::Keep {
            let (bytes, peer) = (evidence.to_vec(), peer.to_vec());
            entry.kept = Some(Arc::new(KeptEvidence { bytes, peer }));
        }
        let appraisal =
            Appraisal { policy: self.policy, challenge_key: self.challenge_key, now: self.now };
        let authenticated = appraisal.begin(evidence, peer, expected)?;
        entry.event = event_of(authenticated.purpose());
        entry.device = Some(authenticated.device().clone());
        entry.subject = authenticated.subject().map(str::to_owned);
        entry.session = authenticated.session();
        Ok(authenticated)
    }

    /// Nothing is read from the store before the sender proved possession of a certified key.
    async fn load(
        &self,
        evidence: &AuthenticatedEvidence,
    ) -> Result<(Enrolled, Rows), AppraiseError> {
        // A replay would otherwise be told from its counter, as if the key had been copied. The
        // mint's transaction consumes the challenge and stays the judge of races.
        let again = self.memory == Memory::Again;
        if !again && self.store.challenge_was_consumed(&evidence.challenge().random()).await? {
            return Err(RejectionCode::ChallengeReplayed.into());
        }
        let mut device = self.store.device(evidence.device()).await?;
        let machine = self.store.machine(evidence.device()).await?;
        let event_log = match evidence.known_log().filter(|digest| machine.keeps(digest)) {
            Some(digest) => self.store.event_log(digest).await?.map(|bytes| (*digest, bytes)),
            None => None,
        };
        let mut credential = match evidence.credential_id() {
            Some(id) => self.store.credential(id).await?,
            None => None,
        };
        let mut session = match evidence.session() {
            Some(id) => self.store.session(id).await?,
            None => None,
        };
        if again {
            forget(device.as_mut(), credential.as_mut(), session.as_mut());
        }
        let enrolled = Enrolled {
            device: device.as_ref().map(|row| {
                let event_log = event_log.map(|(digest, bytes)| KeptLog { digest, bytes });
                enrolled_device(row, &machine, event_log)
            }),
            credential: credential.as_ref().map(|row| self.enrolled_key(row)).transpose()?,
            session: session.as_ref().map(enrolled_session),
        };
        Ok((enrolled, Rows { device, machine, credential, session }))
    }

    fn enrolled_key(&self, row: &CredentialRow) -> Result<EnrolledKey, StoreError> {
        let Some(platform) = &row.platform else {
            return Ok(EnrolledKey::SecurityKey(self.enrolled_credential(row)));
        };
        let corrupt = || StoreError::Corrupt { table: "credentials" };
        let point = row.public_key.uncompressed_point();
        Ok(EnrolledKey::Platform(EnrolledPlatformKey {
            id: PlatformKeyId::from_bytes(&row.id).ok_or_else(corrupt)?,
            subject: row.subject.clone(),
            device: platform.device.clone(),
            public_key: P256PublicKey::from_uncompressed_point(point).map_err(|_| corrupt())?,
            method: platform.method.clone(),
            revoked: row.revoked,
        }))
    }

    fn enrolled_credential(&self, row: &CredentialRow) -> EnrolledCredential {
        EnrolledCredential {
            id: row.id.clone(),
            subject: row.subject.clone(),
            public_key: row.public_key.clone(),
            sign_count: row.sign_count,
            aaguid: row.aaguid,
            attestation: row.attestation,
            model: self.policy.registration.model(row.aaguid, row.attestation_key),
            touch_only: row.touch_only,
            reported: row.reported.is_some(),
            revoked: row.revoked,
        }
    }
}

/// Takes back what later evidence moved on.
fn forget(
    device: Option<&mut DeviceRow>,
    credential: Option<&mut CredentialRow>,
    session: Option<&mut SessionRow>,
) {
    if let Some(device) = device {
        device.clock = TpmClock { clock_ms: 0, reset_count: 0, restart_count: 0, safe: false };
    }
    if let Some(credential) = credential {
        credential.sign_count = 0;
    }
    if let Some(session) = session {
        session.ended = false;
    }
}

/// The audit event of evidence for `purpose`.
#[must_use]
pub fn event_of(purpose: Purpose) -> Event {
    match purpose {
        Purpose::Session => Event::TokenSession,
        Purpose::Renew => Event::TokenRenew,
        Purpose::Action => Event::TokenAction,
        Purpose::Workload => Event::TokenWorkload,
        Purpose::EnrolKey => Event::KeyEnrol,
        Purpose::EnrolDevice => Event::DeviceRenew,
    }
}

/// A machine's rows as the verifier wants them.
fn enrolled_device(
    row: &DeviceRow,
    machine: &MachineRow,
    event_log: Option<KeptLog>,
) -> EnrolledDevice {
    EnrolledDevice {
        id: row.id.clone(),
        ak: row.ak.clone(),
        revoked: row.revoked,
        clock: row.clock,
        approved_pcrs: match machine.enrolment_replaced {
            true => BTreeMap::new(),
            false => row.pcrs.clone(),
        },
        accepted: machine.accepted.iter().map(|accepted| accepted.pcrs.clone()).collect(),
        groups: machine.groups.clone(),
        event_log,
        endorsement_proven: row.ek_proven,
    }
}

fn enrolled_session(row: &SessionRow) -> EnrolledSession {
    EnrolledSession {
        id: row.id,
        subject: row.subject.clone(),
        device: row.device.clone(),
        reset_count: row.reset_count,
        expires: row.expires,
        ended: row.ended,
    }
}
