//! A logind with one session, that does what the test says. Real logind: in the virtual machine.

use signet_tests::bus::PrivateBus;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath, connection, interface};

const MANAGER: &str = "/org/freedesktop/login1";
const SESSION: &str = "/org/freedesktop/login1/session/_32";
pub const ID: &str = "2";

struct Manager {
    uid: u32,
    asleep: bool,
    there: bool,
}

struct Session {
    uid: u32,
    locked: bool,
}

fn path(text: &str) -> OwnedObjectPath {
    text.to_owned().try_into().unwrap()
}

#[interface(name = "org.freedesktop.login1.Manager")]
impl Manager {
    #[allow(clippy::type_complexity, reason = "as logind's")]
    fn list_sessions(&self) -> Vec<(String, u32, String, String, OwnedObjectPath)> {
        let session = || (ID.to_owned(), self.uid, "me".into(), "seat0".into(), path(SESSION));
        self.there.then(session).into_iter().collect()
    }

    #[zbus(property)]
    fn preparing_for_sleep(&self) -> bool {
        self.asleep
    }

    #[zbus(signal)]
    async fn prepare_for_sleep(emitter: &SignalEmitter<'_>, start: bool) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn session_new(
        emitter: &SignalEmitter<'_>,
        id: &str,
        path: OwnedObjectPath,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn session_removed(
        emitter: &SignalEmitter<'_>,
        id: &str,
        path: OwnedObjectPath,
    ) -> zbus::Result<()>;
}

#[interface(name = "org.freedesktop.login1.Session")]
impl Session {
    #[zbus(property)]
    fn id(&self) -> &str {
        ID
    }

    #[zbus(property)]
    fn user(&self) -> (u32, OwnedObjectPath) {
        (self.uid, path("/org/freedesktop/login1/user/_me"))
    }

    #[zbus(property)]
    fn locked_hint(&self) -> bool {
        self.locked
    }

    #[zbus(signal)]
    async fn lock(emitter: &SignalEmitter<'_>) -> zbus::Result<()>;
}

pub struct Logind {
    connection: Connection,
}

impl Logind {
    /// A logind whose one session is of this user, and locked or not.
    pub async fn start(bus: &PrivateBus, uid: u32, locked: bool) -> Self {
        let connection = connection::Builder::address(bus.address())
            .serve_at(MANAGER, Manager { uid, asleep: false, there: true })
            .serve_at(SESSION, Session { uid, locked })
            .name("org.freedesktop.login1")
            .build()
            .await
            .unwrap();
        Self { connection }
    }

    pub async fn screen(&self, locked: bool) {
        let server = self.connection.object_server();
        let session = server.interface::<_, Session>(SESSION).await.unwrap();
        session.get_mut().await.locked = locked;
        session.get().await.locked_hint_changed(session.signal_emitter()).await.unwrap();
    }

    /// The signal of `loginctl lock-session`.
    pub async fn ask_to_lock(&self) {
        let emitter = SignalEmitter::new(&self.connection, SESSION).unwrap();
        Session::lock(&emitter).await.unwrap();
    }

    pub async fn sleep(&self, asleep: bool) {
        let server = self.connection.object_server();
        let manager = server.interface::<_, Manager>(MANAGER).await.unwrap();
        manager.get_mut().await.asleep = asleep;
        Manager::prepare_for_sleep(manager.signal_emitter(), asleep).await.unwrap();
    }

    pub async fn log_out(&self) {
        let emitter = SignalEmitter::new(&self.connection, MANAGER).unwrap();
        Manager::session_removed(&emitter, ID, path(SESSION)).await.unwrap();
    }

    pub async fn log_in(&self) {
        let emitter = SignalEmitter::new(&self.connection, MANAGER).unwrap();
        Manager::session_new(&emitter, ID, path(SESSION)).await.unwrap();
    }
}
