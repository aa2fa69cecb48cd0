//! The whole house on temporary directories and free loopback ports: a workstation (software TPM,
//! software key, private bus, `signetd`, the `signet` command), the authority, Envoy and an
//! upstream. Every part is the real program; all of them die with the value.

mod authority;
mod mesh;
mod station;

use std::io;
use std::path::{Path, PathBuf};

use signet_test_authenticators::{AttestationRoot, Firmware, KeyError};
use tempfile::TempDir;

pub use authority::{Audited, AuthorityService, GatewayFiles};
pub use mesh::MeshCertificates;
pub use station::{FINGER, PIN, Pending, Ran, Station};

use crate::bus::BusError;
use crate::gateway::{Gateway, GatewayError, GatewaySettings, profile};
use crate::signetd::SignetdError;
use crate::swtpm::SwtpmError;
use crate::upstream::Upstream;

/// Trust domain of the house.
pub const TRUST_DOMAIN: &str = "mesh.example";
/// The gateway's name.
pub const GATEWAY: &str = "edge";

/// Why the house, or one of its parts, did not come up or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum HouseError {
    /// A program of the workspace was not built.
    #[error("{} is missing: run `cargo build --workspace --bins`", .0.display())]
    NotBuilt(PathBuf),
    /// Files, pipes or processes.
    #[error("i/o with a part of the house failed")]
    Io(#[from] io::Error),
    /// The authority ended before it was ready, or one of its commands failed.
    #[error("signet-authority {command} failed:\n{log}")]
    Authority {
        /// Which command.
        command: String,
        /// What it printed.
        log: String,
    },
    /// It printed something else than was promised.
    #[error("signet-authority {command} printed something unexpected:\n{text}")]
    Answer {
        /// Which command.
        command: String,
        /// What it printed.
        text: String,
    },
    /// The message bus.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The TPM.
    #[error(transparent)]
    Tpm(#[from] SwtpmError),
    /// The security key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The security key did not take its PIN.
    #[error("the software key did not take its PIN")]
    Pin(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The daemon.
    #[error(transparent)]
    Signetd(#[from] SignetdError),
    /// The gateway.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// Certificates of the house's own making.
    #[error("a certificate could not be made")]
    Certificate(#[from] rcgen::Error),
    /// A part was started on a thread that ended.
    #[error("a part could not be started")]
    Thread(#[from] tokio::task::JoinError),
}

/// The running house.
pub struct House {
    /// The authority.
    pub authority: AuthorityService,
    /// Alice's workstation; not enrolled yet.
    pub alice: Station,
    /// The gateway.
    pub envoy: Gateway,
    /// What stands behind the gateway.
    pub upstream: Upstream,
    /// Certificates of the gateway's front.
    pub mesh: MeshCertificates,
    attestation: AttestationRoot,
    _folder: TempDir,
}

impl House {
    /// Starts everything, and returns when every part answers.
    ///
    /// # Errors
    /// See [`HouseError`].
    pub async fn start() -> Result<Self, HouseError> {
        let folder = tempfile::Builder::new().prefix("signet-house-").tempdir()?;
        let attestation = AttestationRoot::generate()?;
        let alice = Station::start(&attestation).await?;
        let root = folder.path().to_owned();
        let ek_roots = alice.tpm.ca_certificates();
        let key_root = attestation.certificate_pem();
        let (authority, mesh, envoy, upstream) = blocking(move || {
            let upstream = Upstream::start()?;
            let mut authority = AuthorityService::init(&root.join("authority"), "alice")?;
            authority.accept_tpms(&[&ek_roots.root, &ek_roots.intermediate])?;
            authority.accept_keys(&key_root, Firmware::OpenSk.aaguid())?;
            let gateway = authority.admit_gateway(GATEWAY, &root.join("gateway"))?;
            authority.serve()?;
            let mesh = MeshCertificates::make(&root.join("mesh"))?;
            let settings = GatewaySettings {
                listen_certificate: mesh.certificate.clone(),
                listen_key: mesh.key.clone(),
                device_ca: authority.device_ca(),
                trust_domain: TRUST_DOMAIN.into(),
                authority: authority.gateway_address(),
                authority_name: "localhost".into(),
                authority_ca: authority.server_ca(),
                gateway_certificate: gateway.certificate,
                gateway_key: gateway.key,
                upstream: upstream.address(),
                issuer: authority.url(),
                audience: TRUST_DOMAIN.into(),
                token_key: PathBuf::new(),
            };
            let envoy = Gateway::start(&profile::ENVOY_FINGERPRINT_HEADER, &settings)?;
            Ok((authority, mesh, envoy, upstream))
        })
        .await?;
        Ok(Self { authority, alice, envoy, upstream, mesh, attestation, _folder: folder })
    }

    /// Another workstation of the same make, not enrolled yet.
    ///
    /// # Errors
    /// See [`HouseError`].
    pub async fn another_station(&self) -> Result<Station, HouseError> {
        Station::start(&self.attestation).await
    }

    /// A URL of the gateway.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.envoy.address().port())
    }

    /// Enrols `station` with `ticket`, by the `signet` command.
    ///
    /// # Errors
    /// See [`HouseError`].
    pub async fn enrol(&self, station: &Station, ticket: &str) -> Result<Ran, HouseError> {
        let (url, ca) = (self.authority.url(), self.authority.server_ca());
        let ca = ca.display().to_string();
        let arguments = ["--json", "enrol", "--authority", &url, "--ca", &ca, "--ticket-file", "-"];
        station.signet_given(&arguments, ticket.as_bytes()).await
    }

    /// `signet request` to the gateway with its CA, in JSON.
    ///
    /// # Errors
    /// See [`HouseError`].
    pub async fn request(
        &self,
        station: &Station,
        method: &str,
        path: &str,
        more: &[&str],
    ) -> Result<Ran, HouseError> {
        let (url, ca) = (self.url(path), self.mesh.ca.display().to_string());
        let mut arguments = vec!["--json", "request", method, &url, "--cacert", &ca];
        arguments.extend(more);
        station.signet(&arguments).await
    }
}

/// Runs what waits for a process where it holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HouseError> + Send + 'static,
) -> Result<T, HouseError> {
    tokio::task::spawn_blocking(work).await?
}

/// A program of the workspace: beside the running program, or one folder up when that is a test.
///
/// # Errors
/// [`HouseError::NotBuilt`].
pub fn program(name: &str) -> Result<PathBuf, HouseError> {
    let here = std::env::current_exe()?;
    let beside = |folder: &Path| folder.join(name);
    let mut places = here.ancestors().skip(1).take(2).map(beside);
    places
        .find(|path| path.is_file())
        .ok_or_else(|| HouseError::NotBuilt(here.with_file_name(name)))
}
