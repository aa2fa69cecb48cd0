//! Handshake signatures by the TPM, through `signetd`.

use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::mpsc as jobs;

use super::remote_key::{HandshakeSignError, HandshakeSigner};
use crate::daemon::{Bus, Daemon, DaemonError};

/// Longest wait for one signature. A TPM may be busy with another caller's quote.
const LIMIT: Duration = Duration::from_secs(30);

/// Asks `signetd` to sign, on a thread and a bus connection of its own: a handshake may then wait
/// for it inside any async runtime without waiting for itself.
#[derive(Debug)]
pub struct DaemonSigner {
    jobs: jobs::UnboundedSender<Job>,
}

#[derive(Debug)]
struct Job {
    message: Vec<u8>,
    reply: mpsc::SyncSender<Result<Vec<u8>, DaemonError>>,
}

impl DaemonSigner {
    /// Starts the thread; it connects when the first signature is asked for, and again when the
    /// connection was lost.
    ///
    /// # Errors
    /// [`HandshakeSignError::Start`].
    pub fn start(bus: Bus) -> Result<Self, HandshakeSignError> {
        let (sender, receiver) = jobs::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(HandshakeSignError::Start)?;
        std::thread::Builder::new()
            .name("signet-tls".into())
            .spawn(move || runtime.block_on(serve(&bus, receiver)))
            .map_err(HandshakeSignError::Start)?;
        Ok(Self { jobs: sender })
    }
}

impl HandshakeSigner for DaemonSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, HandshakeSignError> {
        let (reply, answer) = mpsc::sync_channel(1);
        let job = Job { message: message.to_vec(), reply };
        self.jobs.send(job).map_err(|_| HandshakeSignError::Stopped)?;
        match answer.recv_timeout(LIMIT) {
            Ok(signature) => Ok(signature?),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(HandshakeSignError::TimedOut(LIMIT)),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(HandshakeSignError::Stopped),
        }
    }
}

async fn serve(bus: &Bus, mut jobs: jobs::UnboundedReceiver<Job>) {
    let mut daemon = None;
    while let Some(Job { message, reply }) = jobs.recv().await {
        let answer = sign(bus, &mut daemon, &message).await;
        if !matches!(answer, Ok(_) | Err(DaemonError::Refused { .. })) {
            daemon = None;
        }
        // The handshake may have been given up; then nobody wants the answer.
        let _ = reply.send(answer);
    }
}

async fn sign(
    bus: &Bus,
    daemon: &mut Option<Daemon>,
    message: &[u8],
) -> Result<Vec<u8>, DaemonError> {
    let connected = match daemon.take() {
        Some(connected) => connected,
        None => Daemon::connect(bus).await?,
    };
    daemon.insert(connected).sign_tls(message).await
}
