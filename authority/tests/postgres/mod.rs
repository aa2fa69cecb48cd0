//! A PostgreSQL server of the test's own: Debian's, as an unprivileged user, in a temporary directory.
//! It ends with the test, also with one that is killed.
#![allow(dead_code)] // each suite uses its part

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use signet_authority::random;
use signet_authority::store::Server;
use signet_evidence::thumbprint::hex;
use sqlx::{Connection, PgConnection};

pub(crate) struct Cluster {
    folder: PathBuf,
    data: PathBuf,
    settings: String,
    port: u16,
    /// The network namespace that it runs in.
    namespace: Option<String>,
    user: Option<(u32, u32)>,
    /// Holds the server's life: when our end of its standard input closes, it kills the server.
    keeper: Option<Child>,
}

/// Where a server listens besides its Unix socket; there it answers over TLS only.
pub(crate) struct Network<'a> {
    pub(crate) address: &'a str,
    pub(crate) port: u16,
    /// PEM.
    pub(crate) certificate: &'a str,
    /// PEM.
    pub(crate) key: &'a str,
    pub(crate) namespace: Option<&'a str>,
}

/// One server for all tests of a program.
pub(crate) fn shared() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(|| Cluster::start(""))
}

impl Cluster {
    /// With these lines in `postgresql.conf`, on a Unix socket only unless they say otherwise.
    pub(crate) fn start(settings: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("signet-pg-{}", hex(&random::bytes::<6>())));
        Self::start_in(folder, None, settings, None)
    }

    /// On a network.
    pub(crate) fn start_over(network: &Network<'_>) -> Self {
        let folder = std::env::temp_dir().join(format!("signet-pg-{}", hex(&random::bytes::<6>())));
        let Network { address, port, .. } = network;
        let settings = format!(
            "listen_addresses = '{address}'\nport = {port}\nssl = on\n\
             ssl_cert_file = '{0}/server.pem'\nssl_key_file = '{0}/server.key'",
            folder.display()
        );
        Self::start_in(folder, None, &settings, Some(network))
    }

    /// With its tables in `data` (and its log of writes elsewhere, since a server cannot go on without).
    pub(crate) fn start_on(data: &Path) -> Self {
        let folder = std::env::temp_dir().join(format!("signet-pg-{}", hex(&random::bytes::<6>())));
        Self::start_in(folder, Some(data.to_owned()), "", None)
    }

    fn start_in(
        folder: PathBuf,
        data: Option<PathBuf>,
        settings: &str,
        network: Option<&Network<'_>>,
    ) -> Self {
        let user = unprivileged();
        for folder in [Some(&folder), data.as_ref()].into_iter().flatten() {
            fs::create_dir_all(folder).unwrap();
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
            if let Some((uid, gid)) = user {
                chown(folder, Some(uid), Some(gid)).unwrap();
            }
        }
        let data = data.unwrap_or_else(|| folder.join("data"));
        let mut cluster = Self {
            folder,
            data,
            settings: settings.into(),
            port: network.map_or(5432, |network| network.port),
            namespace: network.and_then(|network| network.namespace).map(str::to_owned),
            user,
            keeper: None,
        };
        let made = cluster
            .program("initdb")
            .args(["--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "-U", "signet"])
            .arg("-D")
            .arg(&cluster.data)
            .arg("--waldir")
            .arg(cluster.folder.join("wal"))
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        cluster.configure();
        if let Some(network) = network {
            cluster.demand_tls(network);
        }
        cluster.resume();
        cluster
    }

    fn configure(&self) {
        let mut file =
            fs::OpenOptions::new().append(true).open(self.data.join("postgresql.conf")).unwrap();
        let folder = self.folder.display();
        write!(
            file,
            "listen_addresses = ''\nunix_socket_directories = '{folder}'\nmax_connections = 200\n\
             shared_buffers = 16MB\n{}\n",
            self.settings
        )
        .unwrap();
    }

    fn demand_tls(&self, network: &Network<'_>) {
        for (name, text) in [("server.pem", network.certificate), ("server.key", network.key)] {
            let file = self.folder.join(name);
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            let _ = self.user.map(|(uid, gid)| chown(&file, Some(uid), Some(gid)).unwrap());
        }
        let rules = "local all all trust\nhostssl all all 0.0.0.0/0 trust\n";
        fs::write(self.data.join("pg_hba.conf"), rules).unwrap();
    }

    /// Starts the server again, and waits until it answers.
    pub(crate) fn resume(&mut self) {
        // A server that every test shares is never dropped, so its keeper clears up; one that is to
        // come back leaves the file `keep`.
        let script = "\"$@\" & server=$!; cat > /dev/null; kill -QUIT $server; wait $server
            rm keep 2> /dev/null || rm -rf \"$PWD\"";
        let mut keeper = self.keeper_shell();
        keeper
            .args(["-c", script, "sh"])
            .arg(binaries().join("postgres"))
            .arg("-D")
            .arg(&self.data);
        let log = fs::File::create(self.folder.join("log")).unwrap();
        keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        self.keeper = Some(keeper.process_group(0).spawn().unwrap());
        self.wait_until_ready();
    }

    fn keeper_shell(&self) -> Command {
        let Some(namespace) = &self.namespace else { return self.command("sh") };
        // Only root enters a namespace, and the server does not run as root.
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).current_dir(&self.folder);
        if let Some((uid, gid)) = self.user {
            let (uid, gid) = (uid.to_string(), gid.to_string());
            command.args(["setpriv", "--reuid", &uid, "--regid", &gid, "--clear-groups"]);
        }
        command.arg("sh");
        command
    }

    fn wait_until_ready(&self) {
        let start = Instant::now();
        loop {
            let mut ready = self.program("pg_isready");
            ready.arg("-q").arg("-h").arg(&self.folder).args(["-p", &self.port.to_string()]);
            if ready.status().unwrap().success() {
                return;
            }
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(start.elapsed() < Duration::from_secs(120), "PostgreSQL does not start: {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends the server as a crash does.
    pub(crate) fn kill(&mut self) {
        let pid = fs::read_to_string(self.data.join("postmaster.pid")).unwrap();
        let pid = pid.lines().next().unwrap().trim().to_owned();
        // Its children end with it.
        assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
        self.stop();
        // The postmaster's children may still hold the memory that it left.
        let gone = || !PathBuf::from(format!("/proc/{pid}")).exists();
        while !gone() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn stop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            fs::write(self.folder.join("keep"), "").unwrap();
            let _ = self.user.map(|(uid, _)| chown(self.folder.join("keep"), Some(uid), None));
            drop(keeper.stdin.take());
            let _ = keeper.wait();
        }
    }

    /// The URL of a new database.
    pub(crate) async fn database(&self) -> String {
        let name = format!("d{}", hex(&random::bytes::<8>()));
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::query(create).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        self.url(&name)
    }

    /// Runs one of its own client programs, as its administrator.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = self.program(program);
        let port = self.port.to_string();
        command.arg("-h").arg(&self.folder).args(["-p", &port, "-U", "signet"]).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub(crate) fn url(&self, database: &str) -> String {
        let (port, folder) = (self.port, self.folder.display());
        format!("postgres://signet@localhost:{port}/{database}?host={folder}")
    }

    /// The URL of a new database by way of the network, with its TLS checked against this CA.
    pub(crate) async fn database_over(&self, host: &str, ca: &Path) -> String {
        let url = self.database().await;
        let database = url.split('?').next().unwrap().rsplit('/').next().unwrap();
        let (port, ca) = (self.port, ca.display());
        format!("postgres://signet@{host}:{port}/{database}?sslmode=verify-full&sslrootcert={ca}")
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn program(&self, name: &str) -> Command {
        self.command(binaries().join(name).to_str().unwrap())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).env_remove("PGPASSFILE");
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The server behind a URL, as the settings would name it.
pub(crate) fn server(url: &str) -> Server {
    Server::parse(url).unwrap()
}

/// Debian keeps the programs of each version apart; the newest is taken.
fn binaries() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("install the package postgresql");
    let mut versions: Vec<u32> =
        versions.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    versions.sort_unstable();
    PathBuf::from(format!("/usr/lib/postgresql/{}/bin", versions.last().unwrap()))
}

/// Whom the server runs as where the test is root, which initdb refuses.
fn unprivileged() -> Option<(u32, u32)> {
    let here = fs::metadata("/proc/self").unwrap();
    if std::os::unix::fs::MetadataExt::uid(&here) != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let of = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2).map(|number| number.parse().ok());
        Some((numbers.next()??, numbers.next()??))
    };
    of("postgres").or_else(|| of("nobody"))
}

/// So that the directory can be looked into by the server's user and by nobody else.
pub(crate) fn open_to(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
}
