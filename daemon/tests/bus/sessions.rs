//! Screen lock, sleep and unplugging: renewals pause or end, and the person is told what helps.

use futures_util::StreamExt;
use nix::unistd::Uid;
use zbus::{MessageStream, Variant};

use crate::authority::PATIENCE;
use crate::client::{Answer, Caller, Options, bytes, options, refusal, text};
use crate::logind::{ID, Logind};
use crate::world::{PIN, World, key_with_pin, ready, renewal, session, with};

fn me() -> u32 {
    Uid::current().as_raw()
}

/// A caller that hears of changes.
struct Watcher {
    caller: Caller,
    changes: MessageStream,
}

impl Watcher {
    async fn new(world: &World) -> Self {
        let caller = world.caller().await;
        let changes = caller.overhear("/org/signet/Presence1").await;
        Self { caller, changes }
    }

    async fn listed(&self) -> Vec<Answer> {
        self.caller.daemon.list_sessions(&Options::new()).await.unwrap()
    }

    /// Waits until the user's sessions stand so: state, and cause or nothing.
    async fn until(&mut self, state: &str, cause: &str) {
        loop {
            let listed = self.listed().await;
            let found = listed.first().map_or(("active".to_owned(), String::new()), |entry| {
                (
                    text(entry, "state"),
                    entry.get("cause").map_or_else(String::new, |_| text(entry, "cause")),
                )
            });
            if found == (state.to_owned(), cause.to_owned()) {
                return;
            }
            let change = tokio::time::timeout(PATIENCE, self.changes.next()).await;
            change.unwrap_or_else(|_| panic!("{found:?} in place of {state} {cause}"));
        }
    }

    async fn renew(&self) -> Result<(), (String, String)> {
        match self.caller.presence("renewal", &renewal()).await {
            Ok(mut pending) => {
                pending.results().await;
                Ok(())
            }
            Err(error) => Err(refusal(error)),
        }
    }

    /// Name of the refusal; it says what helps.
    async fn refused(&self, advice: &str) -> String {
        let (name, words) = self.renew().await.unwrap_err();
        assert!(words.contains(advice), "{words}");
        name
    }
}

async fn log_in(caller: &Caller, credential: &[u8]) {
    let mut pending = caller.presence("login", &session(credential)).await.unwrap();
    pending.served(&[PIN]).await.ok();
}

#[tokio::test]
async fn renewals_wait_for_a_locked_screen_and_a_machine_that_sleeps() {
    let mut world = World::enrolled(vec![], "").await;
    let mut watcher = Watcher::new(&world).await;
    watcher.renew().await.unwrap();
    // It comes to the bus after signetd.
    let logind = Logind::start(&world.bus, me(), true).await;
    watcher.until("paused", "screen-locked").await;
    assert_eq!(watcher.refused("unlock it").await, "SessionPaused");
    logind.screen(false).await;
    watcher.until("active", "").await;
    watcher.renew().await.unwrap();
    logind.sleep(true).await;
    watcher.until("paused", "suspended").await;
    assert_eq!(watcher.refused("when it is awake").await, "SessionPaused");
    logind.sleep(false).await;
    watcher.until("active", "").await;
    // Whoever logs out with a locked screen has none any more.
    logind.screen(true).await;
    watcher.until("paused", "screen-locked").await;
    logind.log_out().await;
    watcher.until("active", "").await;
    logind.log_in().await;
    watcher.until("paused", "screen-locked").await;
    // A daemon that starts behind a locked screen sees it.
    world.signetd.restart().unwrap();
    let mut watcher = Watcher::new(&world).await;
    watcher.until("paused", "screen-locked").await;
    // Only what a person must do waits: the machine still proves itself.
    let workload = options([
        ("purpose", "workload".into()),
        ("challenge", crate::world::CHALLENGE.to_vec().into()),
    ]);
    watcher.caller.presence("workload", &workload).await.unwrap().results().await;
}

#[tokio::test]
async fn sessions_that_ended_wait_for_a_new_presence() {
    let rules = "[sessions]\non_lock = \"end\"\non_suspend = \"end\"\non_unplug = \"end\"";
    let (mut world, caller, credential) = ready(key_with_pin().await, rules).await;
    let logind = Logind::start(&world.bus, me(), false).await;
    let mut watcher = Watcher::new(&world).await;
    log_in(&caller, &credential).await;
    watcher.renew().await.unwrap();
    // The lock of a desktop that does not tell when it is unlocked.
    watcher.until("active", "").await;
    logind.screen(false).await;
    loop {
        logind.ask_to_lock().await;
        // Until signetd follows the session, nobody hears this.
        if watcher.listed().await[0]["state"] != Variant::from("active").try_into().unwrap() {
            break;
        }
    }
    watcher.until("ended", "screen-locked").await;
    assert_eq!(watcher.refused("`signet login`").await, "PresenceNeeded");
    world.signetd.restart().unwrap();
    let mut watcher = Watcher::new(&world).await;
    watcher.until("ended", "screen-locked").await;
    let caller = world.caller().await;
    log_in(&caller, &credential).await;
    watcher.until("active", "").await;
    watcher.renew().await.unwrap();

    world.keys[0].unplug().unwrap();
    watcher.until("ended", "key-removed").await;
    assert_eq!(watcher.refused("unplugged").await, "PresenceNeeded");
    world.keys[0].restart().unwrap();
    assert_eq!(watcher.refused("unplugged").await, "PresenceNeeded");
    log_in(&caller, &credential).await;
    watcher.renew().await.unwrap();

    caller.daemon.end_sessions(&Options::new()).await.unwrap();
    watcher.until("ended", "asked").await;
    assert_eq!(watcher.refused("ended at this machine").await, "PresenceNeeded");
    log_in(&caller, &credential).await;
    watcher.renew().await.unwrap();
}

#[tokio::test]
async fn a_pulled_key_pauses_where_the_configuration_says_so() {
    let rules = "[sessions]\non_unplug = \"pause\"";
    let (mut world, caller, credential) = ready(key_with_pin().await, rules).await;
    let mut watcher = Watcher::new(&world).await;
    log_in(&caller, &credential).await;
    world.keys[0].unplug().unwrap();
    watcher.until("paused", "key-removed").await;
    assert_eq!(watcher.refused("plug it in").await, "SessionPaused");
    world.keys[0].restart().unwrap();
    watcher.until("active", "").await;
    watcher.renew().await.unwrap();
}

#[tokio::test]
async fn sessions_are_listed_for_their_user_with_what_is_known() {
    let (world, caller, credential) = ready(key_with_pin().await, "").await;
    let watcher = Watcher::new(&world).await;
    assert!(watcher.listed().await.is_empty());
    log_in(&caller, &credential).await;
    let listed = watcher.listed().await;
    assert_eq!(listed.len(), 1);
    assert!(!listed[0].contains_key("session") && !listed[0].contains_key("renewed"));
    watcher.renew().await.unwrap();
    watcher.renew().await.unwrap();
    let listed = watcher.listed().await;
    let entry = &listed[0];
    assert_eq!(listed.len(), 1);
    assert_eq!(bytes(entry, "session"), [9; 16]);
    assert_eq!(
        (text(entry, "state"), text(entry, "method")),
        ("active".into(), "security-key".into())
    );
    assert_eq!(u32::try_from(entry["renewals"].clone()), Ok(2));
    assert_eq!(u32::try_from(entry["uid"].clone()), Ok(me()));
    let time = |name: &str| u64::try_from(entry[name].clone()).unwrap();
    assert!(time("renewed") >= time("since") && time("since") > 1_700_000_000);
    // Another user's: nobody here may not.
    let other = with(Options::new(), "uid", 1u32.into());
    assert!(caller.daemon.list_sessions(&other).await.unwrap().is_empty());
    let unknown = with(Options::new(), "user", "root".into());
    let error = caller.daemon.list_sessions(&unknown).await.unwrap_err();
    assert_eq!(refusal(error).0, "InvalidArgument");
}

#[tokio::test]
async fn what_others_say_in_the_name_of_logind_is_not_heard() {
    let rules = "[sessions]\non_suspend = \"end\"";
    let world = World::enrolled(vec![], rules).await;
    let logind = Logind::start(&world.bus, me(), true).await;
    let mut watcher = Watcher::new(&world).await;
    watcher.until("paused", "screen-locked").await;
    let mallory = world.caller().await.connection;
    let daemon = zbus::fdo::DBusProxy::new(&mallory).await.unwrap();
    let owner = daemon.get_name_owner("org.signet.Presence1".try_into().unwrap()).await.unwrap();
    let changed = std::collections::HashMap::from([("LockedHint", Variant::from(false))]);
    let session = format!("/org/freedesktop/login1/session/_3{ID}");
    for target in [Some(owner.inner().clone()), None] {
        mallory
            .emit_signal(
                target.clone(),
                session.as_str(),
                "org.freedesktop.DBus.Properties",
                "PropertiesChanged",
                &("org.freedesktop.login1.Session", &changed, Vec::<&str>::new()),
            )
            .await
            .unwrap();
        let (path, interface) = ("/org/freedesktop/login1", "org.freedesktop.login1.Manager");
        mallory
            .emit_signal(target.clone(), path, interface, "PrepareForSleep", &true)
            .await
            .unwrap();
        let removed = (ID, zbus::ObjectPath::try_from(session.as_str()).unwrap());
        mallory.emit_signal(target, path, interface, "SessionRemoved", &removed).await.unwrap();
    }
    // The bus keeps the order: this comes after all that.
    let stranger = Caller::of(mallory).await;
    stranger.daemon.enrolled().await.unwrap();
    assert_eq!(watcher.refused("unlock it").await, "SessionPaused");
    logind.screen(false).await;
    watcher.until("active", "").await;
}
