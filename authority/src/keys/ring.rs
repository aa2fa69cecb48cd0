//! The keys that tokens are signed with, one after the other.
//!
//! `token-keys.json` in the keys' directory says which key signs from when, and until when each counts.
//! All nodes with the directory switch at the same second, because the file says it before. Without
//! the file there is one key, `token.key`.
//!
//! A rotation makes a key, publishes it [`AHEAD`] of its first token, and lets the key before it count
//! for as long as its last token lives. An emergency makes the key and ends all others, at once.

use std::fs::{self, File};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use signet_evidence::UnixTime;
use signet_verifier::token::{Jwk, TokenSigner, VerifyingKey};

use super::{KeyError, KeyUse, Secrets, plan, replace_public, signer};

/// What the file is called.
const PLAN: &str = "token-keys.json";
/// Held while the plan changes.
const LOCK: &str = "token-keys.lock";
/// The only key where there is no plan.
const FIRST: &str = "token.key";

/// How long a key is published before it signs: verifiers read the JWK set anew each minute.
pub const AHEAD: Duration = Duration::from_secs(600);
/// How long a key counts after it signed last: no token lives longer (protocol §3.1), and clocks differ.
pub const OVERLAP: Duration = Duration::from_secs(960);

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    keys: Vec<Planned>,
}

/// One key of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Planned {
    /// Its file.
    file: String,
    /// From when on it signs, in seconds since 1970.
    signs_from: i64,
    /// From when on its tokens count no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends: Option<i64>,
}

impl Planned {
    fn counts(&self, now: UnixTime) -> bool {
        self.ends.is_none_or(|ends| now.0 < ends)
    }
}

/// A key of the plan, loaded.
struct Member {
    planned: Planned,
    signer: Arc<dyn TokenSigner>,
    /// The public half in both forms, made once: every request is checked with it.
    published: Jwk,
    verifying: VerifyingKey,
}

impl Member {
    fn new(planned: Planned, signer: Arc<dyn TokenSigner>) -> Self {
        let published = Jwk::of_point(signer.public_point());
        let verifying = VerifyingKey::of_signer(&*signer);
        Self { planned, signer, published, verifying }
    }
}

/// A key as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedKey {
    /// Its `kid`.
    pub kid: String,
    /// Its file.
    pub file: String,
    /// From when on it signs.
    pub signs_from: i64,
    /// From when on its tokens count no more.
    pub ends: Option<i64>,
    /// What it does now.
    pub state: KeyState,
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// Published; it will sign.
    Next,
    /// It signs.
    Signing,
    /// It signs no more; its tokens count.
    Leaving,
    /// Its tokens count no more.
    Ended,
}

/// The token keys. Their secrets stay inside.
pub struct TokenKeys {
    loaded: RwLock<Loaded>,
}

struct Loaded {
    members: Vec<Arc<Member>>,
    /// The text of the plan that this is of; `None` where there is none. Not its time: two changes can
    /// have the same.
    plan: Option<Vec<u8>>,
}

impl TokenKeys {
    pub(super) fn load(secrets: Secrets<'_>) -> Result<Self, KeyError> {
        Ok(Self { loaded: RwLock::new(load(secrets)?) })
    }

    /// The key that signs now.
    #[must_use]
    pub fn signer(&self, now: UnixTime) -> Arc<dyn TokenSigner> {
        let members = self.members();
        let begun =
            members.iter().filter(|one| one.planned.signs_from <= now.0 && one.planned.counts(now));
        let newest = begun.max_by_key(|one| one.planned.signs_from);
        // A clock before the first key's time: the first key is all there is. `load` refuses none.
        newest.unwrap_or(&members[0]).signer.clone()
    }

    /// The keys whose tokens count now, and those that will sign, in the form that is published.
    #[must_use]
    pub fn published(&self, now: UnixTime) -> Vec<Jwk> {
        self.counting(now, |one| one.published.clone())
    }

    /// What tokens are checked with now.
    #[must_use]
    pub fn verifying(&self, now: UnixTime) -> Vec<VerifyingKey> {
        self.counting(now, |one| one.verifying.clone())
    }

    /// Loads the keys anew if the plan was changed since; returns whether it was. What cannot be loaded
    /// does not take the place of what works.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn reload(&self, directory: &Path) -> Result<bool, KeyError> {
        if self.loaded().plan == plan::text(&directory.join(PLAN))? {
            return Ok(false);
        }
        let credentials = super::credentials();
        let loaded = load(Secrets { directory, credentials: credentials.as_deref() })?;
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(true)
    }

    /// All keys of the plan, the oldest first.
    #[must_use]
    pub fn list(&self, now: UnixTime) -> Vec<ListedKey> {
        let signing = self.signer(now).key_id().to_owned();
        let mut listed: Vec<ListedKey> = self
            .members()
            .iter()
            .map(|member| {
                let kid = member.signer.key_id().to_owned();
                let Planned { file, signs_from, ends } = member.planned.clone();
                let state = match () {
                    () if !member.planned.counts(now) => KeyState::Ended,
                    () if kid == signing => KeyState::Signing,
                    () if signs_from > now.0 => KeyState::Next,
                    () => KeyState::Leaving,
                };
                ListedKey { kid, file, signs_from, ends, state }
            })
            .collect();
        listed.sort_by_key(|one| one.signs_from);
        listed
    }

    fn members(&self) -> Vec<Arc<Member>> {
        self.loaded().members.clone()
    }

    /// `form` of each key whose tokens count now, or will.
    fn counting<T>(&self, now: UnixTime, form: impl Fn(&Member) -> T) -> Vec<T> {
        let loaded = self.loaded();
        let counting = loaded.members.iter().filter(|one| one.planned.counts(now));
        counting.map(|one| form(one)).collect()
    }

    fn loaded(&self) -> RwLockReadGuard<'_, Loaded> {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn load(secrets: Secrets<'_>) -> Result<Loaded, KeyError> {
    let path = secrets.directory.join(PLAN);
    let plan = plan::text(&path)?;
    let members = parsed(&path, plan.as_deref())?
        .keys
        .into_iter()
        .map(|planned| {
            let signer = signer(secrets, &planned.file)?;
            Ok(Arc::new(Member::new(planned, signer)))
        })
        .collect::<Result<Vec<_>, KeyError>>()?;
    if members.is_empty() {
        return Err(KeyError::Malformed { path });
    }
    Ok(Loaded { members, plan })
}

/// The plan, or what it would say of the only key.
fn parsed(path: &Path, text: Option<&[u8]>) -> Result<Plan, KeyError> {
    let Some(text) = text else {
        let first = Planned { file: FIRST.to_owned(), signs_from: 0, ends: None };
        return Ok(Plan { keys: vec![first] });
    };
    plan::parse(path, text, |plan: &Plan| plan.keys.iter().map(|one| one.file.as_str()).collect())
}

fn read(directory: &Path) -> Result<Plan, KeyError> {
    let path = directory.join(PLAN);
    parsed(&path, plan::text(&path)?.as_deref())
}

/// How soon a new key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Published [`AHEAD`] of its first token; tokens of the key before it stay good until they run out.
    Scheduled,
    /// At once, and no token of any other key counts any more.
    Emergency,
}

/// Makes a key that takes over, and returns the file that it is in; `None` when one is about to take
/// over already. Keys that ended are deleted.
///
/// # Errors
/// See [`KeyError`]; the plan changes whole or not at all.
pub fn rotate(
    directory: &Path,
    now: UnixTime,
    urgency: Urgency,
) -> Result<Option<String>, KeyError> {
    let _locked = lock(directory, LOCK)?;
    let mut plan = read(directory)?;
    let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    let signs_from = match urgency {
        Urgency::Emergency => now.0,
        Urgency::Scheduled if plan.keys.iter().any(|one| one.signs_from > now.0) => {
            return Ok(None);
        }
        Urgency::Scheduled => now.0 + seconds(AHEAD),
    };
    let latest = match urgency {
        Urgency::Emergency => now.0,
        Urgency::Scheduled => signs_from + seconds(OVERLAP),
    };
    for one in &mut plan.keys {
        one.ends = Some(one.ends.map_or(latest, |ends| ends.min(latest)));
    }
    let newest = plan.keys.iter().max_by_key(|one| one.signs_from);
    let before = newest.map_or(FIRST, |one| one.file.as_str());
    let file = super::new_key_beside(directory, before, KeyUse::Token, now)?;
    plan.keys.push(Planned { file: file.clone(), signs_from, ends: None });
    let (kept, ended): (Vec<_>, Vec<_>) = plan.keys.into_iter().partition(|one| one.counts(now));
    let text = serde_json::to_vec_pretty(&Plan { keys: kept }).unwrap_or_default();
    replace_public(&directory.join(PLAN), &text)?;
    for one in ended {
        // A key that ended is no secret any more; one that the service manager provides is not here.
        let _ = fs::remove_file(directory.join(one.file));
    }
    Ok(Some(file))
}

/// Holds the file `name` in `directory` until this is dropped.
pub(super) fn lock(directory: &Path, name: &str) -> Result<File, KeyError> {
    let path = directory.join(name);
    let locked = File::create(&path).and_then(|file| file.lock().map(|()| file));
    locked.map_err(|source| KeyError::Io { path, source })
}

/// From when on the newest key signs.
///
/// # Errors
/// See [`KeyError`].
pub fn newest(directory: &Path) -> Result<UnixTime, KeyError> {
    let newest = read(directory)?.keys.iter().map(|one| one.signs_from).max();
    Ok(UnixTime(newest.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn at(seconds: u64) -> UnixTime {
        UnixTime(NOW.0 + i64::try_from(seconds).unwrap())
    }

    fn directory() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        super::super::create(&folder.path().join("keys"), NOW).unwrap();
        folder
    }

    fn keys(directory: &Path) -> TokenKeys {
        TokenKeys::load(Secrets { directory, credentials: None }).unwrap()
    }

    fn states(keys: &TokenKeys, now: UnixTime) -> Vec<KeyState> {
        keys.list(now).into_iter().map(|one| one.state).collect()
    }

    #[test]
    fn a_new_key_is_published_before_it_signs_and_the_old_one_counts_while_its_tokens_live() {
        let folder = directory();
        let directory = &folder.path().join("keys");
        let keys = keys(directory);
        let old = keys.signer(NOW).key_id().to_owned();
        assert!(!keys.reload(directory).unwrap(), "nothing changed");
        rotate(directory, NOW, Urgency::Scheduled).unwrap().unwrap();
        assert_eq!(rotate(directory, NOW, Urgency::Scheduled).unwrap(), None, "one is under way");
        assert!(keys.reload(directory).unwrap());
        let (ahead, overlap) = (AHEAD.as_secs(), AHEAD.as_secs() + OVERLAP.as_secs());
        for (seconds, expected, published) in [
            (0, [KeyState::Signing, KeyState::Next], 2),
            (ahead - 1, [KeyState::Signing, KeyState::Next], 2),
            (ahead, [KeyState::Leaving, KeyState::Signing], 2),
            (overlap - 1, [KeyState::Leaving, KeyState::Signing], 2),
            (overlap, [KeyState::Ended, KeyState::Signing], 1),
        ] {
            let now = at(seconds);
            assert_eq!(states(&keys, now), expected, "after {seconds} s");
            assert_eq!(keys.published(now).len(), published, "after {seconds} s");
            assert_eq!(keys.signer(now).key_id() == old, seconds < ahead, "after {seconds} s");
        }
        // The next rotation deletes what ended.
        rotate(directory, at(overlap), Urgency::Scheduled).unwrap().unwrap();
        assert!(!directory.join(FIRST).exists());
        assert!(keys.reload(directory).unwrap());
        assert_eq!(states(&keys, at(overlap)), [KeyState::Signing, KeyState::Next]);
    }

    #[test]
    fn in_an_emergency_no_other_key_counts_any_more() {
        let folder = directory();
        let directory = &folder.path().join("keys");
        let keys = keys(directory);
        rotate(directory, NOW, Urgency::Scheduled).unwrap().unwrap();
        rotate(directory, at(1), Urgency::Emergency).unwrap().unwrap();
        keys.reload(directory).unwrap();
        assert_eq!(states(&keys, at(1)), [KeyState::Signing]);
        assert_eq!(keys.published(at(1)).len(), 1);
        assert!(!directory.join(FIRST).exists());
    }

    #[test]
    fn a_plan_that_is_none_takes_nothing_away() {
        let folder = directory();
        let directory = &folder.path().join("keys");
        let keys = keys(directory);
        let before = keys.signer(NOW).key_id().to_owned();
        for text in
            ["", "{\"keys\": []}", "{\"keys\": [{\"file\": \"../x.key\", \"signs_from\": 0}]}"]
        {
            fs::write(directory.join(PLAN), text).unwrap();
            let refused = keys.reload(directory);
            assert!(matches!(refused, Err(KeyError::Malformed { .. })), "{text}: {refused:?}");
            assert_eq!(keys.signer(NOW).key_id(), before);
        }
    }
}
