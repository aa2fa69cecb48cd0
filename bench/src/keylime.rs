//! Evidence in, token out over HTTP, beside Keylime's one-shot `verify/evidence`: each with its own
//! verifier, mutual TLS and connections that stay.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::process::{Pid, Signal, kill_process_group};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use signet_authority::config::Config;
use signet_authority::random;
use signet_authority::state::{Authority, system_clock};
use signet_evidence::{Purpose, Statement};
use signet_tests::reserved::Reserved;
use signet_verifier::challenge::ChallengeContext;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::desk::{Desk, SecurityKey};
use crate::load::{Load, Way, answer, cpu_of};
use crate::stage::Stage;
use crate::{Bench, Contest, Effort, Failure, NotHere, Programs, Unit};

/// Each of an operator and a machine of its own.
const CONNECTIONS: usize = 8;
/// Far above what a start takes on a busy machine.
const START: Duration = Duration::from_secs(60);
const LIFE: Duration = Duration::from_secs(120);

/// A session's evidence, whose certificate chains were seen before: four signatures to verify, one to make, a
/// challenge spent, a session and its record committed. Keylime verifies one signature and keeps nothing.
pub const KEYLIME: Bench = Bench {
    name: "keylime",
    about: "CPU time of 104 sessions' evidence exchanged for tokens over HTTP, and of 104 quotes at Keylime's verify/evidence (10 x)",
    bar: 0.1,
    rounds: 7,
    unit: Unit::Time,
    prepare: |programs, effort| Ok(Box::new(Exchanges::prepare(programs, effort)?)),
};

struct Exchanges {
    keylime: Keylime,
    stage: Stage,
    /// Beside the one that is measured, over the same database: for its keys and policy.
    node: Arc<Authority>,
    machines: Vec<Machine>,
    total: usize,
    _runtime: Runtime,
}

struct Machine {
    operator: String,
    desk: Desk,
    key: SecurityKey,
    way: Way,
}

impl Exchanges {
    fn prepare(programs: &Programs, effort: Effort) -> Result<Self, Failure> {
        let python = Keylime::python()?;
        let mut stage = Stage::set(programs, "sha256-header")?;
        // What evidence costs is to be seen, not where one machine's ends.
        for limit in ["machine", "machine_tokens", "operator_tokens"] {
            stage.authority.set(limit, "\"100000000/1m\"")?;
        }
        stage.authority.serve()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let config = Config::load(&stage.authority.config())?;
        let node = runtime.block_on(Authority::start(config, system_clock()))?;
        let mut machines = Vec::new();
        for number in 0..CONNECTIONS {
            let operator = format!("operator-{number}");
            machines.push(Machine::enrolled(&runtime, &node, &stage, operator)?);
        }
        let keylime = Keylime::start(&python)?;
        let total = effort.of(CONNECTIONS, 104);
        Ok(Self { keylime, stage, node, machines, total, _runtime: runtime })
    }
}

impl Machine {
    fn enrolled(
        runtime: &Runtime,
        node: &Arc<Authority>,
        stage: &Stage,
        operator: String,
    ) -> Result<Self, Failure> {
        let (desk, key) = runtime.block_on(async {
            let desk = Desk::enrolled(node, &operator).await;
            let key = SecurityKey::enrolled(node, &desk, &operator, None).await;
            (desk, key)
        });
        let certificate = desk.peer().der().to_vec();
        let tls = PrivateKeyDer::try_from(desk.tls_key())?;
        let client = client(&stage.authority.server_ca(), certificate.into(), tls)?;
        Ok(Self { operator, desk, key, way: Way::Tls(stage.authority.address(), Arc::new(client)) })
    }

    /// An exchange of new evidence, as a client makes it after a touch.
    fn exchange(&mut self, node: &Arc<Authority>) -> Result<Vec<u8>, Failure> {
        let context = ChallengeContext {
            peer: self.desk.peer().thumbprint(),
            purpose: Purpose::Session,
            action: None,
            session: None,
        };
        let now = node.now();
        let challenge = node.keys.challenge.issue(&context, now.plus(LIFE), random::bytes());
        let statement = Statement {
            challenge,
            audience: node.appraisal.audience.clone(),
            issued_at: now,
            confirmation: self.desk.key_thumbprint(),
            device: self.desk.id.clone(),
            subject: Some(self.operator.clone()),
            scope: None,
            purpose: Purpose::Session,
            acr: None,
            action: None,
            session: None,
            host_facts: None,
        };
        let evidence = self.desk.evidence(node, &statement, Some(&self.key), true);
        let form = format!(
            "grant_type=urn:ietf:params:oauth:grant-type:token-exchange\
             &subject_token_type=urn:signet:token-type:evidence&subject_token={}",
            URL_SAFE_NO_PAD.encode(evidence)
        );
        Ok(post("/v1/token", "application/x-www-form-urlencoded", &form))
    }
}

impl Contest for Exchanges {
    fn base(&mut self) -> Result<Duration, Failure> {
        let requests = [self.keylime.request.clone()];
        let mut load = Load::open(&self.keylime.way, CONNECTIONS, &self.keylime.request)?;
        let before = self.keylime.cpu()?;
        load.send(&requests, self.total)?;
        Ok(self.keylime.cpu()?.saturating_sub(before))
    }

    fn ours(&mut self) -> Result<Duration, Failure> {
        let (pid, _) = self.stage.ours()?;
        // Evidence is never good twice, and a TPM's clock never goes back.
        let node = Arc::clone(&self.node);
        let mut round = || -> Result<Vec<Vec<u8>>, Failure> {
            self.machines.iter_mut().map(|machine| machine.exchange(&node)).collect()
        };
        let first = round()?;
        let mut requests = Vec::new();
        while requests.len() < self.total {
            requests.extend(round()?);
        }
        let ways = self.machines.iter().map(|machine| &machine.way);
        let mut load = Load::open_each(ways.zip(first.iter().map(Vec::as_slice)))?;
        let before = cpu_of(pid)?;
        load.send(&requests, self.total)?;
        Ok(cpu_of(pid)?.saturating_sub(before))
    }
}

fn post(path: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn client(
    ca: &Path,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)?)
}

/// Its verifier, with its workers; they end with it.
struct Keylime {
    child: Child,
    way: Way,
    request: Vec<u8>,
    _port: Reserved,
    _folder: TempDir,
}

impl Drop for Keylime {
    fn drop(&mut self) {
        // The workers are in its group.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

impl Keylime {
    fn python() -> Result<PathBuf, NotHere> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("../target/peers/keylime/bin/python");
        let installed = Command::new(&python).args(["-c", "import keylime.cmd, tornado"]).output();
        match installed {
            Ok(output) if output.status.success() => Ok(python),
            _ => Err(NotHere("Keylime; make bench installs it where PyPI can be reached")),
        }
    }

    fn start(python: &Path) -> Result<Self, Failure> {
        let (folder, port) = (tempfile::tempdir()?, Reserved::take()?);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/evidence.py");
        let mut child = Command::new(python)
            .arg(script)
            .arg(folder.path())
            .arg(port.address().port().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let deadline = Instant::now() + START;
        let (way, request) = loop {
            if let Ok(ready) = ready(folder.path(), port.address()) {
                break ready;
            }
            if child.try_wait()?.is_some() || Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                return Err("Keylime's verifier did not start".into());
            }
            thread::sleep(Duration::from_millis(50));
        };
        Ok(Self { child, way, request, _port: port, _folder: folder })
    }

    /// CPU time of all its processes so far.
    fn cpu(&self) -> Result<Duration, Failure> {
        let master = self.child.id();
        let mut all = cpu_of(master)?;
        for task in fs::read_dir(format!("/proc/{master}/task"))? {
            let children = fs::read_to_string(task?.path().join("children"))?;
            for child in children.split_whitespace() {
                all += cpu_of(child.parse()?)?;
            }
        }
        Ok(all)
    }
}

/// The way to it, and a request that it answers with a yes.
fn ready(folder: &Path, address: std::net::SocketAddr) -> Result<(Way, Vec<u8>), Failure> {
    let made = folder.join("cv_ca");
    let certificate = CertificateDer::from_pem_file(made.join("client-cert.crt"))?;
    let key = PrivateKeyDer::from_pem_file(made.join("client-private.pem"))?;
    let config = client(&made.join("cacert.crt"), certificate, key)?;
    let way = Way::Tls(address, Arc::new(config));
    let body = fs::read_to_string(folder.join("request.json"))?;
    let request = post("/v2.6/verify/evidence", "application/json", &body);
    let answer = String::from_utf8(answer(&way, &request)?)?;
    if answer.contains("\"valid\": true") { Ok((way, request)) } else { Err(answer.into()) }
}
