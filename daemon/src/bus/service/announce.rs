//! What everybody on the bus is told.

use tokio::sync::watch;
use zbus::object_server::SignalEmitter;

use super::Service;
use crate::authenticator::PluggedKeys;
use crate::sessions::Sessions;

impl Service {
    /// Tells of all that an enrolment changes.
    pub(super) async fn announce(&self, emitter: &SignalEmitter<'_>) -> zbus::Result<()> {
        self.enrolled_changed(emitter).await?;
        self.device_id_changed(emitter).await?;
        self.operator_changed(emitter).await?;
        self.authority_changed(emitter).await?;
        self.audience_changed(emitter).await?;
        self.rp_id_changed(emitter).await?;
        self.device_certificates_changed(emitter).await?;
        self.authority_certificates_changed(emitter).await
    }
}

/// Tells everybody of keys that are plugged in and pulled out, as long as the bus lets us.
pub(in crate::bus) async fn announce_keys(
    emitter: &SignalEmitter<'_>,
    mut changes: watch::Receiver<PluggedKeys>,
    sessions: &Sessions,
) -> zbus::Result<()> {
    let mut known = changes.borrow_and_update().clone();
    while changes.changed().await.is_ok() {
        let now = changes.borrow_and_update().clone();
        // A key that was pulled out and is back has another time.
        for (path, _) in known.iter().filter(|(path, since)| now.get(*path) != Some(*since)) {
            sessions.unplugged(path);
            Service::authenticator_removed(emitter, &path.to_string_lossy()).await?;
        }
        for (path, _) in now.iter().filter(|(path, since)| known.get(*path) != Some(*since)) {
            sessions.plugged();
            Service::authenticator_added(emitter, &path.to_string_lossy()).await?;
        }
        known = now;
    }
    Ok(())
}

/// Tells that somebody's sessions changed, not whose.
pub(in crate::bus) async fn announce_sessions(
    emitter: &SignalEmitter<'_>,
    sessions: &Sessions,
) -> zbus::Result<()> {
    let mut changes = sessions.changes();
    while changes.changed().await.is_ok() {
        Service::sessions_changed(emitter).await?;
    }
    Ok(())
}
