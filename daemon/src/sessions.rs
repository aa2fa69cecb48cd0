//! What signetd knows of people's sessions, and when their renewals pause or end.
//!
//! A session itself is the authority's and lives in tokens; a renewal needs evidence of this machine,
//! which asks nobody. So it is here that a locked screen, a machine that sleeps or a key that was
//! pulled out can hold it back: until that is over (pause), or until the user is present anew (end).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use signet_evidence::{SessionId, UnixTime};
use tokio::sync::watch;

use crate::failure::Failure;
use crate::platform::Means;
use crate::state;

/// Sessions of one user that are remembered; whoever names more loses the oldest.
const REMEMBERED: usize = 16;
const FILE: &str = "ended";

/// What an event does to a user's sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Nothing.
    Ignore,
    /// No renewal until it is over.
    Pause,
    /// No renewal until the user is present anew.
    End,
}

/// Which event does what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// The screen of one of the user's login sessions is locked, as logind says.
    pub on_lock: Effect,
    /// The machine goes to sleep.
    pub on_suspend: Effect,
    /// The security key that answered last for the user is unplugged.
    pub on_unplug: Effect,
}

impl Default for Rules {
    fn default() -> Self {
        // Many people unplug their key as soon as they are logged in.
        Self { on_lock: Effect::Pause, on_suspend: Effect::Pause, on_unplug: Effect::Ignore }
    }
}

/// Why renewals are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A screen is, or was, locked.
    ScreenLocked,
    /// The machine sleeps, or slept.
    Suspended,
    /// The security key is, or was, unplugged.
    KeyRemoved,
    /// Somebody ended the sessions.
    Asked,
}

impl Cause {
    /// Its name on the bus.
    pub fn name(self) -> &'static str {
        match self {
            Self::ScreenLocked => "screen-locked",
            Self::Suspended => "suspended",
            Self::KeyRemoved => "key-removed",
            Self::Asked => "asked",
        }
    }
}

/// How a user's sessions stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// They may be renewed.
    Active,
    /// Not now.
    Paused(Cause),
    /// Not before the user is present anew.
    Ended(Cause),
}

impl State {
    /// Its name on the bus.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused(_) => "paused",
            Self::Ended(_) => "ended",
        }
    }

    /// Why, where it is not active.
    pub fn cause(self) -> Option<Cause> {
        match self {
            Self::Active => None,
            Self::Paused(cause) | Self::Ended(cause) => Some(cause),
        }
    }
}

/// A session as signetd sees it. It does not know whether the authority goes on with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The authority's id, once it was renewed or continued.
    pub session: Option<SessionId>,
    /// When its user was present; unknown for sessions from before signetd was started.
    pub since: Option<UnixTime>,
    /// How.
    pub means: Option<Means>,
    /// Renewals that were proved here.
    pub renewals: u32,
    /// The last of them.
    pub renewed: Option<UnixTime>,
}

#[derive(Debug, Default)]
struct User {
    ended: Option<Cause>,
    /// Login sessions whose screen is locked.
    locked: BTreeSet<String>,
    /// The security key that answered last.
    key: Option<PathBuf>,
    key_removed: bool,
    /// Oldest first.
    known: Vec<Known>,
}

/// What outlives the daemon: who has to be present anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Ended {
    /// Everybody who was not present since.
    everybody: Option<Cause>,
    users: BTreeMap<u32, Cause>,
    /// Exceptions from `everybody`.
    present: BTreeSet<u32>,
}

#[derive(Debug)]
struct Inner {
    rules: Rules,
    users: BTreeMap<u32, User>,
    everybody: Option<Cause>,
    asleep: bool,
}

/// Everybody's sessions. Clones share them.
#[derive(Clone, Debug)]
pub struct Sessions {
    inner: Arc<Mutex<Inner>>,
    folder: Arc<Path>,
    changes: watch::Sender<()>,
}

impl Sessions {
    /// Under these rules; who has to be present anew is remembered in `folder`. A file that cannot be
    /// read counts as everybody.
    pub fn open(rules: Rules, folder: &Path) -> Self {
        let ended = match std::fs::read(folder.join(FILE)) {
            Ok(bytes) => serde_json::from_slice(&bytes).ok(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(Ended::default()),
            Err(_) => None,
        };
        let ended = ended.unwrap_or_else(|| {
            tracing::warn!("cannot read who has to be present anew: everybody has");
            Ended { everybody: Some(Cause::Asked), ..Ended::default() }
        });
        let mut users = BTreeMap::new();
        for (uid, cause) in ended.users {
            users.insert(uid, User { ended: Some(cause), ..User::default() });
        }
        for uid in ended.present {
            users.entry(uid).or_insert_with(User::default);
        }
        let inner = Inner { rules, users, everybody: ended.everybody, asleep: false };
        let changes = watch::Sender::new(());
        Self { inner: Arc::new(Mutex::new(inner)), folder: folder.into(), changes }
    }

    /// Every change that a user could see.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// How the sessions of a user stand.
    pub fn state(&self, uid: u32) -> State {
        self.lock().state(uid)
    }

    /// Whether a session of this user may be renewed now.
    ///
    /// # Errors
    /// [`Failure::SessionPaused`], [`Failure::PresenceNeeded`].
    pub fn may_renew(&self, uid: u32) -> Result<(), Failure> {
        match self.state(uid) {
            State::Active => Ok(()),
            State::Paused(cause) => Err(Failure::SessionPaused(cause)),
            State::Ended(cause) => Err(Failure::PresenceNeeded(cause)),
        }
    }

    /// The sessions of a user, oldest first.
    pub fn list(&self, uid: u32) -> Vec<Known> {
        self.lock().users.get(&uid).map(|user| user.known.clone()).unwrap_or_default()
    }

    /// The user was present, for a new session or for `session`; `key` is the security key's node.
    pub fn present(
        &self,
        uid: u32,
        session: Option<SessionId>,
        means: Means,
        key: Option<PathBuf>,
        now: UnixTime,
    ) {
        self.change(|inner| {
            let user = inner.user(uid);
            user.ended = None;
            user.key_removed = false;
            user.key = key;
            let known = user.known(session);
            (known.since, known.means) = (Some(now), Some(means));
        });
        self.changes.send_replace(());
    }

    /// A renewal of `session` was proved for the user.
    pub fn renewed(&self, uid: u32, session: Option<SessionId>, now: UnixTime) {
        let mut inner = self.lock();
        let user = inner.user(uid);
        // A new session has its id from the authority: the first renewal tells it.
        let nameless = user.known.iter().rposition(|known| known.session.is_none());
        let new = session.is_some() && !user.known.iter().any(|known| known.session == session);
        if let Some(place) = nameless.filter(|_| new) {
            user.known[place].session = session;
        }
        let known = user.known(session);
        known.renewals = known.renewals.saturating_add(1);
        known.renewed = Some(now);
    }

    /// Ends what the user has: renewals wait for a new presence.
    pub fn end(&self, uid: u32, cause: Cause) {
        self.change(|inner| inner.user(uid).ended = Some(cause));
    }

    /// Whether the screen of a login session of this user is locked.
    pub fn screen(&self, uid: u32, login_session: &str, locked: bool) {
        self.change(|inner| {
            let ends = inner.rules.on_lock == Effect::End;
            let user = inner.user(uid);
            match locked {
                true => {
                    let newly = user.locked.insert(login_session.to_owned());
                    if newly && ends {
                        user.ended = Some(Cause::ScreenLocked);
                    }
                }
                false => {
                    user.locked.remove(login_session);
                }
            }
        });
    }

    /// logind was asked to lock a screen of this user. Not every desktop then says that it is locked,
    /// and when it is not any more, so that nothing pauses by this.
    pub fn lock_asked(&self, uid: u32) {
        self.change(|inner| {
            if inner.rules.on_lock == Effect::End {
                inner.user(uid).ended = Some(Cause::ScreenLocked);
            }
        });
    }

    /// A login session is over.
    pub fn logged_out(&self, login_session: &str) {
        self.change(|inner| {
            for user in inner.users.values_mut() {
                user.locked.remove(login_session);
            }
        });
    }

    /// Whether the machine goes to sleep, or is awake again.
    pub fn sleeping(&self, asleep: bool) {
        self.change(|inner| {
            let slept = std::mem::replace(&mut inner.asleep, asleep);
            if asleep && !slept && inner.rules.on_suspend == Effect::End {
                inner.everybody = Some(Cause::Suspended);
                for user in inner.users.values_mut() {
                    user.ended = Some(Cause::Suspended);
                }
            }
        });
    }

    /// A security key was unplugged.
    pub fn unplugged(&self, key: &Path) {
        self.change(|inner| {
            let effect = inner.rules.on_unplug;
            let mut owners = inner.users.values_mut();
            while let Some(user) = owners.find(|user| user.key.as_deref() == Some(key)) {
                match effect {
                    Effect::Ignore => {}
                    Effect::Pause => user.key_removed = true,
                    Effect::End => user.ended = Some(Cause::KeyRemoved),
                }
            }
        });
    }

    /// A security key was plugged in. Which one it is shows only when it is asked, and may have
    /// another node: it ends every pause for one, and no more.
    pub fn plugged(&self) {
        self.change(|inner| {
            for user in inner.users.values_mut() {
                user.key_removed = false;
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what must outlive us, and tells of what changed.
    fn change(&self, event: impl FnOnce(&mut Inner)) {
        let mut inner = self.lock();
        let (before, states) = (inner.ended(), inner.states());
        event(&mut inner);
        let (after, now) = (inner.ended(), inner.states());
        if before != after {
            // Strings and numbers only: this cannot fail.
            let bytes = serde_json::to_vec(&after).unwrap_or_default();
            if let Err(error) = state::put(&self.folder, FILE, &bytes) {
                tracing::warn!(%error, "who has to be present anew will be forgotten");
            }
        }
        for (uid, state) in &now {
            if states.get(uid) != Some(state) {
                let cause = state.cause().map(Cause::name).unwrap_or_default();
                tracing::info!(uid, state = state.name(), cause, "sessions");
            }
        }
        drop(inner);
        if states != now {
            self.changes.send_replace(());
        }
    }
}

impl Inner {
    fn user(&mut self, uid: u32) -> &mut User {
        let ended = self.everybody;
        self.users.entry(uid).or_insert_with(|| User { ended, ..User::default() })
    }

    fn state(&self, uid: u32) -> State {
        let Some(user) = self.users.get(&uid) else {
            return match self.everybody {
                Some(cause) => State::Ended(cause),
                None => self.rest(State::Active),
            };
        };
        match user.ended {
            Some(cause) => State::Ended(cause),
            None if !user.locked.is_empty() && self.rules.on_lock == Effect::Pause => {
                State::Paused(Cause::ScreenLocked)
            }
            None if user.key_removed => State::Paused(Cause::KeyRemoved),
            None => self.rest(State::Active),
        }
    }

    /// The state while the machine sleeps.
    fn rest(&self, awake: State) -> State {
        match self.asleep && self.rules.on_suspend == Effect::Pause {
            true => State::Paused(Cause::Suspended),
            false => awake,
        }
    }

    fn states(&self) -> BTreeMap<u32, State> {
        self.users.keys().map(|uid| (*uid, self.state(*uid))).collect()
    }

    fn ended(&self) -> Ended {
        let users = self.users.iter();
        let ended = users.filter_map(|(uid, user)| user.ended.map(|cause| (*uid, cause)));
        let present = self.users.iter().filter(|(_, user)| user.ended.is_none());
        Ended {
            everybody: self.everybody,
            users: ended.collect(),
            present: match self.everybody {
                Some(_) => present.map(|(uid, _)| *uid).collect(),
                None => BTreeSet::new(),
            },
        }
    }
}

impl User {
    /// The session of this id, remembered from now on.
    fn known(&mut self, session: Option<SessionId>) -> &mut Known {
        let found = session.and_then(|_| self.known.iter().position(|k| k.session == session));
        let place = found.unwrap_or_else(|| {
            if self.known.len() == REMEMBERED {
                self.known.remove(0);
            }
            self.known.push(Known { session, ..Known::default() });
            self.known.len() - 1
        });
        &mut self.known[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: u32 = 1000;
    const BOB: u32 = 1001;
    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn sessions(rules: Rules) -> (tempfile::TempDir, Sessions) {
        let folder = tempfile::tempdir().unwrap();
        let sessions = Sessions::open(rules, folder.path());
        (folder, sessions)
    }

    fn all(effect: Effect) -> Rules {
        Rules { on_lock: effect, on_suspend: effect, on_unplug: effect }
    }

    fn key() -> PathBuf {
        "/dev/hidraw3".into()
    }

    fn present(sessions: &Sessions, uid: u32) {
        sessions.present(uid, None, Means::SecurityKey, Some(key()), NOW);
    }

    #[test]
    fn a_locked_screen_pauses_its_user_until_it_is_unlocked() {
        let (_folder, sessions) = sessions(Rules::default());
        present(&sessions, ALICE);
        let mut changes = sessions.changes();
        changes.mark_unchanged();
        sessions.screen(ALICE, "2", true);
        sessions.screen(ALICE, "5", true);
        let paused = Failure::SessionPaused(Cause::ScreenLocked);
        assert_eq!(sessions.may_renew(ALICE), Err(paused.clone()));
        assert_eq!(sessions.may_renew(BOB), Ok(()));
        assert!(changes.has_changed().unwrap());
        sessions.screen(ALICE, "2", false);
        assert_eq!(sessions.may_renew(ALICE), Err(paused.clone()));
        // A presence at another screen does not unlock this one.
        present(&sessions, ALICE);
        assert_eq!(sessions.may_renew(ALICE), Err(paused));
        sessions.logged_out("5");
        assert_eq!(sessions.may_renew(ALICE), Ok(()));
    }

    #[test]
    fn what_ended_stays_so_over_restarts_until_the_user_is_present() {
        let (folder, sessions) = sessions(all(Effect::End));
        present(&sessions, ALICE);
        sessions.lock_asked(ALICE);
        let ended = Err(Failure::PresenceNeeded(Cause::ScreenLocked));
        assert_eq!(sessions.may_renew(ALICE), ended);
        let again = Sessions::open(all(Effect::End), folder.path());
        assert_eq!(again.may_renew(ALICE), ended);
        assert_eq!(again.may_renew(BOB), Ok(()));
        present(&again, ALICE);
        let again = Sessions::open(all(Effect::End), folder.path());
        assert_eq!(again.may_renew(ALICE), Ok(()));
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        let again = Sessions::open(all(Effect::End), folder.path());
        assert_eq!(again.may_renew(BOB), Err(Failure::PresenceNeeded(Cause::Asked)));
    }

    #[test]
    fn sleep_ends_the_sessions_of_everybody_also_of_whom_we_do_not_know() {
        let (folder, sessions) = sessions(all(Effect::End));
        present(&sessions, ALICE);
        sessions.sleeping(true);
        sessions.sleeping(false);
        let ended = Err(Failure::PresenceNeeded(Cause::Suspended));
        assert_eq!(sessions.may_renew(ALICE), ended);
        assert_eq!(sessions.may_renew(BOB), ended);
        present(&sessions, BOB);
        let again = Sessions::open(all(Effect::End), folder.path());
        assert_eq!(again.may_renew(BOB), Ok(()));
        assert_eq!(again.may_renew(ALICE), ended);
        assert_eq!(again.may_renew(7), ended);
    }

    #[test]
    fn sleep_and_unplugging_pause_until_they_are_over() {
        let (_folder, sessions) = sessions(all(Effect::Pause));
        present(&sessions, ALICE);
        sessions.sleeping(true);
        assert_eq!(sessions.state(ALICE), State::Paused(Cause::Suspended));
        assert_eq!(sessions.state(BOB), State::Paused(Cause::Suspended));
        sessions.sleeping(false);
        sessions.unplugged(Path::new("/dev/hidraw9"));
        assert_eq!(sessions.state(ALICE), State::Active);
        sessions.unplugged(&key());
        assert_eq!(sessions.state(ALICE), State::Paused(Cause::KeyRemoved));
        assert_eq!(sessions.state(BOB), State::Active);
        sessions.plugged();
        assert_eq!(sessions.state(ALICE), State::Active);
    }

    #[test]
    fn what_is_ignored_changes_nothing() {
        let (_folder, sessions) = sessions(all(Effect::Ignore));
        present(&sessions, ALICE);
        sessions.screen(ALICE, "2", true);
        sessions.lock_asked(ALICE);
        sessions.sleeping(true);
        sessions.unplugged(&key());
        assert_eq!(sessions.may_renew(ALICE), Ok(()));
    }

    #[test]
    fn a_session_gets_its_name_by_its_first_renewal() {
        let (_folder, sessions) = sessions(Rules::default());
        present(&sessions, ALICE);
        let id = Some(SessionId([7; 16]));
        sessions.renewed(ALICE, id, NOW);
        sessions.renewed(ALICE, id, UnixTime(NOW.0 + 60));
        sessions.present(ALICE, id, Means::SecurityKey, None, UnixTime(NOW.0 + 90));
        let listed = sessions.list(ALICE);
        assert_eq!(
            listed,
            [Known {
                session: id,
                since: Some(UnixTime(NOW.0 + 90)),
                means: Some(Means::SecurityKey),
                renewals: 2,
                renewed: Some(UnixTime(NOW.0 + 60)),
            }]
        );
        // One that we do not know from its beginning.
        sessions.renewed(ALICE, Some(SessionId([8; 16])), NOW);
        assert_eq!(sessions.list(ALICE)[1].since, None);
        for number in 20..60 {
            sessions.renewed(ALICE, Some(SessionId([number; 16])), NOW);
        }
        assert_eq!(sessions.list(ALICE).len(), REMEMBERED);
        assert!(sessions.list(BOB).is_empty());
    }
}
