//! The keys that the audit log's checkpoints are signed with, one after the other.
//!
//! `log-keys.json` in the keys' directory says which key signs from when, and until when. During an
//! overlap the earlier and the later key both sign, so that whoever knows one of them can check every
//! checkpoint; the earlier key names the later in a note that witnesses read. Without the file there is
//! one key, `log.key`.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use signet_evidence::UnixTime;
use signet_verifier::log::{LogSigner, NoteKey, NoteKeyError, SignatureKind, Succession};

use super::ring::lock;
use super::{KeyError, KeyUse, Secrets, Urgency, log_signer, new_key_beside, plan, replace_public};

/// What the file is called.
const PLAN: &str = "log-keys.json";
/// Held while the plan changes.
const LOCK: &str = "log-keys.lock";
/// The only key where there is no plan.
const FIRST: &str = "log.key";

/// How long the earlier key signs beside the later one: witnesses learn of the later within seconds, and
/// people who keep `authority-log.vkey` have a month.
pub const LOG_OVERLAP: Duration = Duration::from_secs(30 * 86400);

/// What the file says.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    keys: Vec<Planned>,
    /// The notes by which each key names the next, as they are served. None leads over an emergency.
    #[serde(default)]
    successions: Vec<String>,
}

/// One key of it. Keys that ended stay: what they signed is checked with them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Planned {
    /// Its file.
    file: String,
    /// Its public half, base64.
    public: String,
    /// From when on it signs, in seconds since 1970.
    signs_from: i64,
    /// From when on it signs no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends: Option<i64>,
}

impl Planned {
    fn signs(&self, now: UnixTime) -> bool {
        self.ends.is_none_or(|ends| now.0 < ends)
    }

    fn public(&self) -> Option<[u8; 32]> {
        STANDARD.decode(&self.public).ok()?.try_into().ok()
    }
}

/// A log key as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ListedLogKey {
    pub(super) public: [u8; 32],
    pub(super) file: String,
    pub(super) signs_from: i64,
    pub(super) ends: Option<i64>,
}

/// The log's keys, loaded. Their secrets stay inside.
pub struct LogRing {
    /// The oldest first.
    members: Vec<Member>,
    successions: Vec<String>,
    /// The text of the plan that this is of.
    plan: Option<Vec<u8>>,
}

struct Member {
    public: [u8; 32],
    ends: Option<i64>,
    /// Gone for a key that ended.
    signer: Option<Arc<dyn LogSigner>>,
}

impl From<Arc<dyn LogSigner>> for LogRing {
    /// One key, for good.
    fn from(signer: Arc<dyn LogSigner>) -> Self {
        let public = signer.public_key();
        let only = Member { public, ends: None, signer: Some(signer) };
        Self { members: vec![only], successions: Vec::new(), plan: None }
    }
}

impl LogRing {
    /// The keys of `directory`.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn load(directory: &Path, now: UnixTime) -> Result<Self, KeyError> {
        let credentials = super::credentials();
        let secrets = Secrets { directory, credentials: credentials.as_deref() };
        let text = plan::text(&directory.join(PLAN))?;
        let Some(plan) = read(directory, text.as_deref())? else {
            return Ok(log_signer(secrets, FIRST)?.into());
        };
        let malformed = || KeyError::Malformed { path: directory.join(PLAN) };
        let mut members = Vec::new();
        for one in &plan.keys {
            let public = one.public().ok_or_else(malformed)?;
            let signer = one.signs(now).then(|| log_signer(secrets, &one.file)).transpose()?;
            if signer.as_ref().is_some_and(|signer| signer.public_key() != public) {
                return Err(KeyError::Malformed { path: directory.join(&one.file) });
            }
            members.push(Member { public, ends: one.ends, signer });
        }
        if members.last().is_none_or(|newest| newest.signer.is_none()) {
            return Err(malformed());
        }
        Ok(Self { members, successions: plan.successions, plan: text })
    }

    /// Whether the plan was changed since.
    ///
    /// # Errors
    /// [`KeyError::Io`] when it cannot be read.
    pub fn is_outdated(&self, directory: &Path) -> Result<bool, KeyError> {
        Ok(self.plan != plan::text(&directory.join(PLAN))?)
    }

    /// All public keys that the log ever had, the newest last.
    ///
    /// # Errors
    /// [`NoteKeyError`] when `name` cannot be a log's.
    pub fn note_keys(&self, name: &str) -> Result<Vec<NoteKey>, NoteKeyError> {
        let key = |member: &Member| NoteKey::new(name, SignatureKind::Log, member.public);
        self.members.iter().map(key).collect()
    }

    /// The keys that sign now, the newest first.
    #[must_use]
    pub fn signers(&self, now: UnixTime) -> Vec<Arc<dyn LogSigner>> {
        let signing = self.members.iter().rev();
        let signing = signing.filter(|one| one.ends.is_none_or(|ends| now.0 < ends));
        signing.filter_map(|one| one.signer.clone()).collect()
    }

    /// The notes by which each key named the next.
    #[must_use]
    pub fn successions(&self) -> &[String] {
        &self.successions
    }
}

/// Whether there is a plan, so that no other key is to be made.
pub(super) fn is_planned(directory: &Path) -> bool {
    directory.join(PLAN).exists()
}

fn read(directory: &Path, text: Option<&[u8]>) -> Result<Option<Plan>, KeyError> {
    let Some(text) = text else { return Ok(None) };
    plan::parse(&directory.join(PLAN), text, |plan: &Plan| {
        plan.keys.iter().map(|one| one.file.as_str()).collect()
    })
    .map(Some)
}

/// The keys as people see them, the oldest first.
pub(super) fn listed(directory: &Path) -> Result<Vec<ListedLogKey>, KeyError> {
    let plan = current(directory)?;
    let malformed = || KeyError::Malformed { path: directory.join(PLAN) };
    plan.keys
        .into_iter()
        .map(|one| {
            let public = one.public().ok_or_else(malformed)?;
            let Planned { file, signs_from, ends, .. } = one;
            Ok(ListedLogKey { public, file, signs_from, ends })
        })
        .collect()
}

/// The plan, or what it would say of the only key.
fn current(directory: &Path) -> Result<Plan, KeyError> {
    if let Some(plan) = read(directory, plan::text(&directory.join(PLAN))?.as_deref())? {
        return Ok(plan);
    }
    let credentials = super::credentials();
    let secrets = Secrets { directory, credentials: credentials.as_deref() };
    let public = STANDARD.encode(log_signer(secrets, FIRST)?.public_key());
    let first = Planned { file: FIRST.to_owned(), public, signs_from: 0, ends: None };
    Ok(Plan { keys: vec![first], successions: Vec::new() })
}

/// What a rotation made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotatedLog {
    /// The file of the new key.
    pub file: String,
    /// The new key.
    pub key: NoteKey,
    /// Until when the key before it signs, too.
    pub overlap_ends: Option<UnixTime>,
}

/// Makes a key for the log `name` that signs from now on; `None` when two sign already. By schedule, the one
/// before it signs too for [`LOG_OVERLAP`] and names it; in an emergency it ends at once and names nobody:
/// witnesses must be given the new key by hand. Secrets of keys that ended are deleted.
///
/// # Errors
/// See [`KeyError`]; the plan changes whole or not at all.
pub fn rotate_log(
    directory: &Path,
    name: &str,
    now: UnixTime,
    urgency: Urgency,
) -> Result<Option<RotatedLog>, KeyError> {
    let _locked = lock(directory, LOCK)?;
    let mut plan = current(directory)?;
    let malformed = || KeyError::Malformed { path: directory.join(PLAN) };
    let signing = plan.keys.iter().filter(|one| one.signs(now)).count();
    if urgency == Urgency::Scheduled && signing > 1 {
        return Ok(None);
    }
    let before = plan.keys.last().map(|one| one.file.clone()).ok_or_else(malformed)?;
    let credentials = super::credentials();
    let secrets = Secrets { directory, credentials: credentials.as_deref() };
    let file = new_key_beside(directory, &before, KeyUse::Log, now)?;
    let later = log_signer(secrets, &file)?;
    let key = NoteKey::new(name, SignatureKind::Log, later.public_key());
    let key = key.map_err(|_| malformed())?;
    let overlap = i64::try_from(LOG_OVERLAP.as_secs()).unwrap_or(i64::MAX);
    let latest = match urgency {
        Urgency::Emergency => now.0,
        Urgency::Scheduled => {
            let earlier = log_signer(secrets, &before)?;
            let succession = Succession { next: key.clone() };
            let note = succession.sign(earlier.as_ref(), later.as_ref())?;
            plan.successions.push(note.to_string());
            now.0.saturating_add(overlap)
        }
    };
    for one in &mut plan.keys {
        one.ends = Some(one.ends.map_or(latest, |ends| ends.min(latest)));
    }
    let public = STANDARD.encode(later.public_key());
    plan.keys.push(Planned { file: file.clone(), public, signs_from: now.0, ends: None });
    let text = serde_json::to_vec_pretty(&plan).unwrap_or_default();
    replace_public(&directory.join(PLAN), &text)?;
    for ended in plan.keys.iter().filter(|one| !one.signs(now)) {
        // It signs nothing any more; one that the service manager provides is not here.
        let _ = fs::remove_file(directory.join(&ended.file));
    }
    let overlap_ends = (urgency == Urgency::Scheduled).then_some(UnixTime(latest));
    Ok(Some(RotatedLog { file, key, overlap_ends }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    #[test]
    fn a_plan_that_cannot_be_read_is_not_taken_for_none() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("keys");
        super::super::create(&directory, NOW).unwrap();
        // Not even root reads that.
        fs::create_dir(directory.join(PLAN)).unwrap();
        assert!(matches!(LogRing::load(&directory, NOW), Err(KeyError::Io { .. })));
        let rotated = rotate_log(&directory, "mesh.example/log", NOW, Urgency::Emergency);
        assert!(matches!(rotated, Err(KeyError::Io { .. })));
        assert!(directory.join(FIRST).is_file());
    }
}
