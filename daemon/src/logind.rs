//! logind and systemd, as far as they say who sits where (`org.freedesktop.login1(5)`).

use std::collections::HashMap;

use futures_util::StreamExt;
use tokio::task::{AbortHandle, JoinSet};
use zbus::fdo::DBusProxy;
use zbus::names::BusName;
use zbus::proxy::CacheProperties;
use zbus::{Connection, OwnedObjectPath};

use crate::sessions::Sessions;

const NAME: &str = "org.freedesktop.login1";

/// The login manager.
#[zbus::proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
pub(crate) trait Manager {
    /// Object of the session that a process is in.
    #[zbus(name = "GetSessionByPID")]
    fn get_session_by_pid(&self, pid: u32) -> zbus::Result<OwnedObjectPath>;
    /// Object of a user who is logged in.
    fn get_user(&self, uid: u32) -> zbus::Result<OwnedObjectPath>;
    /// Id, uid, user name, seat and object of every session.
    fn list_sessions(&self) -> zbus::Result<Vec<(String, u32, String, String, OwnedObjectPath)>>;
    /// Whether the machine is about to sleep.
    #[zbus(property)]
    fn preparing_for_sleep(&self) -> zbus::Result<bool>;
    /// The machine is about to sleep, or awake again.
    #[zbus(signal)]
    fn prepare_for_sleep(&self, start: bool) -> zbus::Result<()>;
    /// Somebody logged in.
    #[zbus(signal)]
    fn session_new(&self, session_id: String, object_path: OwnedObjectPath) -> zbus::Result<()>;
    /// A session is over.
    #[zbus(signal)]
    fn session_removed(&self, session_id: String, object_path: OwnedObjectPath)
    -> zbus::Result<()>;
}

/// A user who is logged in.
#[zbus::proxy(
    interface = "org.freedesktop.login1.User",
    default_service = "org.freedesktop.login1"
)]
pub(crate) trait User {
    /// Id and object of the session that stands for all of the user's, empty and `/` without one.
    #[zbus(property)]
    fn display(&self) -> zbus::Result<(String, OwnedObjectPath)>;
}

/// One session.
#[zbus::proxy(
    interface = "org.freedesktop.login1.Session",
    default_service = "org.freedesktop.login1"
)]
pub(crate) trait Session {
    /// Its name.
    #[zbus(property)]
    fn id(&self) -> zbus::Result<String>;
    /// Its user's uid and object.
    #[zbus(property)]
    fn user(&self) -> zbus::Result<(u32, OwnedObjectPath)>;
    /// Whether its screen is locked, as the desktop says.
    #[zbus(property)]
    fn locked_hint(&self) -> zbus::Result<bool>;
    /// The desktop shall lock its screen.
    #[zbus(signal)]
    fn lock(&self) -> zbus::Result<()>;
    /// Name and object of its seat, empty and `/` without one.
    #[zbus(property)]
    fn seat(&self) -> zbus::Result<(String, OwnedObjectPath)>;
    /// Whether it has its seat's screen and keyboard now.
    #[zbus(property)]
    fn active(&self) -> zbus::Result<bool>;
    /// Whether it came over the network.
    #[zbus(property)]
    fn remote(&self) -> zbus::Result<bool>;
}

/// systemd.
#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
pub(crate) trait Units {
    /// Object of the unit that a process is in.
    #[zbus(name = "GetUnitByPID")]
    fn get_unit_by_pid(&self, pid: u32) -> zbus::Result<OwnedObjectPath>;
}

/// A unit.
#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Unit",
    default_service = "org.freedesktop.systemd1"
)]
pub(crate) trait Unit {
    /// Its name.
    #[zbus(property)]
    fn id(&self) -> zbus::Result<String>;
}

/// A login session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginSession {
    /// logind's name for it.
    pub id: String,
    /// Its seat, where it has one.
    pub seat: Option<String>,
    /// Whether it has its seat's screen and keyboard now.
    pub active: bool,
    /// Whether it came over the network.
    pub remote: bool,
}

impl LoginSession {
    /// The session of a process; of a process in none, such as a user's service, the session that
    /// stands for all of its user's.
    pub(crate) async fn of(connection: &Connection, uid: u32, pid: u32) -> Option<Self> {
        let manager = ManagerProxy::builder(connection);
        let manager = manager.cache_properties(CacheProperties::No);
        let manager = manager.build().await.ok()?;
        let object = match manager.get_session_by_pid(pid).await {
            Ok(object) => object,
            Err(_) => {
                let user = UserProxy::builder(connection).path(manager.get_user(uid).await.ok()?);
                let user = user.cache_properties(CacheProperties::No);
                let (id, object) = user.build().await.ok()?.display().await.ok()?;
                Some(object).filter(|_| !id.is_empty())?
            }
        };
        let session = SessionProxy::builder(connection).path(object);
        let session = session.cache_properties(CacheProperties::No);
        let session = session.build().await.ok()?;
        let (seat, _) = session.seat().await.ok()?;
        Some(Self {
            id: session.id().await.ok()?,
            seat: Some(seat).filter(|seat| !seat.is_empty()),
            active: session.active().await.ok()?,
            remote: session.remote().await.ok()?,
        })
    }
}

/// Name of the unit that a process is in.
pub(crate) async fn unit_of(connection: &Connection, pid: u32) -> Option<String> {
    let units = UnitsProxy::builder(connection);
    let units = units.cache_properties(CacheProperties::No).build().await.ok()?;
    let unit = UnitProxy::builder(connection).path(units.get_unit_by_pid(pid).await.ok()?);
    let unit = unit.cache_properties(CacheProperties::No).build().await.ok()?;
    unit.id().await.ok()
}

/// Tells `sessions` of locked screens and of sleep, as long as logind is on the bus.
///
/// # Errors
/// When the bus does not let us listen.
pub(crate) async fn follow(connection: &Connection, sessions: &Sessions) -> zbus::Result<()> {
    let bus = DBusProxy::new(connection).await?;
    let mut owners = bus.receive_name_owner_changed_with_args(&[(0, NAME)]).await?;
    let name = BusName::try_from(NAME)?;
    let mut there = bus.name_has_owner(name).await?;
    if !there {
        tracing::info!("logind is not on the bus: no locked screen and no sleep will be seen");
    }
    loop {
        let followed = async {
            if there && let Err(error) = follow_manager(connection, sessions).await {
                tracing::warn!(%error, "cannot follow logind");
            }
            std::future::pending::<()>().await;
        };
        let owner = tokio::select! {
            owner = owners.next() => owner,
            () = followed => None,
        };
        match owner {
            Some(owner) => there = owner.args().is_ok_and(|args| args.new_owner().is_some()),
            None => return Ok(()),
        }
    }
}

async fn follow_manager(connection: &Connection, sessions: &Sessions) -> zbus::Result<()> {
    let manager = ManagerProxy::builder(connection).cache_properties(CacheProperties::No);
    let manager = manager.build().await?;
    let mut sleep = manager.receive_prepare_for_sleep().await?;
    let mut opened = manager.receive_session_new().await?;
    let mut closed = manager.receive_session_removed().await?;
    sessions.sleeping(manager.preparing_for_sleep().await?);
    let mut screens = JoinSet::new();
    let mut watched: HashMap<String, AbortHandle> = HashMap::new();
    let mut watch = |id: String, path: OwnedObjectPath| {
        let (connection, sessions) = (connection.clone(), sessions.clone());
        let screen = async move {
            // A session that ends before we have looked at it has no screen any more.
            if let Err(error) = follow_screen(&connection, &sessions, path).await {
                tracing::debug!(%error, "cannot follow a login session");
            }
        };
        if let Some(other) = watched.insert(id, screens.spawn(screen)) {
            other.abort();
        }
    };
    for (id, _, _, _, path) in manager.list_sessions().await? {
        watch(id, path);
    }
    loop {
        tokio::select! {
            Some(signal) = sleep.next() => sessions.sleeping(signal.args()?.start),
            Some(signal) = opened.next() => {
                let args = signal.args()?;
                watch(args.session_id, args.object_path);
            }
            Some(signal) = closed.next() => sessions.logged_out(&signal.args()?.session_id),
            else => return Ok(()),
        }
    }
}

async fn follow_screen(
    connection: &Connection,
    sessions: &Sessions,
    path: OwnedObjectPath,
) -> zbus::Result<()> {
    let session = SessionProxy::builder(connection).path(path).build().await?;
    let mut hints = session.receive_locked_hint_changed().await;
    let mut asked = session.receive_lock().await?;
    let (id, (uid, _)) = (session.id().await?, session.user().await?);
    sessions.screen(uid, &id, session.locked_hint().await?);
    loop {
        tokio::select! {
            Some(hint) = hints.next() => sessions.screen(uid, &id, hint.get().await?),
            Some(_) = asked.next() => sessions.lock_asked(uid),
            else => return Ok(()),
        }
    }
}
