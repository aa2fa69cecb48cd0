//! A running authority with machines, keys and gateways, for tests of its endpoints.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rcgen::{KeyPair, PublicKeyData};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use signet_authority::config::{Config, render_template};
use signet_authority::keys;
use signet_authority::policy::EXAMPLE;
use signet_authority::revocation::Standing;
use signet_authority::server::Server;
use signet_authority::state::{Authority, system_clock};
use signet_authority::store::{
    AuditEntry, AuditRecord, Decision, Event, RevocationTarget, SessionKind, SqlStore, Store,
    TicketKind,
};
use signet_evidence::{CertificateThumbprint, DeviceId, UnixTime};
use signet_verifier::ecdsa::P256PublicKey;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) mod raw;
#[path = "../rows/mod.rs"]
#[allow(dead_code)] // Each test program uses its part of the rows.
pub(crate) mod rows;
pub(crate) mod tokens;

pub(crate) struct House {
    pub(crate) authority: Arc<Authority>,
    folder: TempDir,
    clients: u16,
    gateways: u16,
    stop: watch::Sender<bool>,
    serving: Option<JoinHandle<()>>,
    early_machine: Option<Machine>,
}

/// A machine's certificate and key.
pub(crate) struct Machine {
    pub(crate) id: DeviceId,
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

/// A database that somebody else writes to.
pub(crate) struct Held(sqlx::SqliteConnection);

#[allow(dead_code)] // Each test program uses its part of the house.
impl Held {
    pub(crate) async fn let_go(mut self) {
        sqlx::query("ROLLBACK").execute(&mut self.0).await.unwrap();
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }
}

#[allow(dead_code)] // Each test program uses its part of the house.
impl House {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = authority(folder.path()).await;
        Self::serve(folder, authority, None).await
    }

    /// A house whose clock is ahead of the system's by the seconds that the second says.
    pub(crate) async fn in_time() -> (Self, Arc<AtomicI64>) {
        let ahead = Arc::new(AtomicI64::new(0));
        let (clock, shift) = (system_clock(), ahead.clone());
        let clock = Arc::new(move || UnixTime(clock().0 + shift.load(Ordering::SeqCst)));
        let folder = tempfile::tempdir().unwrap();
        let config = configuration(folder.path(), None).await;
        let authority = Authority::start(config, clock).await.unwrap();
        (Self::serve(folder, authority, None).await, ahead)
    }

    /// A house with these further tables in its settings.
    pub(crate) async fn with_settings(tables: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        configuration(folder.path(), None).await;
        let file = folder.path().join("authority.toml");
        let settings = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{settings}\n{tables}")).unwrap();
        let authority = Authority::start(Config::load(&file).unwrap(), system_clock()).await;
        Self::serve(folder, authority.unwrap(), None).await
    }

    /// A house whose node notes yeses to reads in a journal.
    pub(crate) async fn with_journal() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = configuration(folder.path(), None).await;
        let settings = std::fs::read_to_string(&config.file).unwrap();
        let with = settings.replace("# journal = ", "journal = ");
        assert_ne!(with, settings);
        std::fs::write(&config.file, with).unwrap();
        let authority = Authority::start(Config::load(&config.file).unwrap(), system_clock()).await;
        Self::serve(folder, authority.unwrap(), None).await
    }

    /// Another house with the keys of the first: what somebody has who copied them all.
    pub(crate) async fn with_keys_of(directory: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = configuration(folder.path(), None).await;
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), folder.path().join("keys").join(entry.file_name()))
                .unwrap();
        }
        // The rows that its making wrote have the marks of other keys.
        std::fs::remove_file(folder.path().join("authority.db")).unwrap();
        let integrity = keys::load_integrity(&config.keys()).unwrap();
        SqlStore::create(config.database(), integrity).await.unwrap().close().await;
        let authority = Authority::start(config, system_clock()).await.unwrap();
        Self::serve(folder, authority, None).await
    }

    /// A house whose database is this one of PostgreSQL.
    pub(crate) async fn on(database: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = configuration(folder.path(), Some(database)).await;
        let authority = Authority::start(config, system_clock()).await.unwrap();
        Self::serve(folder, authority, None).await
    }

    /// A house with these lines among its limits.
    pub(crate) async fn with_limits(lines: &str) -> Self {
        Self::with_limits_on(lines, None).await
    }

    /// The same, whose database is this one of PostgreSQL.
    pub(crate) async fn with_limits_on(lines: &str, database: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = configuration(folder.path(), database).await;
        let mut settings = std::fs::read_to_string(&config.file).unwrap();
        for line in lines.lines() {
            let (name, _) = line.split_once(" = ").unwrap();
            let begins = settings.find(&format!("\n{name} = ")).unwrap() + 1;
            let ends = begins + settings[begins..].find('\n').unwrap();
            settings.replace_range(begins..ends, line);
        }
        std::fs::write(&config.file, settings).unwrap();
        let config = Config::load(&config.file).unwrap();
        let authority = Authority::start(config, system_clock()).await.unwrap();
        Self::serve(folder, authority, None).await
    }

    /// A house whose database cannot grow any more; one machine was enrolled before.
    pub(crate) async fn with_full_disk() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = configuration(folder.path(), None).await;
        let integrity = keys::load_integrity(&config.keys()).unwrap();
        let store = Arc::new(SqlStore::open(config.database(), integrity).await.unwrap());
        let authority = Authority::with_store(config, system_clock(), store.clone()).await.unwrap();
        let machine = make_machine(&authority);
        enrol(&authority, &machine, "alice").await;
        authority.in_force.begin(store.as_ref(), authority.now()).await.unwrap();
        store.limit_size(0).await.unwrap();
        // Uses up what is free in the pages that exist.
        let mut entry = AuditEntry::new(authority.now(), Event::Authorize, Decision::Allowed);
        entry.detail = "x".repeat(256);
        while store.append_audit(&entry).await.is_ok() {}
        Self::serve(folder, authority, Some(machine)).await
    }

    async fn serve(folder: TempDir, authority: Arc<Authority>, early: Option<Machine>) -> Self {
        let server = Server::bind(authority.clone()).await.unwrap();
        let (clients, gateways) = server.addresses().unwrap();
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(server.run(stopped));
        Self {
            authority,
            folder,
            clients: clients.port(),
            gateways: gateways.port(),
            stop,
            serving: Some(serving),
            early_machine: early,
        }
    }

    /// A connection to the clients' listener that has said nothing yet.
    pub(crate) async fn tcp(&self) -> tokio::net::TcpStream {
        tokio::net::TcpStream::connect(("127.0.0.1", self.clients)).await.unwrap()
    }

    /// Holds the database, so that whoever writes waits.
    pub(crate) async fn hold_database(&self) -> Held {
        use sqlx::Connection;
        let path = self.folder.path().join("authority.db");
        let url = format!("sqlite://{}", path.display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
        Held(connection)
    }

    /// A ticket for a machine of this operator.
    pub(crate) async fn ticket(&self, operator: &str) -> String {
        let text = format!("ticket of {operator}");
        let mut ticket = rows::ticket(TicketKind::Device, signet_authority::tickets::digest(&text));
        let now = self.authority.now();
        ticket.operator = operator.into();
        (ticket.created_at, ticket.expires) = (now, UnixTime(now.0 + 900));
        let audit = AuditEntry::new(now, Event::Ticket, Decision::Allowed);
        self.authority.store.add_ticket(&ticket, &audit).await.unwrap();
        text
    }

    pub(crate) fn clients(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.clients)
    }

    pub(crate) fn gateways(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.gateways)
    }

    /// A client without certificate.
    pub(crate) fn stranger(&self) -> reqwest::Client {
        self.client(None, &rustls::version::TLS13)
    }

    pub(crate) fn client_of_version(
        &self,
        version: &'static SupportedProtocolVersion,
    ) -> reqwest::Client {
        self.client(None, version)
    }

    fn client(
        &self,
        identity: Option<ClientIdentity>,
        version: &'static SupportedProtocolVersion,
    ) -> reqwest::Client {
        self.builder(identity, version).build().unwrap()
    }

    fn builder(
        &self,
        identity: Option<ClientIdentity>,
        version: &'static SupportedProtocolVersion,
    ) -> reqwest::ClientBuilder {
        let tls = trusting(
            self.authority.keys.server_ca.issuer(self.authority.now()).certificate(),
            identity,
            version,
        );
        reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy()
    }

    /// A gateway with a certificate of the gateway CA.
    pub(crate) fn gateway(&self, name: &str) -> reqwest::Client {
        self.client(Some(self.gateway_identity(name)), &rustls::version::TLS13)
    }

    /// A client with this certificate and key.
    pub(crate) fn client_with(&self, identity: ClientIdentity) -> reqwest::Client {
        self.client(Some(identity), &rustls::version::TLS13)
    }

    /// The certificates that the listener for clients shows to whoever asks for `name`, believed or not.
    pub(crate) async fn shown_by(&self, name: &'static str) -> Vec<CertificateDer<'static>> {
        let seen = Arc::new(Seen::default());
        let provider = Arc::new(signet_authority::tls::provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(seen.clone())
            .with_no_client_auth();
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", self.clients)).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let _ = connector.connect(name.try_into().unwrap(), stream).await;
        seen.0.lock().unwrap().clone()
    }

    /// The same, without HTTP/2.
    pub(crate) fn gateway_over_http_1(&self, name: &str) -> reqwest::Client {
        let builder = self.builder(Some(self.gateway_identity(name)), &rustls::version::TLS13);
        builder.http1_only().build().unwrap()
    }

    /// A certificate of the gateway CA, and its key.
    pub(crate) fn gateway_identity(&self, name: &str) -> ClientIdentity {
        let id = format!("spiffe://mesh.example/gateway/{name}");
        let lifetime = Duration::from_secs(3600);
        let now = self.authority.now();
        let issued = self
            .authority
            .keys
            .gateway_ca
            .issuer(self.authority.now())
            .issue_gateway(&id, now, lifetime)
            .unwrap();
        let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap();
        (issued.certificate, key)
    }

    /// A machine with a good certificate that the store does not know.
    pub(crate) fn unknown_machine(&self) -> Machine {
        make_machine(&self.authority)
    }

    /// An enrolled machine.
    pub(crate) async fn machine(&self, operator: &str) -> Machine {
        let machine = make_machine(&self.authority);
        enrol(&self.authority, &machine, operator).await;
        machine
    }

    /// The machine of [`House::with_full_disk`].
    pub(crate) fn machine_before_full(&self) -> reqwest::Client {
        self.early_machine.as_ref().unwrap().client(self)
    }

    pub(crate) async fn key(&self, machine: &Machine, id: &[u8]) {
        let device = self.authority.store.device(&machine.id).await.unwrap().unwrap();
        let grant = signet_authority::store::Authorisation::Grant;
        rows::enrol_key(self.authority.store.as_ref(), &device, id, grant).await.unwrap();
    }

    /// A token as the endpoint mints it, with its rows in the store.
    pub(crate) async fn token(&self, machine: &Machine, kind: SessionKind) -> String {
        tokens::token(&self.authority, machine, kind, None).await
    }

    /// The token of a session whose presence was proved with this key.
    pub(crate) async fn token_of_key(&self, machine: &Machine, key: &[u8]) -> String {
        tokens::token(&self.authority, machine, SessionKind::Person, Some(key)).await
    }

    /// The settings that the program reads.
    pub(crate) fn settings_file(&self) -> std::path::PathBuf {
        self.folder.path().join("authority.toml")
    }

    /// Stops as SIGTERM does, and returns when nobody listens any more.
    pub(crate) async fn stop(&mut self) {
        self.stop.send(true).unwrap();
        self.serving.take().unwrap().await.unwrap();
    }

    /// Starts another authority over the same database and on the same ports.
    pub(crate) async fn restart(&mut self) {
        let mut config = self.authority.config.clone();
        config.settings.listen.set_port(self.clients);
        let gateways = std::net::SocketAddr::new([127, 0, 0, 1].into(), self.gateways);
        config.settings.gateway_listen = toml::Spanned::new(0..0, gateways);
        self.authority = Authority::start(config, system_clock()).await.unwrap();
        let server = Server::bind(self.authority.clone()).await.unwrap();
        let (stop, stopped) = watch::channel(false);
        self.stop = stop;
        self.serving = Some(tokio::spawn(server.run(stopped)));
    }

    pub(crate) async fn revoke(&self, target: RevocationTarget) {
        let entry = AuditEntry::new(self.authority.now(), Event::Revoke, Decision::Allowed);
        self.authority.revoke(&target, entry).await.unwrap();
    }

    /// Revokes in the same database, through another connection, as the command line does.
    pub(crate) async fn revoke_beside(&self, target: RevocationTarget) {
        let config = Config::load(&self.folder.path().join("authority.toml")).unwrap();
        let integrity = keys::load_integrity(&config.keys()).unwrap();
        let store = SqlStore::open(config.database(), integrity).await.unwrap();
        let now = self.authority.now();
        let entry = AuditEntry::new(now, Event::Revoke, Decision::Allowed);
        assert!(store.revoke(&target, now, &entry).await.unwrap().is_some());
        store.close().await;
    }

    /// Returns once this node refuses the machine.
    pub(crate) async fn until_revoked(&self, machine: &Machine) {
        let session = signet_evidence::SessionId([0; 16]);
        while self.authority.revocations.standing(&[0; 16], session, &machine.id, None)
            != Standing::Revoked
        {
            tokio::task::yield_now().await;
        }
    }
}

#[allow(dead_code)] // Each test program uses its part of the house.
impl Machine {
    pub(crate) fn client(&self, house: &House) -> reqwest::Client {
        house.client(Some(self.identity()), &rustls::version::TLS13)
    }

    /// Its certificate and key.
    pub(crate) fn identity(&self) -> ClientIdentity {
        let key = PrivateKeyDer::from_pem_slice(self.key.serialize_pem().as_bytes()).unwrap();
        (self.certificate.clone(), key)
    }

    pub(crate) fn thumbprint(&self) -> CertificateThumbprint {
        CertificateThumbprint::of_der(&self.certificate)
    }
}

/// A certificate and its key.
pub(crate) type ClientIdentity = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// TLS to whoever `ca` vouches for, with this certificate or with none.
pub(crate) fn trusting(
    ca: &CertificateDer<'static>,
    identity: Option<ClientIdentity>,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone()).unwrap();
    let provider = Arc::new(signet_authority::tls::provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    match identity {
        Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
        None => builder.with_no_client_auth(),
    }
}

/// Notes what a server shows, and believes nothing.
#[derive(Debug, Default)]
struct Seen(std::sync::Mutex<Vec<CertificateDer<'static>>>);

impl rustls::client::danger::ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        let shown = std::iter::once(leaf).chain(others).map(|one| one.clone().into_owned());
        *self.0.lock().unwrap() = shown.collect();
        Err(rustls::Error::General("seen".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("seen".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("seen".to_owned()))
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        signet_authority::tls::provider().signature_verification_algorithms.supported_schemes()
    }
}

fn make_machine(authority: &Authority) -> Machine {
    let id = DeviceId::from_random(&signet_authority::random::bytes::<16>()).unwrap();
    let key = KeyPair::generate().unwrap();
    let point: &[u8; 65] = key.der_bytes().try_into().unwrap();
    let spiffe_id = authority.config.device_spiffe_id(&id);
    let ca = authority.keys.device_ca.issuer(authority.now());
    let lifetime = Duration::from_secs(3600);
    let certificate = ca.issue_device(point, &spiffe_id, authority.now(), lifetime).unwrap();
    Machine { id, certificate, key }
}

async fn enrol(authority: &Authority, machine: &Machine, operator: &str) {
    let now = authority.now();
    let mut row = rows::device(signet_authority::random::bytes::<1>()[0]);
    row.id = machine.id.clone();
    row.operator = operator.into();
    row.ek_digest = signet_authority::random::bytes();
    row.tls_key = P256PublicKey::from_uncompressed_point(machine.key.der_bytes()).unwrap();
    row.enrolled_at = now;
    rows::enrol(authority.store.as_ref(), row, UnixTime(now.0 + 900)).await;
}

async fn authority(folder: &Path) -> Arc<Authority> {
    let config = configuration(folder, None).await;
    Authority::start(config, system_clock()).await.unwrap()
}

/// What `init` lays down, with one gateway.
pub(crate) async fn configuration(folder: &Path, database: Option<&str>) -> Config {
    let now = system_clock()();
    for name in ["ek-roots", "policies", "machine-policies"] {
        std::fs::create_dir(folder.join(name)).unwrap();
    }
    for (name, text) in EXAMPLE {
        std::fs::write(folder.join("policies").join(name), text).unwrap();
    }
    keys::create(&folder.join("keys"), now).unwrap();
    let any_port = |text: &str| text.to_owned().parse().unwrap();
    let mut settings = render_template(
        any_port("127.0.0.1:0"),
        any_port("127.0.0.1:0"),
        &"https://localhost".to_owned().try_into().unwrap(),
        &"mesh.example".to_owned().try_into().unwrap(),
        &"presence.mesh.example".to_owned().try_into().unwrap(),
    );
    // Several nodes may share this folder, and a journal has one.
    settings = settings.replace("\njournal = ", "\n# journal = ");
    if let Some(database) = database {
        settings = settings.replace("\"authority.db\"", &format!("\"{database}\""));
    }
    let gateway = "\n[[gateways]]\nspiffe_id = \"spiffe://mesh.example/gateway/edge\"\npeer_certificate = \"sha256-header\"\n";
    let file = folder.join("authority.toml");
    std::fs::write(&file, settings + gateway).unwrap();
    let config = Config::load(&file).unwrap();
    let integrity = keys::load_integrity(&config.keys()).unwrap();
    SqlStore::create(config.database(), integrity).await.unwrap().close().await;
    config
}

pub(crate) async fn last_audit(authority: &Authority) -> AuditRecord {
    authority.journal.settled().await;
    authority.store.audit_after(0, 10_000).await.unwrap().pop().unwrap()
}
