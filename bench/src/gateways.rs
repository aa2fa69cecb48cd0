//! The authority behind real gateways: what it adds to Envoy, and what nginx gets done with it and with
//! verifiers as people write them.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use signet_tests::gateway::{Gateway, GatewaySettings, Product, Profile, profile};
use signet_tests::house::MeshCertificates;
use signet_tests::upstream::Upstream;

use crate::load::{Load, Way, cpu_of_answers};
use crate::stage::{AUDIENCE, Stage};
use crate::{Bench, Contest, Effort, Failure, NotHere, Programs, Unit};

const CONNECTIONS: usize = 16;
/// Far above what a start takes on a busy machine.
const START: Duration = Duration::from_secs(60);

/// HTTP ext_authz.
pub const ENVOY_HTTP: Bench = Bench {
    name: "envoy-http",
    about: "CPU time of 1,000 questions of Envoy (HTTP ext_authz, mTLS), token seen: the authority, and a constant yes",
    bar: 1.3,
    rounds: 7,
    unit: Unit::Time,
    prepare: |programs, effort| {
        Ok(Box::new(Envoy::prepare(programs, effort, "envoy-fingerprint-header", "sha256-header")?))
    },
};

/// gRPC ext_authz.
pub const ENVOY_GRPC: Bench = Bench {
    name: "envoy-grpc",
    about: "CPU time of 1,000 questions of Envoy (gRPC ext_authz, mTLS), token seen: the authority, and a constant yes",
    bar: 1.3,
    rounds: 7,
    unit: Unit::Time,
    prepare: |programs, effort| {
        Ok(Box::new(Envoy::prepare(programs, effort, "envoy-grpc", "attributes")?))
    },
};

/// uvicorn with PyJWT.
pub const NGINX_PYTHON: Bench = Bench {
    name: "nginx-python",
    about: "time of 2,000 requests through nginx auth_request, token seen: the authority, and uvicorn with PyJWT (7 x)",
    bar: 1.0 / 7.0,
    rounds: 7,
    unit: Unit::Time,
    prepare: |programs, effort| Ok(Box::new(Nginx::prepare(programs, effort, Peer::Python)?)),
};

/// Node with jose.
pub const NGINX_NODE: Bench = Bench {
    name: "nginx-node",
    about: "time of 2,000 requests through nginx auth_request, token seen: the authority, and Node with jose (5 x)",
    bar: 1.0 / 5.0,
    rounds: 7,
    unit: Unit::Time,
    prepare: |programs, effort| Ok(Box::new(Nginx::prepare(programs, effort, Peer::Node)?)),
};

struct Envoy {
    stage: Stage,
    ours: Gateway,
    base: Gateway,
    client: Arc<ClientConfig>,
    total: usize,
    _upstream: Upstream,
}

impl Envoy {
    fn prepare(
        programs: &Programs,
        effort: Effort,
        name: &str,
        source: &str,
    ) -> Result<Self, Failure> {
        let stage = Stage::set(programs, source)?;
        let upstream = Upstream::start()?;
        let mesh = MeshCertificates::make(&stage.folder().join("mesh"))?;
        let profile = profile::named(name).ok_or("no such profile")?;
        let to = |authority| GatewaySettings {
            upstream: upstream.address(),
            ..settings(&stage, &mesh, authority)
        };
        let ours = Gateway::start(&profile, &to(stage.authority.gateway_address()))?;
        let base = Gateway::start(&profile, &to(stage.constant_address()))?;
        let client = Arc::new(client(&stage, &mesh)?);
        Ok(Self { stage, ours, base, client, total: effort.of(32, 1000), _upstream: upstream })
    }

    fn cpu(&self, gateway: &Gateway, pid: u32) -> Result<Duration, Failure> {
        let token = self.stage.sign(&self.stage.session()?)?;
        let request = self.stage.request("", &token);
        let way = Way::Tls(gateway.address(), self.client.clone());
        let requests = [request];
        // A gateway that listens may still be connecting to whom it asks.
        let deadline = Instant::now() + START;
        while let Err(error) = Load::open(&way, 1, &requests[0]) {
            if Instant::now() > deadline {
                return Err(error);
            }
            thread::sleep(Duration::from_millis(20));
        }
        cpu_of_answers(pid, &way, &requests, &requests[0], self.total, CONNECTIONS)
    }
}

impl Contest for Envoy {
    fn base(&mut self) -> Result<Duration, Failure> {
        self.cpu(&self.base, self.stage.constant().0)
    }

    fn ours(&mut self) -> Result<Duration, Failure> {
        self.cpu(&self.ours, self.stage.ours()?.0)
    }
}

fn settings(
    stage: &Stage,
    mesh: &MeshCertificates,
    authority: std::net::SocketAddr,
) -> GatewaySettings {
    GatewaySettings {
        listen_certificate: mesh.certificate.clone(),
        listen_key: mesh.key.clone(),
        device_ca: stage.authority.device_ca(),
        trust_domain: AUDIENCE.into(),
        authority,
        authority_name: "localhost".into(),
        authority_ca: stage.authority.server_ca(),
        gateway_certificate: stage.gateway.certificate.clone(),
        gateway_key: stage.gateway.key.clone(),
        upstream: authority,
        issuer: stage.authority.url(),
        audience: AUDIENCE.into(),
        token_key: PathBuf::new(),
    }
}

/// TLS as the machine's client does it.
fn client(stage: &Stage, mesh: &MeshCertificates) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&mesh.ca)?)?;
    let certificate = CertificateDer::from_pem_slice(stage.machine.certificate.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(stage.machine.key.as_bytes())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)?)
}

#[derive(Clone, Copy)]
enum Peer {
    Python,
    Node,
}

impl Peer {
    fn command(self) -> Result<Command, NotHere> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let script = |name: &str| root.join("peers").join(name);
        match self {
            Self::Python => {
                let python = root.join("../.venv/bin/python");
                let installed = Command::new(&python).args(["-c", "import jwt, uvicorn"]).output();
                if !installed.is_ok_and(|output| output.status.success()) {
                    return Err(NotHere("uvicorn and PyJWT; make setup installs them"));
                }
                let mut command = Command::new(python);
                command.arg(script("verify.py"));
                Ok(command)
            }
            Self::Node => {
                let jose = root.join("../target/peers/node_modules/jose/dist/webapi/index.js");
                let node = Command::new("node").arg("--version").output();
                if !(jose.is_file() && node.is_ok_and(|output| output.status.success())) {
                    return Err(NotHere("Node and jose; make bench installs jose where npm is"));
                }
                let mut command = Command::new("node");
                command.arg(script("verify.mjs"));
                Ok(command)
            }
        }
    }

    /// Whatever a peer needs after the others' arguments.
    fn last(self) -> Option<PathBuf> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let jose = "../target/peers/node_modules/jose/dist/webapi/index.js";
        matches!(self, Self::Node).then(|| root.join(jose))
    }
}

/// Ends with it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Nginx {
    stage: Stage,
    ours: Gateway,
    base: Gateway,
    total: usize,
    _peer: Running,
}

impl Nginx {
    fn prepare(programs: &Programs, effort: Effort, peer: Peer) -> Result<Self, Failure> {
        let mut command = peer.command()?;
        let stage = Stage::set(programs, "sha256-header")?;
        let (socket, key) = (stage.folder().join("peer.sock"), stage.folder().join("token.pem"));
        fs::write(&key, stage.token_key_pem())?;
        command.arg(&socket).arg(&key).arg(stage.authority.url()).arg(AUDIENCE).args(peer.last());
        let running = Running(command.stdin(Stdio::null()).spawn()?);
        let deadline = Instant::now() + START;
        while UnixStream::connect(&socket).is_err() {
            if Instant::now() > deadline {
                return Err("the peer did not start".into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        let ours = nginx(&stage, &stage.socket())?;
        let base = nginx(&stage, &socket)?;
        Ok(Self { stage, ours, base, total: effort.of(32, 2000), _peer: running })
    }

    fn time(&self, gateway: &Gateway) -> Result<Duration, Failure> {
        let token = self.stage.sign(&self.stage.session()?)?;
        let request = self.stage.request("", &token);
        let way = Way::Tcp(gateway.address());
        Load::open(&way, CONNECTIONS, &request)?.send(&[request], self.total)
    }
}

impl Contest for Nginx {
    fn base(&mut self) -> Result<Duration, Failure> {
        self.time(&self.base)
    }

    fn ours(&mut self) -> Result<Duration, Failure> {
        self.time(&self.ours)
    }
}

/// nginx that asks whoever listens on this socket.
fn nginx(stage: &Stage, socket: &Path) -> Result<Gateway, Failure> {
    let profile = Profile {
        name: "bench",
        product: Product::Nginx,
        files: &[("nginx.conf", include_str!("../peers/nginx.conf")), ("ok", "ok\n")],
        authority: None,
        bodies: false,
        no_bodies: false,
        step_up: false,
    };
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let settings = GatewaySettings {
        listen_certificate: stage.gateway.certificate.clone(),
        listen_key: stage.gateway.key.clone(),
        device_ca: stage.authority.device_ca(),
        trust_domain: AUDIENCE.into(),
        authority: nowhere,
        authority_name: format!("unix:{}", socket.display()),
        authority_ca: stage.authority.server_ca(),
        gateway_certificate: stage.gateway.certificate.clone(),
        gateway_key: stage.gateway.key.clone(),
        upstream: nowhere,
        issuer: stage.authority.url(),
        audience: stage.machine.thumbprint.to_hex(),
        token_key: PathBuf::new(),
    };
    Ok(Gateway::start(&profile, &settings)?)
}
