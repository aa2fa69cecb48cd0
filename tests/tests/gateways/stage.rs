//! Everything behind and before a gateway: the real authority with its store, two enrolled machines,
//! an upstream that tells what reached it, and tokens minted with the authority's own key.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use signet_authority::config::Config;
use signet_authority::policy::EXAMPLE;
use signet_authority::server::Server;
use signet_authority::state::{Authority, system_clock};
use signet_authority::store::{
    AuditEntry, AuditRecord, Decision, DeviceEnrolment, DeviceRow, Event, MintRecord, NewTicket,
    RevocationTarget, SessionChange, SessionKind, SessionRow, SqlStore, Store, TicketKind,
    TicketMachine, TokenRow,
};
use signet_authority::{keys, random};
use signet_evidence::action::content_digest;
use signet_evidence::binding::sha256;
use signet_evidence::{
    ActionDetails, ActionKind, CertificateThumbprint, DeviceId, Purpose, SessionId, UnixTime,
};
use signet_tests::gateway::{Gateway, GatewaySettings, Profile, profile};
use signet_tests::raw_https::{RawAnswer, RawClient, RawHttpsError};
use signet_tests::reserved::Reserved;
use signet_tests::upstream::Upstream;
use signet_verifier::AssuranceLevel;
use signet_verifier::challenge::{ChallengeContext, FreshChallenge};
use signet_verifier::ecdsa::P256PublicKey;
use signet_verifier::records::TpmClock;
use signet_verifier::token::claims::{Confirmation, Status, StatusListEntry};
use signet_verifier::token::{Facts, PresenceRecord, TokenClaims};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const TRUST_DOMAIN: &str = "mesh.example";
const ISSUER: &str = "https://localhost:9443";
const GATEWAY: &str = "spiffe://mesh.example/gateway/edge";
/// Far above what a start takes on a busy machine.
const START: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

pub(crate) struct Stage {
    pub(crate) gateway: Gateway,
    pub(crate) profile: Profile,
    pub(crate) upstream: Upstream,
    pub(crate) authority: Arc<Authority>,
    gateways: Reserved,
    listener_ca: String,
    runtime: Runtime,
    serving: Option<(watch::Sender<bool>, JoinHandle<()>)>,
    folder: TempDir,
}

/// An enrolled machine: its certificate and key.
pub(crate) struct Machine {
    pub(crate) operator: String,
    pub(crate) id: DeviceId,
    pub(crate) thumbprint: CertificateThumbprint,
    pub(crate) certificate: String,
    key: String,
}

/// A minted token and its session.
pub(crate) struct Minted {
    pub(crate) token: String,
    pub(crate) id: [u8; 16],
    pub(crate) session: SessionId,
}

pub(crate) fn now() -> UnixTime {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixTime(i64::try_from(elapsed.as_secs()).unwrap())
}

impl Stage {
    pub(crate) fn set() -> Self {
        Self::with(profile::ENVOY_FINGERPRINT_HEADER, GATEWAY)
    }

    /// The same, with a certificate for another gateway than the configured one.
    pub(crate) fn with_gateway(gateway: &str) -> Self {
        Self::with(profile::ENVOY_FINGERPRINT_HEADER, gateway)
    }

    /// The stage of another gateway.
    pub(crate) fn of(profile: Profile) -> Self {
        Self::with(profile, GATEWAY)
    }

    /// The stage of another gateway, with these lines in its entry of the authority's settings.
    pub(crate) fn configured(profile: Profile, lines: &str) -> Self {
        Self::start(profile, GATEWAY, lines)
    }

    fn with(profile: Profile, gateway: &str) -> Self {
        let lines = profile.authority.unwrap_or("peer_certificate = \"sha256-header\"\n");
        Self::start(profile, gateway, lines)
    }

    fn start(profile: Profile, gateway: &str, lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let gateways = Reserved::take().unwrap();
        let starting = start_authority(folder.path(), gateways.address(), lines);
        let authority = runtime.block_on(starting);
        let server = runtime.block_on(Server::bind(authority.clone())).unwrap();
        let (stop, stopped) = watch::channel(false);
        let serving = Some((stop, runtime.spawn(server.run(stopped))));
        let upstream = Upstream::start().unwrap();
        let listener = listener_certificate(folder.path());
        let settings = gateway_settings(
            folder.path(),
            &authority,
            gateway,
            gateways.address(),
            upstream.address(),
        );
        let gateway = Gateway::start(&profile, &settings).unwrap_or_else(|error| panic!("{error}"));
        let stage = Self {
            gateway,
            profile,
            upstream,
            authority,
            listener_ca: listener,
            gateways,
            runtime,
            serving,
            folder,
        };
        stage.warm_up();
        stage
    }

    /// Asks without a token until the gateway answers as it should: some listen before they have read
    /// what to do, and the first connection to the authority is the slowest.
    fn warm_up(&self) {
        let early = self.enrol("early");
        let deadline = Instant::now() + START;
        let bytes = request("GET /", &[], "");
        loop {
            let answer = self.client(&early).send(self.gateway.address(), &bytes);
            let asked = self.profile.authority.is_none() || !self.decisions().is_empty();
            if asked && answer.as_ref().is_ok_and(|answer| [401, 403].contains(&answer.status)) {
                return;
            }
            assert!(Instant::now() < deadline, "{answer:?}\n{}", self.gateway.log());
        }
    }

    /// Enrols a machine as if its TPM had been judged.
    pub(crate) fn enrol(&self, operator: &str) -> Machine {
        let key = KeyPair::generate().unwrap();
        let id = DeviceId::from_random(&random::bytes::<16>()).unwrap();
        let point: [u8; 65] = key.der_bytes().try_into().unwrap();
        let name = format!("spiffe://{TRUST_DOMAIN}/device/{id}");
        let ca = self.authority.keys.device_ca.issuer(now());
        let certificate = ca.issue_device(&point, &name, now(), DAY).unwrap();
        let public = P256PublicKey::from_uncompressed_point(&point).unwrap();
        self.runtime.block_on(self.store_machine(operator, &id, public));
        Machine {
            operator: operator.to_owned(),
            id,
            thumbprint: CertificateThumbprint::of_der(&certificate),
            certificate: keys::pem(&certificate),
            key: key.serialize_pem(),
        }
    }

    async fn store_machine(&self, operator: &str, id: &DeviceId, key: P256PublicKey) {
        let store = &self.authority.store;
        let digest = random::bytes();
        let ticket = NewTicket {
            digest,
            kind: TicketKind::Device,
            operator: operator.into(),
            asset: None,
            machine: TicketMachine::default(),
            created_at: now(),
            expires: now().plus(DAY),
        };
        store.add_ticket(&ticket, &allowed(Event::Ticket)).await.unwrap();
        let device = DeviceRow {
            id: id.clone(),
            operator: operator.into(),
            asset: None,
            ek_digest: random::bytes(),
            ek_proven: true,
            ak_name: vec![1],
            ak: key.clone(),
            tls_key: key,
            pcrs: [(0, vec![0; 32])].into(),
            clock: clock(),
            enrolled_at: now(),
            revoked: false,
        };
        let enrolment = DeviceEnrolment { ticket: digest, device, grant_expires: now() };
        store.enrol_device(&enrolment, &allowed(Event::DeviceEnrol)).await.unwrap();
    }

    /// A session token whose presence was proved `age` seconds ago.
    pub(crate) fn session_token(&self, machine: &Machine, age: i64) -> Minted {
        self.mint(machine, age, None)
    }

    /// A token for one request, approved just now.
    pub(crate) fn action_token(&self, machine: &Machine, details: ActionDetails) -> Minted {
        self.mint(machine, 0, Some(details))
    }

    fn mint(&self, machine: &Machine, age: i64, action: Option<ActionDetails>) -> Minted {
        let (id, session) = (random::bytes::<16>(), SessionId(random::bytes()));
        let issued_at = now();
        let presence = PresenceRecord {
            proved_at: UnixTime(issued_at.0 - age),
            expires: UnixTime(issued_at.0 - age + 14_400),
            level: AssuranceLevel::Uv,
            methods: vec!["hwk".into(), "user".into(), "mfa".into()],
            verification: None,
            attestation: Some("packed".into()),
        };
        let row = TokenRow {
            id,
            session,
            action: action.as_ref().map(|action| sha256(&serde_json::to_vec(&[action]).unwrap())),
            issued_at,
            expires: UnixTime(issued_at.0 + 60),
            redeemed: false,
            revoked: false,
        };
        let claims = claims(machine, &row, &presence, action);
        let record = MintRecord {
            challenge: self.challenge(machine),
            device: machine.id.clone(),
            clock: clock(),
            credential: None,
            session: SessionChange::Start(SessionRow {
                id: session,
                kind: if row.action.is_some() { SessionKind::Action } else { SessionKind::Person },
                subject: Some(machine.operator.clone()),
                device: machine.id.clone(),
                credential: None,
                reset_count: 1,
                scope: None,
                started_at: issued_at,
                expires: issued_at.plus(DAY),
                last_token_at: issued_at,
                presence: Some(presence),
                status_index: self.runtime.block_on(self.authority.status_index()).unwrap(),
                ended: false,
            }),
            token: row,
        };
        let entry = allowed(Event::TokenSession);
        let minting = self.authority.store.mint(&record, &entry);
        self.runtime.block_on(minting).unwrap();
        Minted { token: self.sign(&claims), id, session }
    }

    fn challenge(&self, machine: &Machine) -> FreshChallenge {
        let context = ChallengeContext {
            peer: machine.thumbprint,
            purpose: Purpose::Session,
            action: None,
            session: None,
        };
        let key = &self.authority.keys.challenge;
        let challenge = key.issue(&context, now().plus(DAY), random::bytes());
        key.check(&challenge, &context, now()).unwrap()
    }

    /// A session token of which something is otherwise.
    pub(crate) fn forged_token(
        &self,
        machine: &Machine,
        change: impl FnOnce(&mut TokenClaims),
    ) -> String {
        let row = TokenRow {
            id: random::bytes(),
            session: SessionId(random::bytes()),
            action: None,
            issued_at: now(),
            expires: UnixTime(now().0 + 60),
            redeemed: false,
            revoked: false,
        };
        let presence = PresenceRecord {
            proved_at: now(),
            expires: UnixTime(now().0 + 14_400),
            level: AssuranceLevel::Uv,
            methods: vec!["hwk".into()],
            verification: None,
            attestation: None,
        };
        let mut claims = claims(machine, &row, &presence, None);
        change(&mut claims);
        self.sign(&claims)
    }

    fn sign(&self, claims: &TokenClaims) -> String {
        let signer = self.authority.keys.token.signer(now());
        let header = format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"{}"}}"#, signer.key_id());
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims).unwrap());
        let signed = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(header));
        let signature = signer.sign(signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A client with this machine's certificate.
    pub(crate) fn client(&self, machine: &Machine) -> RawClient {
        RawClient::new(&self.listener_ca, Some((&machine.certificate, &machine.key))).unwrap()
    }

    /// What the authority's listener for gateways says to this machine itself.
    pub(crate) fn ask_authority(
        &self,
        machine: &Machine,
        request: &[u8],
    ) -> Result<RawAnswer, RawHttpsError> {
        let ca = keys::pem(self.authority.keys.server_ca.issuer(now()).certificate());
        let client = RawClient::new(&ca, Some((&machine.certificate, &machine.key))).unwrap();
        client.send(self.gateways.address(), request)
    }

    /// A client with a certificate for this name, from a CA of its own.
    pub(crate) fn forger(&self, name: &str) -> RawClient {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![rcgen::SanType::URI(name.try_into().unwrap())];
        let certificate = params.self_signed(&key).unwrap().pem();
        RawClient::new(&self.listener_ca, Some((&certificate, &key.serialize_pem()))).unwrap()
    }

    /// A client with a device certificate for this name, by the authority's own CA.
    pub(crate) fn issued(&self, name: &str) -> RawClient {
        let key = KeyPair::generate().unwrap();
        let point: [u8; 65] = key.der_bytes().try_into().unwrap();
        let certificate = self
            .authority
            .keys
            .device_ca
            .issuer(now())
            .issue_device(&point, name, now(), DAY)
            .unwrap();
        let identity = (keys::pem(&certificate), key.serialize_pem());
        RawClient::new(&self.listener_ca, Some((&identity.0, &identity.1))).unwrap()
    }

    /// A client with the certificate of a gateway, which is no machine.
    pub(crate) fn other_gateway(&self) -> RawClient {
        let ca = self.authority.keys.gateway_ca.issuer(now());
        let issued = ca.issue_gateway("spiffe://mesh.example/gateway/other", now(), DAY).unwrap();
        let certificate = keys::pem(&issued.certificate);
        RawClient::new(&self.listener_ca, Some((&certificate, &issued.key_pem))).unwrap()
    }

    /// A client without any.
    pub(crate) fn nobody(&self) -> RawClient {
        RawClient::new(&self.listener_ca, None).unwrap()
    }

    /// Sends a request to the gateway: `line` is method and target, `headers` whole lines.
    pub(crate) fn send(
        &self,
        machine: &Machine,
        line: &str,
        headers: &[&str],
        body: &str,
    ) -> RawAnswer {
        let request = request(line, headers, body);
        self.client(machine).send(self.gateway.address(), &request).unwrap()
    }

    pub(crate) fn revoke(&self, target: &RevocationTarget) {
        let entry = allowed(Event::Revoke);
        let revoked = self.runtime.block_on(self.authority.store.revoke(target, now(), &entry));
        assert!(revoked.unwrap().is_some());
    }

    /// The same in another process's way: through a connection of its own to the same database.
    pub(crate) fn revoke_beside(&self, target: &RevocationTarget) {
        let config = &self.authority.config;
        let integrity = keys::load_integrity(&config.keys()).unwrap();
        let revoked = self.runtime.block_on(async {
            let store = SqlStore::open(config.database(), integrity).await.unwrap();
            let revoked = store.revoke(target, now(), &allowed(Event::Revoke)).await.unwrap();
            store.close().await;
            revoked
        });
        assert!(revoked.is_some());
    }

    /// The last decision for a gateway that is on record.
    pub(crate) fn last_decision(&self) -> AuditRecord {
        let records = self.runtime.block_on(self.authority.store.audit_after(0, 10_000)).unwrap();
        records.into_iter().rfind(|record| record.event == "authorize").unwrap()
    }

    /// Every decision for a gateway that is on record.
    pub(crate) fn decisions(&self) -> Vec<AuditRecord> {
        let records = self.runtime.block_on(self.authority.store.audit_after(0, 10_000)).unwrap();
        records.into_iter().filter(|record| record.event == "authorize").collect()
    }

    /// Starts the authority again where it was.
    pub(crate) fn start_authority(&mut self) {
        let server = self.runtime.block_on(Server::bind(self.authority.clone())).unwrap();
        let (stop, stopped) = watch::channel(false);
        self.serving = Some((stop, self.runtime.spawn(server.run(stopped))));
    }

    /// The folder of the authority's settings.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the authority listens for gateways.
    pub(crate) fn authority_address(&self) -> SocketAddr {
        self.gateways.address()
    }

    /// Ends the authority; its listeners are closed when this returns.
    pub(crate) fn stop_authority(&mut self) {
        let (stop, running) = self.serving.take().unwrap();
        stop.send(true).unwrap();
        self.runtime.block_on(running).unwrap();
    }
}

/// The bytes of a request for `localhost`.
pub(crate) fn request(line: &str, headers: &[&str], body: &str) -> Vec<u8> {
    let mut text = format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    if !body.is_empty() {
        text.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    format!("{text}\r\n{body}").into_bytes()
}

/// The approval of one request to `localhost`.
pub(crate) fn approval(name: &str, method: &str, path: &str, body: &str) -> ActionDetails {
    ActionDetails {
        kind: ActionKind::SignetAction,
        actions: vec![name.into()],
        locations: vec!["https://localhost".into()],
        method: method.into(),
        path: path.into(),
        content_digest: content_digest(body.as_bytes()),
    }
}

fn claims(
    machine: &Machine,
    row: &TokenRow,
    presence: &PresenceRecord,
    action: Option<ActionDetails>,
) -> TokenClaims {
    let hex = signet_evidence::thumbprint::hex;
    let issuer = ISSUER.to_owned();
    TokenClaims {
        aud: TRUST_DOMAIN.into(),
        sub: machine.operator.clone(),
        client_id: format!("spiffe://{TRUST_DOMAIN}/device/{}", machine.id),
        iat: row.issued_at.0,
        nbf: row.issued_at.0,
        exp: row.expires.0,
        jti: hex(&row.id),
        sid: hex(&row.session.0),
        auth_time: Some(presence.proved_at.0),
        acr: presence.level.as_str().into(),
        amr: presence.methods.clone(),
        cnf: Confirmation::certificate(machine.thumbprint),
        scope: None,
        status: Status {
            status_list: StatusListEntry { idx: 0, uri: format!("{issuer}/status/0") },
        },
        signet: Facts {
            human: true,
            uvm: None,
            uvm_src: None,
            key_att: presence.attestation.clone(),
            dev: "proven".into(),
            boot: "approved".into(),
            pres_exp: Some(presence.expires.0),
            sess_exp: row.issued_at.plus(DAY).0,
            x5t_hex: machine.thumbprint.to_hex(),
            once: action.is_some(),
        },
        authorization_details: action.map(|action| vec![action]),
        iss: issuer,
    }
}

fn clock() -> TpmClock {
    TpmClock { clock_ms: 1_000, reset_count: 1, restart_count: 0, safe: true }
}

fn allowed(event: Event) -> AuditEntry {
    AuditEntry::new(now(), event, Decision::Allowed)
}

async fn start_authority(folder: &Path, gateways: SocketAddr, lines: &str) -> Arc<Authority> {
    keys::create(&folder.join("keys"), now()).unwrap();
    fs::create_dir(folder.join("ek-roots")).unwrap();
    fs::create_dir(folder.join("policies")).unwrap();
    for (name, text) in EXAMPLE {
        fs::write(folder.join("policies").join(name), text).unwrap();
    }
    // Two loopback addresses, so that both ports can be the system's choice.
    let settings = format!(
        "listen = \"127.0.0.2:0\"\n\
         gateway_listen = \"{gateways}\"\n\
         issuer = \"{ISSUER}\"\n\
         audience = \"{TRUST_DOMAIN}\"\n\
         trust_domain = \"{TRUST_DOMAIN}\"\n\
         rp_id = \"presence.mesh.example\"\n\
         [tpm]\n\
         ek_roots = \"ek-roots\"\n\
         [policy]\n\
         directory = \"policies\"\n\
         [[gateways]]\n\
         spiffe_id = \"{GATEWAY}\"\n\
         {lines}"
    );
    // For commands that are run beside.
    fs::write(folder.join("authority.toml"), &settings).unwrap();
    let config = Config::parse(&settings, &folder.join("authority.toml")).unwrap();
    let integrity = keys::load_integrity(&config.keys()).unwrap();
    SqlStore::create(config.database(), integrity).await.unwrap().close().await;
    Authority::start(config, system_clock()).await.unwrap()
}

/// What clients of the gateway see: a certificate of its own, self-signed for the test.
fn listener_certificate(folder: &Path) -> String {
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    fs::write(folder.join("listener.pem"), certificate.pem()).unwrap();
    fs::write(folder.join("listener.key"), key.serialize_pem()).unwrap();
    certificate.pem()
}

fn gateway_settings(
    folder: &Path,
    authority: &Authority,
    gateway: &str,
    gateways: SocketAddr,
    upstream: SocketAddr,
) -> GatewaySettings {
    let issued =
        authority.keys.gateway_ca.issuer(now()).issue_gateway(gateway, now(), DAY).unwrap();
    fs::write(folder.join("gateway.pem"), keys::pem(&issued.certificate)).unwrap();
    fs::write(folder.join("gateway.key"), issued.key_pem.as_bytes()).unwrap();
    keys::write_token_keys(folder, &authority.keys.token, authority.now()).unwrap();
    GatewaySettings {
        listen_certificate: folder.join("listener.pem"),
        listen_key: folder.join("listener.key"),
        device_ca: folder.join("keys/device-ca.pem"),
        trust_domain: TRUST_DOMAIN.into(),
        authority: gateways,
        authority_name: "localhost".into(),
        authority_ca: folder.join("keys/server-ca.pem"),
        gateway_certificate: folder.join("gateway.pem"),
        gateway_key: folder.join("gateway.key"),
        upstream,
        issuer: ISSUER.into(),
        audience: TRUST_DOMAIN.into(),
        token_key: folder.join("token-key.pem"),
    }
}
