//! An authority on disk that knows exactly what a fixture's world says, after the fixture's changes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use signet_authority::config::{Config, HttpsUrl, RpId, TrustDomain, render_template};
use signet_authority::keys;
use signet_authority::policy::EXAMPLE;
use signet_authority::state::Authority;
use signet_authority::store::{
    AuditEntry, Authorisation, CredentialEnrolment, CredentialRow, Decision, DeviceEnrolment,
    DeviceRow, Event, MintRecord, NewTicket, PlatformKeyRow, RevocationTarget, SessionChange,
    SessionKind, SessionRow, SqlStore, Store, StoredMetadata, TicketKind, TicketMachine, TokenRow,
};
use signet_evidence::tpm::{Name, TpmtPublic};
use signet_evidence::webauthn::{Aaguid, AttestationObject, AuthenticatorData, CoseKey};
use signet_evidence::{CertificateThumbprint, DeviceId, Evidence, Purpose, Registration, UnixTime};
use signet_tests::fixture::{Fixture, Kind};
use signet_tests::world::{Change, MACHINE_POLICY, World};
use signet_verifier::challenge::{ChallengeContext, FreshChallenge};
use signet_verifier::records::EnrolledKey;
use signet_verifier::token::PresenceRecord;
use signet_verifier::{AssuranceLevel, AttestationKind};
use tempfile::TempDir;

/// The ticket that a registration brings along.
pub(crate) const TICKET: &str = "fixture-ticket-0123456789";
/// The gateway that asks.
pub(crate) const GATEWAY: &str = "spiffe://mesh.example/gateway/edge";

/// A seeded authority.
pub(crate) struct Seat {
    folder: TempDir,
    /// The running authority, to be called without a connection.
    pub(crate) authority: Arc<Authority>,
}

impl Seat {
    /// Writes settings, keys and rows, and starts the authority at the fixture's hour.
    pub(crate) async fn for_fixture(world: &World, fixture: &Fixture) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = write_files(folder.path(), world, &fixture.with);
        let config = Config::load(&file).unwrap();
        let integrity = keys::load_integrity(&config.keys()).unwrap();
        let store = SqlStore::create(config.database(), integrity).await.unwrap();
        seed(&store, world, fixture).await;
        store.close().await;
        let now = UnixTime(fixture.now);
        let authority = Authority::start(config, Arc::new(move || now)).await.unwrap();
        Self { folder, authority }
    }

    /// An authority without any row but a ticket for one machine, that trusts these TPM makers.
    pub(crate) async fn empty(world: &World, makers: &[Vec<u8>]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = write_files(folder.path(), world, &[]);
        // CAs of its own: what it issues here is shown to it again.
        fs::remove_dir_all(folder.path().join("keys")).unwrap();
        keys::create(&folder.path().join("keys"), UnixTime(world.now)).unwrap();
        for (number, maker) in makers.iter().enumerate() {
            fs::write(folder.path().join(format!("ek-roots/{number}.pem")), pem(maker)).unwrap();
        }
        let config = Config::load(&file).unwrap();
        let now = UnixTime(world.now);
        let authority = {
            let integrity = keys::load_integrity(&config.keys()).unwrap();
            let store = SqlStore::create(config.database(), integrity).await.unwrap();
            let ticket = NewTicket {
                digest: ticket_digest(),
                kind: TicketKind::Device,
                operator: world.operator.clone(),
                asset: None,
                machine: TicketMachine::default(),
                created_at: now,
                expires: UnixTime(now.0 + 900),
            };
            let audit = AuditEntry::new(now, Event::Ticket, Decision::Allowed);
            store.add_ticket(&ticket, &audit).await.unwrap();
            store.close().await;
            Authority::start(config, Arc::new(move || now)).await.unwrap()
        };
        Self { folder, authority }
    }

    /// The settings file.
    pub(crate) fn settings(&self) -> PathBuf {
        self.folder.path().join("authority.toml")
    }

    /// A place for the command line's input.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn write_files(folder: &Path, world: &World, changes: &[Change]) -> PathBuf {
    let address = "127.0.0.1:0".parse().unwrap();
    let gateways = "127.0.0.1:1".parse().unwrap();
    let mut text = render_template(
        address,
        gateways,
        &HttpsUrl::try_from(world.audience.clone()).unwrap(),
        &TrustDomain::try_from(world.trust_domain.clone()).unwrap(),
        &RpId::try_from(world.rp_id.clone()).unwrap(),
    );
    let pcrs: Vec<_> = world.pcrs.keys().collect();
    text = text.replace("required_pcrs = [0, 2, 4, 7]", &format!("required_pcrs = {pcrs:?}"));
    let changed = |change| changes.contains(&change);
    let mut aaguid = world.aaguid.0.clone();
    if changed(Change::OtherModels) {
        aaguid[0] ^= 1;
    }
    let uuid = Aaguid(aaguid.try_into().unwrap());
    if changed(Change::ModelDenied) {
        text = text.replace("deny_aaguids = []", &format!("deny_aaguids = [\"{uuid}\"]"));
    }
    if changed(Change::TouchOnlyAccepted) {
        text = text.replace("accept_touch_only = false", "accept_touch_only = true");
    }
    if changed(Change::MetadataStale) {
        text.push_str("\n[metadata]\nroots = \"attestation-roots/root.pem\"\nstale = \"refuse\"\n");
    }
    let verification = if changed(Change::ModelTouchOnly) { "none" } else { "built-in-or-pin" };
    text.push_str(&format!(
        "\n[[authenticators]]\nname = \"software key\"\nroots = \"attestation-roots/root.pem\"\n\
         aaguids = [\"{uuid}\"]\nuser_verification = \"{verification}\"\n\
         \n[[gateways]]\nspiffe_id = \"{GATEWAY}\"\npeer_certificate = \"sha256-header\"\n"
    ));
    for name in ["ek-roots", "attestation-roots", "policies", "machine-policies"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    if changed(Change::MachinesJudged) {
        fs::write(folder.join("machine-policies/world.toml"), MACHINE_POLICY).unwrap();
    }
    let root = if changed(Change::OtherAttestationRoots) {
        &world.device_ca
    } else {
        &world.attestation_root
    };
    fs::write(folder.join("attestation-roots/root.pem"), pem(&root.0)).unwrap();
    for (name, content) in EXAMPLE {
        if changed(Change::ViewsOnly) && ["routes.cedar", "trust.cedar"].contains(name) {
            continue;
        }
        fs::write(folder.join("policies").join(name), content).unwrap();
    }
    let file = folder.join("authority.toml");
    fs::write(&file, text).unwrap();
    keys::create(&folder.join("keys"), UnixTime(world.now)).unwrap();
    let secret = |name: &str, content: &str| {
        let path = folder.join("keys").join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    secret("challenge.key", &STANDARD.encode(&world.challenge_key.0));
    let key = STANDARD.encode(&world.token_key.0);
    secret(
        "token.key",
        &format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n"),
    );
    for name in ["device-ca.pem", "ak-ca.pem"] {
        fs::write(folder.join("keys").join(name), pem(&world.device_ca.0)).unwrap();
    }
    file
}

fn pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
}

/// Everything through the store's own methods: rows that the authority did not write are refused.
async fn seed(store: &SqlStore, world: &World, fixture: &Fixture) {
    let has = |change| fixture.with.contains(&change);
    let now = UnixTime(world.now);
    let audit = |event| AuditEntry::new(now, event, Decision::Allowed);
    let tickets = [
        ([1; 32], TicketKind::Device, world.operator.clone()),
        ([2; 32], TicketKind::Device, "mallory".to_owned()),
        (ticket_digest(), TicketKind::Authenticator, world.operator.clone()),
    ];
    for (digest, kind, operator) in tickets {
        let ticket = NewTicket {
            digest,
            kind,
            operator,
            asset: None,
            machine: TicketMachine::default(),
            created_at: now,
            expires: UnixTime(now.0 + 900),
        };
        store.add_ticket(&ticket, &audit(Event::Ticket)).await.unwrap();
    }
    if has(Change::DeviceUnknown) {
        return;
    }
    let device = device_row(world, fixture);
    let this = device.clone();
    let id = device.id.clone();
    let clock = device.clock;
    let grant_expires = UnixTime(now.0 + 900);
    let enrolment = DeviceEnrolment { ticket: [1; 32], device, grant_expires };
    store.enrol_device(&enrolment, &audit(Event::DeviceEnrol)).await.unwrap();
    let credential = CredentialEnrolment {
        credential: credential_row(world, fixture),
        device: id.clone(),
        clock,
        authorisation: Authorisation::Grant,
        challenge: challenge(world, 0xf0),
    };
    if has(Change::CredentialUnknown) {
        // Another operator's key: enrolled by a ticket of theirs.
        let digest = [3; 32];
        let ticket = NewTicket {
            digest,
            kind: TicketKind::Authenticator,
            operator: "mallory".into(),
            asset: None,
            machine: TicketMachine::default(),
            created_at: now,
            expires: UnixTime(now.0 + 900),
        };
        store.add_ticket(&ticket, &audit(Event::Ticket)).await.unwrap();
        let authorisation = Authorisation::Ticket(digest);
        let credential = CredentialEnrolment { authorisation, ..credential };
        store.enrol_credential(&credential, &audit(Event::KeyEnrol)).await.unwrap();
    } else {
        store.enrol_credential(&credential, &audit(Event::KeyEnrol)).await.unwrap();
    }
    if let Some(metadata) = world.metadata(&fixture.with).unwrap() {
        let import = StoredMetadata { digest: [7; 32], metadata, imported_at: now };
        store.import_metadata(&import, &audit(Event::Metadata)).await.unwrap();
    }
    if asserted(world, fixture) != world.security_key(&fixture.with).0.0 {
        seed_platform_keys(store, world, fixture, &this).await;
    }
    seed_session(store, world, fixture, &id, clock).await;
    seed_revocations(store, world, fixture, id).await;
}

async fn seed_session(
    store: &SqlStore,
    world: &World,
    fixture: &Fixture,
    device: &DeviceId,
    clock: signet_verifier::records::TpmClock,
) {
    let has = |change| fixture.with.contains(&change);
    let now = UnixTime(world.now);
    let session = world.session_id().unwrap();
    let places = store.reserve_status_indices(1).await.unwrap();
    let presence = PresenceRecord {
        proved_at: now,
        expires: UnixTime(if has(Change::PresenceExpired) { now.0 } else { now.0 + 900 }),
        level: AssuranceLevel::UvHardware,
        methods: vec!["hwk".into(), "user".into(), "mfa".into()],
        verification: None,
        attestation: Some("packed".into()),
    };
    let row = SessionRow {
        id: session,
        kind: SessionKind::Person,
        subject: Some(world.operator.clone()),
        device: device.clone(),
        credential: Some(credential_row(world, fixture).id),
        reset_count: if has(Change::SessionRebooted) { 0 } else { world.reset_count },
        scope: None,
        started_at: now,
        expires: UnixTime(now.0 + 36_000),
        last_token_at: now,
        presence: Some(presence),
        status_index: places.start,
        ended: false,
    };
    let start = SessionChange::Start(row);
    let again = SessionChange::Renew { id: session, scope: None, place: places.start };
    for (number, change, action) in [(1, start, None), (2, again, Some([9; 32]))] {
        let token = TokenRow {
            id: [number; 16],
            session,
            action,
            issued_at: now,
            expires: UnixTime(now.0 + 300),
            redeemed: false,
            revoked: false,
        };
        let record = MintRecord {
            challenge: challenge(world, 0xe0 + number),
            device: device.clone(),
            clock,
            credential: None,
            session: change,
            token,
        };
        let audit = AuditEntry::new(now, Event::TokenSession, Decision::Allowed);
        store.mint(&record, &audit).await.unwrap();
    }
}

async fn seed_revocations(store: &SqlStore, world: &World, fixture: &Fixture, device: DeviceId) {
    let now = UnixTime(world.now);
    for change in &fixture.with {
        let target = match change {
            Change::DeviceRevoked => RevocationTarget::Device(device.clone()),
            Change::CredentialRevoked => RevocationTarget::Credential(asserted(world, fixture)),
            Change::SessionEnded | Change::SessionRevoked => {
                RevocationTarget::Session(world.session_id().unwrap())
            }
            Change::TokenRedeemed => {
                let audit = AuditEntry::new(now, Event::Redeem, Decision::Allowed);
                store.redeem(&[2; 16], now, &audit).await.unwrap();
                continue;
            }
            _ => continue,
        };
        let audit = AuditEntry::new(now, Event::Revoke, Decision::Allowed);
        let revoked = store.revoke(&target, now, &audit).await.unwrap();
        assert!(revoked.is_some(), "{target:?}");
    }
}

fn device_row(world: &World, fixture: &Fixture) -> DeviceRow {
    let enrolled = world.enrolled(&fixture.with).unwrap().device.unwrap();
    let public = TpmtPublic::parse(&world.ak_public.0).unwrap();
    DeviceRow {
        id: enrolled.id,
        operator: world.operator.clone(),
        asset: None,
        ek_digest: world.ek_digest.0.as_slice().try_into().unwrap(),
        ek_proven: true,
        ak_name: Name::of(&public).as_bytes().to_vec(),
        ak: enrolled.ak,
        tls_key: world.tls_key(&fixture.with).unwrap(),
        pcrs: enrolled.approved_pcrs,
        clock: enrolled.clock,
        enrolled_at: UnixTime(world.now),
        revoked: false,
    }
}

fn credential_row(world: &World, fixture: &Fixture) -> CredentialRow {
    let EnrolledKey::SecurityKey(enrolled) =
        world.enrolled(&fixture.with).unwrap().credential.unwrap()
    else {
        panic!("the operator's first key is a security key")
    };
    let duplicate = fixture.with.contains(&Change::CredentialEnrolled);
    let (id, public_key) =
        if duplicate { new_credential(fixture) } else { (enrolled.id, enrolled.public_key) };
    CredentialRow {
        id,
        subject: enrolled.subject,
        name: "key".into(),
        public_key,
        aaguid: enrolled.aaguid,
        attestation: enrolled.attestation,
        attestation_key: None,
        touch_only: enrolled.touch_only,
        reported: None,
        platform: None,
        sign_count: enrolled.sign_count,
        enrolled_at: UnixTime(world.now),
        last_used: None,
        revoked: false,
    }
}

/// The key that the fixture's evidence was asserted with; the security key where it has none.
fn asserted(world: &World, fixture: &Fixture) -> Vec<u8> {
    let evidence = Evidence::parse(&fixture.bytes).ok();
    let assertion = evidence.and_then(|evidence| evidence.assertion);
    let security_key = || world.security_key(&fixture.with).0.0.clone();
    assertion.map_or_else(security_key, |part| part.value.credential_id().to_vec())
}

/// The operator's platform keys, each by a ticket of its own: where evidence is asserted with one.
async fn seed_platform_keys(
    store: &SqlStore,
    world: &World,
    fixture: &Fixture,
    device: &DeviceRow,
) {
    let now = UnixTime(world.now);
    let audit = |event| AuditEntry::new(now, event, Decision::Allowed);
    let keys = world.platform_keys(&fixture.with).unwrap();
    if fixture.with.contains(&Change::PlatformKeyElsewhere) {
        let other = DeviceRow { id: keys[0].device.clone(), ek_digest: [9; 32], ..device.clone() };
        let ticket = new_ticket(world, [6; 32], TicketKind::Device, &world.operator);
        store.add_ticket(&ticket, &audit(Event::Ticket)).await.unwrap();
        let grant_expires = UnixTime(now.0 + 900);
        let enrolment = DeviceEnrolment { ticket: [6; 32], device: other, grant_expires };
        store.enrol_device(&enrolment, &audit(Event::DeviceEnrol)).await.unwrap();
    }
    for (number, key) in (4u8..).zip(keys) {
        let digest = [number; 32];
        let ticket = new_ticket(world, digest, TicketKind::Authenticator, &key.subject);
        store.add_ticket(&ticket, &audit(Event::Ticket)).await.unwrap();
        let point = key.public_key.uncompressed_point();
        let enrolment = CredentialEnrolment {
            credential: CredentialRow {
                id: key.id.as_bytes().to_vec(),
                subject: key.subject,
                name: "this machine".into(),
                public_key: CoseKey::from_uncompressed_point(point),
                aaguid: Aaguid([0; 16]),
                attestation: AttestationKind::TpmCertify,
                attestation_key: None,
                touch_only: false,
                reported: None,
                platform: Some(PlatformKeyRow { device: key.device, method: key.method }),
                sign_count: 0,
                enrolled_at: now,
                last_used: None,
                revoked: false,
            },
            device: device.id.clone(),
            clock: device.clock,
            authorisation: Authorisation::Ticket(digest),
            challenge: challenge(world, 0xf0 + number),
        };
        store.enrol_credential(&enrolment, &audit(Event::KeyEnrol)).await.unwrap();
    }
}

fn new_ticket(world: &World, digest: [u8; 32], kind: TicketKind, operator: &str) -> NewTicket {
    NewTicket {
        digest,
        kind,
        operator: operator.to_owned(),
        asset: None,
        machine: TicketMachine::default(),
        created_at: UnixTime(world.now),
        expires: UnixTime(world.now + 900),
    }
}

/// The credential that a registration's evidence is about.
fn new_credential(fixture: &Fixture) -> (Vec<u8>, CoseKey) {
    assert_eq!(fixture.kind, Kind::Registration);
    let evidence = Evidence::parse(&fixture.bytes).unwrap();
    let part = evidence.registration.unwrap().value;
    let object = match &part {
        Registration::SecurityKey(registration) => &registration.attestation_object,
        Registration::Platform(registration) => {
            let public = TpmtPublic::parse(&registration.public).unwrap();
            let point = public.ecc().unwrap().uncompressed_point();
            let key = CoseKey::from_uncompressed_point(&point.try_into().unwrap());
            return (Name::of(&public).as_bytes().to_vec(), key);
        }
    };
    let data = AttestationObject::parse(object).unwrap().authenticator_data;
    let credential = AuthenticatorData::parse(&data).unwrap().attested_credential.unwrap();
    (credential.credential_id, credential.public_key)
}

/// A challenge that was answered at enrolment; only its random part counts.
fn challenge(world: &World, random: u8) -> FreshChallenge {
    let context = ChallengeContext {
        peer: CertificateThumbprint([0; 32]),
        purpose: Purpose::Session,
        action: None,
        session: None,
    };
    let key = world.challenge_key().unwrap();
    let bytes = key.issue(&context, UnixTime(world.now + 60), [random; 16]);
    key.check(&bytes, &context, UnixTime(world.now)).unwrap()
}

fn ticket_digest() -> [u8; 32] {
    signet_evidence::binding::sha256(TICKET.as_bytes())
}
