//! `org.signet.Presence1` on D-Bus. `dbus/org.signet.Presence1.xml` is the interface's source.

pub(crate) mod agent;
mod arguments;
mod caller;
mod door;
#[cfg(debug_assertions)]
#[doc(hidden)]
pub mod fuzzing;
mod keys;
mod machine;
mod pin;
mod refusal;
mod request;
mod service;
mod standing;

use futures_util::StreamExt;
use zbus::connection;
use zbus::fdo::{DBusProxy, RequestNameFlags};
use zbus::object_server::SignalEmitter;

use crate::ceremony::CallerId;
use crate::config::Bus;
use crate::desk::Desk;
use crate::logind;

pub use agent::{Abilities, Agents};
pub use caller::Caller;
pub use service::{Parts, Service};

/// Well-known name, and prefix of the object's path.
pub const NAME: &str = "org.signet.Presence1";
/// The object's path.
pub const PATH: &str = "/org/signet/Presence1";

/// The bus cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// No connection.
    #[error(
        "cannot connect to the bus: check that it runs and the `bus` value of the configuration"
    )]
    Connect(#[source] zbus::Error),
    /// The name is taken or not allowed.
    #[error(
        "cannot own {NAME}: stop the other signetd, or install the bus policy org.signet.Presence1.conf"
    )]
    Name(#[source] zbus::Error),
    /// Watching for callers that leave failed.
    #[error("cannot watch the bus")]
    Watch(#[source] zbus::Error),
    /// The connection ended.
    #[error("the bus closed the connection: start signetd again when the bus runs")]
    Closed,
}

/// Serves the interface until the bus closes the connection; `ready` is called when callers can
/// find us.
///
/// # Errors
/// See [`BusError`].
pub async fn serve(
    bus: &Bus,
    service: Service,
    desk: Desk,
    ready: impl FnOnce(),
) -> Result<(), BusError> {
    let builder = match bus {
        Bus::System => connection::Builder::system(),
        Bus::Address(address) => connection::Builder::address(address.as_str()),
    };
    let changes = service.key_changes();
    let agents = desk.agents().clone();
    let door = service.departures();
    let sessions = service.sessions();
    let connection = builder.serve_at(PATH, service).build().await.map_err(BusError::Connect)?;
    agents.on(&connection);
    let bus = DBusProxy::new(&connection).await.map_err(BusError::Watch)?;
    // An empty third argument: a name that has no owner any more.
    let mut vanished =
        bus.receive_name_owner_changed_with_args(&[(2, "")]).await.map_err(BusError::Watch)?;
    // Nor wait in line for it: two daemons on one TPM would serve nobody well.
    let alone = RequestNameFlags::DO_NOT_QUEUE;
    connection.request_name_with_flags(NAME, alone).await.map_err(BusError::Name)?;
    ready();
    let callers = async {
        while let Some(signal) = vanished.next().await {
            if let Ok(arguments) = signal.args() {
                let caller = CallerId::new(arguments.name().as_str());
                agents.forget(&caller);
                door.caller_gone(&caller);
                desk.caller_gone(&caller);
            }
        }
    };
    let emitter = SignalEmitter::new(&connection, PATH).map_err(BusError::Watch)?.into_owned();
    let keys = async {
        if let Err(error) = service::announce_keys(&emitter, changes, &sessions).await {
            tracing::warn!(%error, "cannot tell of security keys");
        }
        std::future::pending().await
    };
    let standing = async {
        if let Err(error) = service::announce_sessions(&emitter, &sessions).await {
            tracing::warn!(%error, "cannot tell of sessions");
        }
        std::future::pending().await
    };
    let logins = async {
        if let Err(error) = logind::follow(&connection, &sessions).await {
            tracing::warn!(%error, "cannot follow logind");
        }
        std::future::pending().await
    };
    tokio::select! {
        () = callers => Err(BusError::Closed),
        () = keys => Err(BusError::Closed),
        () = standing => Err(BusError::Closed),
        () = logins => Err(BusError::Closed),
    }
}
