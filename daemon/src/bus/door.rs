//! The way in: every call is counted, its caller identified and polkit asked, before anything is
//! done for it.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use zbus::Connection;
use zbus::message::{Flags, Header};

use super::caller::Caller;
use crate::ceremony::{CallerId, Refused};
use crate::failure::Failure;
use crate::polkit::{Details, Interaction, Polkit, Right};

/// Calls of one connection that are being answered. A program rarely has more than a few.
const CALLS_OF_CONNECTION: usize = 16;
/// Calls of all connections of one Unix user that are being answered.
const CALLS_OF_USER: usize = 64;

/// Lets callers in. Clones are the same door.
#[derive(Clone, Debug)]
pub(super) struct Door {
    polkit: Polkit,
    /// How long a person may take to authenticate.
    interaction: Duration,
    inside: Arc<Mutex<Inside>>,
}

#[derive(Debug, Default)]
struct Inside {
    connections: HashMap<CallerId, Visitor>,
    users: HashMap<u32, usize>,
}

#[derive(Debug)]
struct Visitor {
    calls: usize,
    gone: watch::Sender<bool>,
}

/// A call that is being answered; counted until this is dropped.
#[derive(Debug)]
pub(super) struct Call {
    id: CallerId,
    gone: watch::Receiver<bool>,
    inside: Arc<Mutex<Inside>>,
}

/// A caller whom polkit lets do what it asks.
#[derive(Debug)]
pub(super) struct Admitted {
    caller: Caller,
    user: OfUser,
    call: Call,
}

/// A call that counts for its Unix user.
#[derive(Debug)]
struct OfUser {
    uid: u32,
    inside: Arc<Mutex<Inside>>,
}

impl Deref for Admitted {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl Door {
    /// A door that asks `polkit`; `interaction` is how long a person may take to authenticate.
    pub(super) fn new(polkit: Polkit, interaction: Duration) -> Self {
        Self { polkit, interaction, inside: Arc::default() }
    }

    /// Who decides what callers may do, as `Status` says it.
    pub(super) fn authorisation(&self) -> &'static str {
        self.polkit.name()
    }

    /// Counts a call that needs no right. Waits for nothing, so that a flood of calls is turned away
    /// before it takes any room.
    ///
    /// # Errors
    /// [`Failure::TooManyRequests`].
    pub(super) fn enter(&self, header: &Header<'_>) -> Result<Call, Failure> {
        let sender = header.sender().ok_or(Failure::NotAllowed)?;
        let id = CallerId::new(sender.as_str());
        let mut inside = lock(&self.inside);
        let visitor = inside
            .connections
            .entry(id.clone())
            .or_insert_with(|| Visitor { calls: 0, gone: watch::Sender::new(false) });
        if visitor.calls >= CALLS_OF_CONNECTION {
            return Err(Refused::CallerLimit { limit: CALLS_OF_CONNECTION }.into());
        }
        visitor.calls += 1;
        let gone = visitor.gone.subscribe();
        drop(inside);
        Ok(Call { id, gone, inside: Arc::clone(&self.inside) })
    }

    /// As [`Self::enter`], and tells whose connection it is.
    ///
    /// # Errors
    /// [`Failure::TooManyRequests`]; [`Failure::NotAllowed`] when the caller is gone.
    pub(super) async fn identify(
        &self,
        connection: &Connection,
        header: &Header<'_>,
    ) -> Result<Admitted, Failure> {
        let call = self.enter(header)?;
        let caller = Caller::identify(connection, header).await?;
        let user = OfUser::new(caller.uid, &self.inside)?;
        Ok(Admitted { caller, user, call })
    }

    /// As [`Self::identify`], if polkit lets the caller do this.
    ///
    /// # Errors
    /// As [`Self::identify`]; [`Failure::NotAuthorised`].
    pub(super) async fn admit(
        &self,
        connection: &Connection,
        header: &Header<'_>,
        right: Right,
        details: &Details,
    ) -> Result<Admitted, Failure> {
        let admitted = self.identify(connection, header).await?;
        self.authorise(connection, header, &admitted, right, details).await?;
        Ok(admitted)
    }

    /// Asks polkit about a caller who is inside.
    ///
    /// # Errors
    /// [`Failure::NotAuthorised`]; [`Failure::NotAllowed`] when the caller is gone.
    pub(super) async fn authorise(
        &self,
        connection: &Connection,
        header: &Header<'_>,
        admitted: &Admitted,
        right: Right,
        details: &Details,
    ) -> Result<(), Failure> {
        let may_ask = header.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
        let interaction = match may_ask {
            true => Interaction::Allowed(self.interaction),
            false => Interaction::None,
        };
        let mut gone = admitted.call.gone.clone();
        let gone = async move {
            // The sender lives as long as the call is counted.
            let _ = gone.wait_for(|gone| *gone).await;
        };
        let Admitted { caller, user, .. } = admitted;
        let checked = self.polkit.allows(connection, &caller.id, right, details, interaction, gone);
        checked.await.inspect_err(|failure| {
            let (uid, action) = (user.uid, right.action_id());
            tracing::info!(caller = %caller.id, uid, action, outcome = failure.name(), "not let in");
        })
    }

    /// A connection that left the bus.
    pub(super) fn caller_gone(&self, id: &CallerId) {
        if let Some(visitor) = lock(&self.inside).connections.get(id) {
            visitor.gone.send_replace(true);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut inside = lock(&self.inside);
        if let Some(visitor) = inside.connections.get_mut(&self.id) {
            visitor.calls -= 1;
            if visitor.calls == 0 {
                inside.connections.remove(&self.id);
            }
        }
    }
}

impl OfUser {
    fn new(uid: u32, inside: &Arc<Mutex<Inside>>) -> Result<Self, Failure> {
        let mut counted = lock(inside);
        let calls = counted.users.entry(uid).or_default();
        if *calls >= CALLS_OF_USER {
            return Err(Refused::UserLimit { limit: CALLS_OF_USER }.into());
        }
        *calls += 1;
        drop(counted);
        Ok(Self { uid, inside: Arc::clone(inside) })
    }
}

impl Drop for OfUser {
    fn drop(&mut self) {
        let mut inside = lock(&self.inside);
        if let Some(calls) = inside.users.get_mut(&self.uid) {
            *calls -= 1;
            if *calls == 0 {
                inside.users.remove(&self.uid);
            }
        }
    }
}

fn lock(inside: &Mutex<Inside>) -> MutexGuard<'_, Inside> {
    inside.lock().unwrap_or_else(PoisonError::into_inner)
}
