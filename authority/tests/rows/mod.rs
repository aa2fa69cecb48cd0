//! Rows for tests of stores: one operator, machines, keys, sessions.

use std::collections::BTreeMap;

use signet_authority::random;
use signet_authority::store::{
    AuditEntry, Authorisation, CommitError, CredentialEnrolment, CredentialRow, Decision,
    DeviceEnrolment, DeviceRow, Event, MintRecord, NewTicket, SessionChange, SessionKind,
    SessionRow, Store, TicketKind, TicketMachine, TokenRow,
};
use signet_evidence::webauthn::{Aaguid, CoseKey};
use signet_evidence::{CertificateThumbprint, DeviceId, Purpose, SessionId, UnixTime};
use signet_verifier::challenge::{ChallengeContext, ChallengeKey, FreshChallenge};
use signet_verifier::ecdsa::P256PublicKey;
use signet_verifier::records::TpmClock;
use signet_verifier::token::PresenceRecord;
use signet_verifier::{AssuranceLevel, AttestationKind};
use zeroize::Zeroizing;

pub(crate) const NOW: UnixTime = UnixTime(1_790_000_000);

/// The generator of P-256 (SEC 2 §2.4.2): a point on the curve, whose key nobody needs here.
const GENERATOR: &str = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";

pub(crate) const fn at(seconds: i64) -> UnixTime {
    UnixTime(NOW.0 + seconds)
}

pub(crate) fn allowed(event: Event) -> AuditEntry {
    AuditEntry::new(NOW, event, Decision::Allowed)
}

pub(crate) fn challenge() -> FreshChallenge {
    let key = ChallengeKey::new(&Zeroizing::new([1; 32]));
    let context = ChallengeContext {
        peer: CertificateThumbprint([2; 32]),
        purpose: Purpose::Session,
        action: None,
        session: None,
    };
    let bytes = key.issue(&context, at(120), random::bytes());
    key.check(&bytes, &context, NOW).unwrap()
}

fn point() -> P256PublicKey {
    let digits = |at: usize| u8::from_str_radix(&GENERATOR[at..at + 2], 16).unwrap();
    let bytes: Vec<u8> = (0..GENERATOR.len()).step_by(2).map(digits).collect();
    P256PublicKey::from_uncompressed_point(&bytes).unwrap()
}

pub(crate) fn ticket(kind: TicketKind, digest: [u8; 32]) -> NewTicket {
    NewTicket {
        digest,
        kind,
        operator: "alice".into(),
        asset: Some("LT-1".into()),
        machine: TicketMachine::default(),
        created_at: NOW,
        expires: at(900),
    }
}

pub(crate) fn clock(reset_count: u32, clock_ms: u64) -> TpmClock {
    TpmClock { clock_ms, reset_count, restart_count: 0, safe: true }
}

pub(crate) fn device(ek: u8) -> DeviceRow {
    DeviceRow {
        id: DeviceId::from_random(&random::bytes::<16>()).unwrap(),
        operator: "alice".into(),
        asset: Some("LT-1".into()),
        ek_digest: [ek; 32],
        ek_proven: true,
        ak_name: vec![0, 11, 1, 2],
        ak: point(),
        tls_key: point(),
        pcrs: BTreeMap::from([(0, vec![1; 32]), (7, vec![2; 32])]),
        clock: clock(5, 1000),
        enrolled_at: NOW,
        revoked: false,
    }
}

pub(crate) async fn enrol_device(store: &dyn Store, ek: u8) -> DeviceRow {
    let device = device(ek);
    enrol(store, device.clone(), at(900)).await;
    device
}

/// Enrols a machine with a ticket of its own.
pub(crate) async fn enrol(store: &dyn Store, device: DeviceRow, expires: UnixTime) {
    let digest = random::bytes();
    let made = NewTicket {
        operator: device.operator.clone(),
        expires,
        ..ticket(TicketKind::Device, digest)
    };
    store.add_ticket(&made, &allowed(Event::Ticket)).await.unwrap();
    let enrolment = DeviceEnrolment { ticket: digest, device, grant_expires: expires };
    store.enrol_device(&enrolment, &allowed(Event::DeviceEnrol)).await.unwrap();
}

pub(crate) async fn enrol_key(
    store: &dyn Store,
    device: &DeviceRow,
    id: &[u8],
    authorisation: Authorisation,
) -> Result<CredentialRow, CommitError> {
    let point = point();
    let (x, y) = point.uncompressed_point()[1..].split_at(32);
    let credential = CredentialRow {
        id: id.to_vec(),
        subject: "alice".into(),
        name: "blue key".into(),
        public_key: CoseKey::from_coordinates(x.try_into().unwrap(), y.try_into().unwrap()),
        aaguid: Aaguid([3; 16]),
        attestation: AttestationKind::Packed,
        attestation_key: None,
        touch_only: false,
        reported: None,
        platform: None,
        sign_count: 1,
        enrolled_at: NOW,
        last_used: None,
        revoked: false,
    };
    let enrolment = CredentialEnrolment {
        credential: credential.clone(),
        device: device.id.clone(),
        clock: clock(5, 2000),
        authorisation,
        challenge: challenge(),
    };
    store.enrol_credential(&enrolment, &allowed(Event::KeyEnrol)).await?;
    Ok(credential)
}

/// A mint that starts a session of `kind` on `device`.
pub(crate) async fn session_record(
    store: &dyn Store,
    device: &DeviceRow,
    kind: SessionKind,
) -> MintRecord {
    let id = SessionId(random::bytes());
    let session = SessionRow {
        id,
        kind,
        subject: Some("alice".into()),
        device: device.id.clone(),
        credential: None,
        reset_count: 5,
        scope: Some("read".into()),
        started_at: NOW,
        expires: at(36_000),
        last_token_at: NOW,
        presence: Some(PresenceRecord {
            proved_at: NOW,
            expires: at(900),
            level: AssuranceLevel::UvHardware,
            methods: vec!["hwk".into(), "user".into()],
            verification: Some(("built-in".into(), "host".into())),
            attestation: Some("packed".into()),
        }),
        status_index: store.reserve_status_indices(1).await.unwrap().start,
        ended: false,
    };
    MintRecord {
        challenge: challenge(),
        device: device.id.clone(),
        clock: clock(5, 3000),
        credential: None,
        session: SessionChange::Start(session),
        token: token(id, kind),
    }
}

/// The place in the status lists of a session that starts.
pub(crate) fn place_of(record: &MintRecord) -> u64 {
    match &record.session {
        SessionChange::Start(session) => session.status_index,
        SessionChange::Refresh { place, .. } | SessionChange::Renew { place, .. } => *place,
    }
}

pub(crate) fn token(session: SessionId, kind: SessionKind) -> TokenRow {
    TokenRow {
        id: random::bytes(),
        session,
        action: (kind == SessionKind::Action).then_some([9; 32]),
        issued_at: NOW,
        expires: at(60),
        redeemed: false,
        revoked: false,
    }
}
