//! logind and systemd, as far as they say who sits where (`org.freedesktop.login1(5)`).

use zbus::OwnedObjectPath;

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
    pub(crate) async fn of(connection: &zbus::Connection, uid: u32, pid: u32) -> Option<Self> {
        let manager = ManagerProxy::builder(connection);
        let manager = manager.cache_properties(zbus::proxy::CacheProperties::No);
        let manager = manager.build().await.ok()?;
        let object = match manager.get_session_by_pid(pid).await {
            Ok(object) => object,
            Err(_) => {
                let user = UserProxy::builder(connection).path(manager.get_user(uid).await.ok()?);
                let user = user.cache_properties(zbus::proxy::CacheProperties::No);
                let (id, object) = user.build().await.ok()?.display().await.ok()?;
                Some(object).filter(|_| !id.is_empty())?
            }
        };
        let session = SessionProxy::builder(connection).path(object);
        let session = session.cache_properties(zbus::proxy::CacheProperties::No);
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
pub(crate) async fn unit_of(connection: &zbus::Connection, pid: u32) -> Option<String> {
    let units = UnitsProxy::builder(connection);
    let units = units.cache_properties(zbus::proxy::CacheProperties::No).build().await.ok()?;
    let unit = UnitProxy::builder(connection).path(units.get_unit_by_pid(pid).await.ok()?);
    let unit = unit.cache_properties(zbus::proxy::CacheProperties::No).build().await.ok()?;
    unit.id().await.ok()
}
