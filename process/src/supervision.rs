//! What the service manager is told (sd_notify(3)). Without one, nobody hears it.

use std::time::Duration;

use sd_notify::{NotifyState, notify};

/// Requests are served.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is being read again; [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        // Since systemd 253 it wants to know when this began.
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// No request is served any more.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says twice in the watchdog's time that the event loop turns; without a watchdog, never. Does not
/// end.
pub async fn stay_alive() {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| *limit > Duration::ZERO) else {
        return std::future::pending().await;
    };
    loop {
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep(limit / 2).await;
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = notify(state) {
        tracing::debug!(%error, "cannot tell the service manager");
    }
}
