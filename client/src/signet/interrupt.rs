//! Ctrl-C and SIGTERM: a ceremony is cancelled at `signetd`, an agent leaves, everything else just ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long a ceremony, an agent or the proxy may take to end.
const GRACE: Duration = Duration::from_secs(12);

/// Told when the person wants to stop.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    times: watch::Receiver<u32>,
    ends_by_itself: Arc<AtomicBool>,
}

impl Interrupt {
    /// Listens from now on.
    pub(crate) fn listen() -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (sender, times) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(()) = interrupt.recv() => {}
                    Some(()) = terminate.recv() => {}
                    else => return,
                }
                sender.send_modify(|times| *times += 1);
            }
        });
        Ok(Self { times, ends_by_itself: Arc::new(AtomicBool::new(false)) })
    }

    /// Resolves at the first signal, for what ends by itself then; from now on a signal leaves it time to.
    pub(crate) async fn asked(&self) {
        self.ends_by_itself.store(true, Ordering::Relaxed);
        self.signalled(1).await;
    }

    /// Resolves when it is time to end whatever is going on.
    pub(crate) async fn given_up(&self) {
        self.signalled(1).await;
        if self.ends_by_itself.load(Ordering::Relaxed) {
            // A second signal ends at once.
            let _ = tokio::time::timeout(GRACE, self.signalled(2)).await;
        }
    }

    async fn signalled(&self, times: u32) {
        let mut receiver = self.times.clone();
        if receiver.wait_for(|found| *found >= times).await.is_err() {
            std::future::pending().await
        }
    }
}
