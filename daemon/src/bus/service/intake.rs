//! The way of a call from its caller to the desk.

use std::sync::Arc;
use std::time::SystemTime;

use signet_evidence::{Purpose, UnixTime};
use tokio::sync::mpsc;
use zbus::fdo::DBusProxy;
use zbus::message::Header;
use zbus::names::BusName;
use zbus::{Connection, OwnedObjectPath};

use super::Service;
use crate::authenticator::Upkeep;
use crate::bus::arguments::{self, Dictionary};
use crate::bus::door::Admitted;
use crate::bus::refusal::Refusal;
use crate::bus::request::{self, Place, Reserved};
use crate::bus::standing::Meaning;
use crate::failure::Failure;
use crate::platform::{Means, Part};
use crate::polkit::{Details, Right};
use crate::presence::{Prepared, Request};
use crate::work::Work;

impl Service {
    /// Fixes the statement of a request for evidence.
    pub(super) async fn presence(
        &self,
        caller: &Admitted,
        (mut request, wait): (Request, bool),
    ) -> Result<Work, Failure> {
        // Before anything is asked of other services.
        crate::presence::usable(&self.state.stored())?;
        if request.purpose == Purpose::Renew {
            self.sessions.may_renew(caller.uid)?;
        }
        let part = match (request.purpose, request.means) {
            (Purpose::Session | Purpose::Action, means) => {
                let allowed = [&*request.allow_credentials, &*request.touch_credentials].concat();
                self.platform.answerer(means, &allowed, self.keys.any_plugged()).await?
            }
            (Purpose::EnrolKey, Some(Means::Platform(method))) => {
                Some(self.platform.maker(method, caller.user_name().await?).await?)
            }
            _ => None,
        };
        if !matches!(part, Some(Part::Sign(..))) {
            // No security key holds those, and only a security key brings another key.
            let asked = !request.allow_credentials.is_empty();
            request.allow_credentials.retain(|id| !self.platform.holds(id));
            let none = request.allow_credentials.is_empty() && request.touch_credentials.is_empty();
            if asked && none {
                return Err(Failure::NoCredential);
            }
        }
        let prepared = Box::new(Prepared::new(request, part, &self.state.stored(), now())?);
        Ok(Work::Presence { prepared, wait })
    }

    /// Puts a request before the desk and its object on the bus.
    pub(super) async fn accept(
        &self,
        connection: &Connection,
        caller: &Admitted,
        token: &str,
        work: Work,
    ) -> Result<(OwnedObjectPath,), Failure> {
        let path = request::path(caller.id.as_str(), token)?;
        let reserved = Reserved::new(Arc::clone(&self.places), path.clone())?;
        let (telling, told) = mpsc::unbounded_channel();
        let owner = caller.bus_name()?;
        let meaning = Meaning::of(&work);
        let id = self.desk.submit((**caller).clone(), work, telling)?;
        let place = Place { connection: connection.clone(), path: path.clone(), owner };
        if let Err(failure) = place.open(self.desk.clone(), id).await {
            self.desk.cancel(id);
            return Err(failure);
        }
        tracing::info!(request = %id, caller = %caller.id, uid = caller.uid, "request accepted");
        let (sessions, uid) = (self.sessions.clone(), caller.uid);
        tokio::spawn(place.relay(told, move |result| {
            drop(reserved);
            if let Some(result) = result {
                meaning.note(&sessions, uid, now(), result);
            }
        }));
        // The caller may have left before we watched out for it.
        if !is_connected(connection, caller.id.as_str()).await {
            self.desk.caller_gone(&caller.id);
        }
        Ok((path,))
    }

    /// Upkeep of a security key, if the caller may.
    pub(super) async fn keep_up(
        &self,
        connection: &Connection,
        header: &Header<'_>,
        token: &str,
        upkeep: Upkeep,
    ) -> Result<(OwnedObjectPath,), Refusal> {
        let details = Details::of_task(&upkeep.task);
        let right = Right::ManageAuthenticators;
        let caller = self.door.admit(connection, header, right, &details).await?;
        Ok(self.accept(connection, &caller, token, Work::Upkeep(upkeep)).await?)
    }

    /// Lets in who may do this step of the machine's own business.
    pub(super) async fn admit(
        &self,
        connection: &Connection,
        header: &Header<'_>,
        right: Right,
        step: &'static str,
    ) -> Result<Admitted, Failure> {
        self.door.admit(connection, header, right, &Details::of_step(step)).await
    }

    /// Whose sessions a caller means: its own, or, where it may, another user's.
    pub(super) async fn whose(
        &self,
        connection: &Connection,
        header: &Header<'_>,
        options: Dictionary,
        step: &'static str,
    ) -> Result<u32, Failure> {
        let uid = arguments::user(options)?;
        let caller = self.door.identify(connection, header).await?;
        let uid = uid.unwrap_or(caller.uid);
        if uid != caller.uid {
            let (right, details) = (Right::ManageDevice, Details::of_step(step));
            self.door.authorise(connection, header, &caller, right, &details).await?;
        }
        Ok(uid)
    }
}

fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // A clock before 1970 is only a wrong hint: no decision is taken by the host's time.
    UnixTime(since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX)))
}

pub(super) async fn is_connected(connection: &Connection, name: &str) -> bool {
    let asked = async {
        let bus = DBusProxy::new(connection).await?;
        bus.name_has_owner(BusName::try_from(name)?).await.map_err(zbus::Error::from)
    };
    // When the bus does not answer, its closing ends everything anyway.
    asked.await.unwrap_or(true)
}
