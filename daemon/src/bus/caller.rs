//! Who calls, as the system knows them.

use nix::unistd::{Uid, User};
use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::names::{BusName, UniqueName};

use crate::failure::{Bug, Failure};

/// Name of the Unix user behind a connection to the bus.
///
/// # Errors
/// [`Failure::NotAllowed`] when the user has no name, or the connection is gone.
pub(super) async fn unix_user(
    connection: &Connection,
    caller: &UniqueName<'_>,
) -> Result<String, Failure> {
    let asked = async {
        let bus = DBusProxy::new(connection).await?;
        bus.get_connection_unix_user(BusName::from(caller.to_owned())).await.map_err(Into::into)
    };
    let uid = asked.await.map_err(|_: zbus::Error| Failure::NotAllowed)?;
    // The name service may ask a server.
    let user = tokio::task::spawn_blocking(move || User::from_uid(Uid::from_raw(uid))).await;
    let user = user.map_err(|_| Failure::Internal(Bug::TaskLost))?;
    user.ok().flatten().map(|user| user.name).ok_or(Failure::NotAllowed)
}
