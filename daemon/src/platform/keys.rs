//! Platform keys in a request: which one answers, what the person is asked, what the TPM signs.

use std::sync::Arc;
use std::time::Duration;

use signet_evidence::binding::{platform_digest, platform_registration_challenge};
use signet_evidence::header::SignedAttest;
use signet_evidence::tpm::{FINGERPRINT_POLICY_REF, TpmtPublic, policy_signed};
use signet_evidence::{FingerFacts, PlatformAssertion, PlatformKeyId, PlatformRegistration};

use super::authorisation::AuthorisationKey;
use super::fprintd::{Notice, Reader, ReaderError};
use crate::authenticator::{Line, MAX_PIN, Pin};
use crate::ceremony::Stage;
use crate::failure::{Bug, Failure};
use crate::state::{StateDir, Stored};
use crate::tpm::{self, PinValue, Tpm, TpmError, UserKey};

/// Keys that are remembered; beyond that the oldest that was never used makes room.
const MOST_KEYS: usize = 16;
/// How long `status` waits for fprintd.
const LISTING: Duration = Duration::from_secs(3);

/// What releases a platform key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A PIN that the TPM checks and counts.
    Pin,
    /// A finger on this machine's reader.
    Fingerprint,
}

impl Method {
    /// The name on the bus and in the state file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pin => "tpm-pin",
            Self::Fingerprint => "fingerprint",
        }
    }
}

/// What a caller wants a person to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// A security key.
    SecurityKey,
    /// A platform key.
    Platform(Method),
}

impl Means {
    /// Those with this name on the bus.
    pub fn from_name(name: &str) -> Option<Self> {
        let platform = [Method::Pin, Method::Fingerprint].into_iter().map(Self::Platform);
        let mut all = std::iter::once(Self::SecurityKey).chain(platform);
        all.find(|means| means.name() == name)
    }

    /// Their name on the bus.
    pub fn name(self) -> &'static str {
        match self {
            Self::SecurityKey => "security-key",
            Self::Platform(method) => method.name(),
        }
    }
}

/// A platform key as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformKey {
    /// What releases it.
    pub method: Method,
    /// The key.
    pub key: UserKey,
    /// The Unix user who made it; for [`Method::Fingerprint`] whose fingers release it.
    pub user: String,
    /// Whether it has signed since it was made.
    pub used: bool,
}

impl PlatformKey {
    /// Its credential id; `None` when the stored key was changed.
    pub fn id(&self) -> Option<PlatformKeyId> {
        PlatformKeyId::from_bytes(tpm::name(&self.key.public).ok()?.as_bytes())
    }
}

/// What a person is asked for, with what must be known before the statement is fixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The PIN.
    Pin,
    /// A finger of this Unix user, on this reader.
    Fingerprint {
        /// Whose finger.
        user: String,
        /// Reader and fingers as the statement tells them.
        facts: FingerFacts,
    },
}

impl Plan {
    /// The method.
    pub fn method(&self) -> Method {
        match self {
            Self::Pin => Method::Pin,
            Self::Fingerprint { .. } => Method::Fingerprint,
        }
    }

    /// What the statement tells of the host.
    pub fn facts(&self) -> Option<&FingerFacts> {
        match self {
            Self::Pin => None,
            Self::Fingerprint { facts, .. } => Some(facts),
        }
    }
}

/// A platform key's part in a request: what it does, and what is asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// It signs the statement.
    Sign(PlatformKey, Plan),
    /// It is made, for this Unix user.
    Make(String, Plan),
}

impl Part {
    /// What is asked.
    pub fn plan(&self) -> &Plan {
        match self {
            Self::Sign(_, plan) | Self::Make(_, plan) => plan,
        }
    }
}

/// The platform keys of this machine. Clones share them.
#[derive(Clone, Debug)]
pub struct Platform {
    tpm: Tpm,
    state: StateDir,
    reader: Reader,
    min_pin_length: u32,
}

impl Platform {
    /// The keys that `state` remembers; new PINs have at least `min_pin_length` characters.
    pub fn new(tpm: Tpm, state: StateDir, reader: Reader, min_pin_length: u32) -> Self {
        Self { tpm, state, reader, min_pin_length }
    }

    /// Whether a key with this id is remembered.
    pub fn holds(&self, id: &[u8]) -> bool {
        let stored = self.state.stored();
        stored.platform_keys.iter().any(|key| key.id().is_some_and(|own| own.as_bytes() == id))
    }

    /// The platform key that answers for a person, if one does: what the caller wants, else none
    /// where one of the allowed credentials may be on a plugged security key, else a key with a PIN,
    /// else one with a finger.
    ///
    /// # Errors
    /// [`Failure::NoCredential`] when the caller wants a key that is not here; [`Failure::Reader`].
    pub async fn answerer(
        &self,
        wanted: Option<Means>,
        allowed: &[Vec<u8>],
        key_plugged: bool,
    ) -> Result<Option<Part>, Failure> {
        let elsewhere = || allowed.iter().any(|id| PlatformKeyId::from_bytes(id).is_none());
        let key = match wanted {
            Some(Means::SecurityKey) => None,
            Some(Means::Platform(method)) => {
                Some(self.find(method, allowed).ok_or(Failure::NoCredential)?)
            }
            None if key_plugged && elsewhere() => None,
            None => {
                self.find(Method::Pin, allowed).or_else(|| self.find(Method::Fingerprint, allowed))
            }
        };
        let Some(key) = key else { return Ok(None) };
        let plan = self.plan(key.method, &key.user).await?;
        Ok(Some(Part::Sign(key, plan)))
    }

    /// A new key by this method for this Unix user.
    ///
    /// # Errors
    /// [`Failure::Reader`].
    pub async fn maker(&self, method: Method, user: String) -> Result<Part, Failure> {
        let plan = self.plan(method, &user).await?;
        Ok(Part::Make(user, plan))
    }

    fn find(&self, method: Method, allowed: &[Vec<u8>]) -> Option<PlatformKey> {
        let stored = self.state.stored();
        let is_allowed = |key: &&PlatformKey| {
            let id = key.id();
            id.is_some_and(|id| allowed.iter().any(|other| other == id.as_bytes()))
        };
        let mut of_method = stored.platform_keys.iter().filter(|key| key.method == method);
        // The newest: it replaces the others.
        of_method.rfind(is_allowed).cloned()
    }

    /// What will be asked for a signature by a key of this method and Unix user.
    async fn plan(&self, method: Method, user: &str) -> Result<Plan, Failure> {
        Ok(match method {
            Method::Pin => Plan::Pin,
            Method::Fingerprint => {
                let facts = self.reader.facts(user).await?;
                Plan::Fingerprint { user: user.to_owned(), facts }
            }
        })
    }

    /// A signature of `key` over the statement.
    ///
    /// # Errors
    /// What the person, the reader or the TPM did.
    pub async fn assert(
        &self,
        key: &PlatformKey,
        plan: &Plan,
        statement: &[u8],
        line: &mut Line<'_>,
    ) -> Result<PlatformAssertion, Failure> {
        let id = key.id().ok_or(TpmError::UserKeyLost)?;
        let digest = platform_digest(statement);
        let signature = match plan {
            Plan::Pin => self.sign_with_pin(&key.key, digest, line).await?,
            Plan::Fingerprint { user, facts } => {
                let authorisation = self.authorisation_of(&key.key).await?;
                let matched = self.reader.verify(user, facts, digest, &mut told(line)).await?;
                (line.notice)(Stage::Processing);
                let public = authorisation.public().to_vec();
                let releaser = matched.releaser(authorisation);
                self.tpm.sign_released(key.key.clone(), digest, public, releaser).await?
            }
        };
        self.note_use(key).await;
        Ok(PlatformAssertion { key: id, signature })
    }

    async fn sign_with_pin(
        &self,
        key: &UserKey,
        digest: [u8; 32],
        line: &mut Line<'_>,
    ) -> Result<Vec<u8>, Failure> {
        let pin = self.present_pin(line).await?;
        (line.notice)(Stage::Processing);
        Ok(self.tpm.sign_with_pin(key.clone(), PinValue::of(&pin), digest).await?)
    }

    /// The PIN key of this Unix user: the newest that has signed, because one that an authority did
    /// not take never does; else the newest.
    ///
    /// # Errors
    /// [`Failure::NoPinKey`].
    pub fn pin_key_of(&self, user: &str) -> Result<PlatformKey, Failure> {
        let stored = self.state.stored();
        newest_pin_key(&stored.platform_keys, user).cloned().ok_or(Failure::NoPinKey)
    }

    /// Gives a PIN key another PIN; its id stays. The old blob is replaced once the TPM has made the
    /// new one, so a failure leaves the old PIN. A copy of the old blob still opens with the old PIN.
    ///
    /// # Errors
    /// What the person, the TPM or the disk did.
    pub async fn change_pin(&self, key: &PlatformKey, line: &mut Line<'_>) -> Result<(), Failure> {
        let old = self.present_pin(line).await?;
        let new = self.new_pin(line).await?;
        (line.notice)(Stage::Processing);
        let (old, new) = (PinValue::of(&old), PinValue::of(&new));
        let changed = self.tpm.change_user_pin(key.key.clone(), old, new).await?;
        let before = key.key.clone();
        self.change(move |stored| {
            let found = stored.platform_keys.iter_mut().find(|stored| stored.key == before);
            found.ok_or(TpmError::UserKeyLost)?.key = changed;
            Ok(())
        })
        .await
    }

    /// Makes a key, certified over the statement and remembered before anybody hears of it.
    ///
    /// # Errors
    /// What the person, the reader, the TPM or the disk did.
    pub async fn register(
        &self,
        plan: &Plan,
        user: &str,
        statement: &[u8],
        line: &mut Line<'_>,
    ) -> Result<(PlatformRegistration, PlatformKeyId), Failure> {
        let challenge = platform_registration_challenge(statement);
        let (made, authorisation_key) = match plan {
            Plan::Pin => {
                let pin = self.new_pin(line).await?;
                (line.notice)(Stage::Processing);
                (self.tpm.create_pin_key(PinValue::of(&pin), challenge).await?, None)
            }
            Plan::Fingerprint { user, facts } => {
                // Whoever enrols shows that the finger works; this match releases nothing.
                self.reader.verify(user, facts, challenge, &mut told(line)).await?;
                (line.notice)(Stage::Processing);
                let directory = self.state.path().to_owned();
                let authorisation =
                    blocking(move || AuthorisationKey::open_or_make(&directory)).await??;
                let public = authorisation.public().to_vec();
                (self.tpm.create_released_key(public.clone(), challenge).await?, Some(public))
            }
        };
        let method = plan.method();
        let key = PlatformKey { method, key: made.key, user: user.to_owned(), used: false };
        let id = key.id().ok_or(Failure::Internal(Bug::KeyForm))?;
        let public = key.key.public.clone();
        self.change(move |stored| remember(&mut stored.platform_keys, key)).await?;
        let certification = SignedAttest { attest: made.attest, signature: made.signature };
        Ok((PlatformRegistration { public, certification, authorisation_key }, id))
    }

    /// Asks for the PIN of a key, unless the TPM would not take it now.
    async fn present_pin(&self, line: &mut Line<'_>) -> Result<Pin, Failure> {
        let lockout = self.tpm.lockout().await?;
        if let Some(refusal) = lockout.refusal() {
            return Err(refusal.into());
        }
        // The TPM cannot say how long the PIN is.
        (line.notice)(Stage::PinNeeded { tries_left: lockout.tries_left(), min_length: 1 });
        pin(line).await
    }

    async fn new_pin(&self, line: &mut Line<'_>) -> Result<Pin, Failure> {
        let min_length = self.min_pin_length;
        (line.notice)(Stage::NewPinNeeded { min_length, max_length: MAX_PIN });
        let pin = pin(line).await?;
        if pin.chars().count() < usize::try_from(min_length).unwrap_or(usize::MAX) {
            return Err(Failure::PinTooShort { min_length });
        }
        Ok(pin)
    }

    /// The reader's driver or why there is none to use, and the remembered keys, each as its method
    /// and its id in hex.
    pub async fn status(&self) -> (String, Vec<String>) {
        let driver = tokio::time::timeout(LISTING, self.reader.driver()).await;
        let driver = driver.unwrap_or(Err(ReaderError::Silent));
        let reader = driver.unwrap_or_else(|error| error.to_string());
        let stored = self.state.stored();
        let named = stored.platform_keys.iter().filter_map(|key| {
            let id = signet_evidence::thumbprint::hex(key.id()?.as_bytes());
            Some(format!("{} {id}", key.method.name()))
        });
        (reader, named.collect())
    }

    /// The authorisation key, if it is the one that this key was made for.
    async fn authorisation_of(&self, key: &UserKey) -> Result<Arc<AuthorisationKey>, Failure> {
        let directory = self.state.path().to_owned();
        let found = blocking(move || AuthorisationKey::open(&directory)).await??;
        let found = found.ok_or(TpmError::UserKeyLost)?;
        let policy = policy_signed(&tpm::name(found.public())?, FINGERPRINT_POLICY_REF);
        let public = TpmtPublic::parse(&key.public).map_err(|_| TpmError::UserKeyLost)?;
        if public.auth_policy == policy {
            Ok(Arc::new(found))
        } else {
            Err(TpmError::UserKeyLost.into())
        }
    }

    /// A key that has signed is never forgotten to make room. Failing to write this down costs
    /// nobody a login.
    async fn note_use(&self, used: &PlatformKey) {
        if used.used {
            return;
        }
        let public = used.key.public.clone();
        let noted = self
            .change(move |stored| {
                for key in stored.platform_keys.iter_mut().filter(|key| key.key.public == public) {
                    key.used = true;
                }
                Ok(())
            })
            .await;
        if let Err(error) = noted {
            tracing::warn!(%error, "cannot note the use of a platform key");
        }
    }

    async fn change(
        &self,
        change: impl FnOnce(&mut Stored) -> Result<(), Failure> + Send + 'static,
    ) -> Result<(), Failure> {
        let state = self.state.clone();
        blocking(move || state.change(change)).await?
    }
}

fn newest_pin_key<'a>(keys: &'a [PlatformKey], user: &str) -> Option<&'a PlatformKey> {
    let own = || keys.iter().rev().filter(|key| key.method == Method::Pin && key.user == user);
    own().find(|key| key.used).or_else(|| own().next())
}

/// Adds a key; the oldest one that was never used makes room where there is none.
fn remember(keys: &mut Vec<PlatformKey>, key: PlatformKey) -> Result<(), Failure> {
    if keys.len() >= MOST_KEYS {
        let unused = keys.iter().position(|key| !key.used);
        keys.remove(unused.ok_or(Failure::PlatformKeysFull)?);
    }
    keys.push(key);
    Ok(())
}

fn told(line: &mut Line<'_>) -> impl FnMut(Notice) + Send {
    |notice| {
        (line.notice)(match notice {
            Notice::FingerNeeded => Stage::FingerNeeded,
            Notice::NoMatch { tries_left } => Stage::WrongFinger { tries_left },
            Notice::Retry(retry) => Stage::FingerRetry(retry),
        });
    }
}

async fn pin(line: &mut Line<'_>) -> Result<Pin, Failure> {
    line.pins.recv().await.ok_or(Failure::Cancelled)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Failure::Internal(Bug::TaskLost))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8, used: bool) -> PlatformKey {
        let key = UserKey { public: vec![number], private: vec![], parent: vec![] };
        PlatformKey { method: Method::Pin, key, user: "alice".into(), used }
    }

    #[test]
    fn the_pin_that_is_changed_is_that_of_the_newest_key_of_the_caller_that_serves() {
        let theirs = PlatformKey { user: "bob".into(), ..key(9, true) };
        let finger = PlatformKey { method: Method::Fingerprint, ..key(8, true) };
        let used = [key(1, true), key(2, true), key(3, false), theirs.clone(), finger.clone()];
        assert_eq!(newest_pin_key(&used, "alice"), Some(&key(2, true)));
        let unused = [key(1, false), key(2, false), theirs, finger];
        assert_eq!(newest_pin_key(&unused, "alice"), Some(&key(2, false)));
        assert_eq!(newest_pin_key(&unused, "carol"), None);
    }

    #[test]
    fn keys_that_were_used_are_never_forgotten_to_make_room() {
        let mut keys: Vec<PlatformKey> = (0..16).map(|number| key(number, number != 3)).collect();
        assert_eq!(remember(&mut keys, key(100, true)), Ok(()));
        assert_eq!(keys.len(), MOST_KEYS);
        assert!(!keys.contains(&key(3, false)) && keys.contains(&key(0, true)));
        assert_eq!(remember(&mut keys, key(101, false)), Err(Failure::PlatformKeysFull));
    }
}
