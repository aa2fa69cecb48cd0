//! The keys that one CA issues with, one after the other.
//!
//! `NAME.json` in the keys' directory (`device-ca.json`) says which key issues from when, and until when what
//! it issued counts. Without it there is one key: `NAME.key`, with its certificate in `NAME.pem`. `NAME.pem` holds
//! the certificates of all keys that count or will: what others trust.
//!
//! A rotation makes a key that is trusted at once and issues later. The key before it certifies the new one (a
//! link), so that whoever knows the old one can follow. What the old one issued counts for an overlap. An
//! emergency makes a key that issues now, without a link, and ends all others.

use std::fs;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use signet_evidence::UnixTime;

use super::ring::lock;
use super::{
    KeyError, KeyState, KeyUse, Secrets, Urgency, new_key_beside, pem, plan, read_certificate,
    replace_public, signer,
};
use crate::ca::CertificateAuthority;

/// What the file says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    keys: Vec<Planned>,
}

/// One key of it. Keys that ended stay without their secret: what they issued was good at its time.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Planned {
    /// Its file; none once it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// Its certificate: DER, base64.
    certificate: String,
    /// The same key, certified by the key before it: DER, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    /// From when on it issues, in seconds since 1970.
    issues_from: i64,
    /// From when on what it issued counts no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends: Option<i64>,
}

impl Planned {
    fn counts(&self, now: UnixTime) -> bool {
        self.ends.is_none_or(|ends| now.0 < ends)
    }

    fn issues(&self, now: UnixTime) -> bool {
        self.file.is_some() && self.issues_from <= now.0 && self.counts(now)
    }
}

/// A key of the plan, loaded.
struct Member {
    planned: Planned,
    certificate: CertificateDer<'static>,
    link: Option<CertificateDer<'static>>,
    /// None once it ended.
    issuer: Option<Arc<CertificateAuthority>>,
}

/// A key of a CA as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedCa {
    /// Its file.
    pub file: String,
    /// Its certificate.
    pub certificate: CertificateDer<'static>,
    /// From when on what it issued counts no more.
    pub ends: Option<i64>,
    /// What it does now.
    pub state: KeyState,
}

/// The keys of one CA. Their secrets stay inside.
pub struct CaRing {
    name: &'static str,
    loaded: RwLock<Loaded>,
}

struct Loaded {
    members: Vec<Arc<Member>>,
    /// Issues where no other does: a clock before the first key's time.
    first: Arc<CertificateAuthority>,
    /// The text of the plan that this is of; `None` where there is none.
    plan: Option<Vec<u8>>,
}

impl CaRing {
    pub(super) fn load(secrets: Secrets<'_>, name: &'static str) -> Result<Self, KeyError> {
        Ok(Self { name, loaded: RwLock::new(load(secrets, name)?) })
    }

    /// The CA that issues now.
    #[must_use]
    pub fn issuer(&self, now: UnixTime) -> Arc<CertificateAuthority> {
        let loaded = self.loaded();
        let issuing = loaded.members.iter().filter(|one| one.planned.issues(now));
        let newest = issuing.max_by_key(|one| one.planned.issues_from);
        newest.and_then(|one| one.issuer.clone()).unwrap_or_else(|| loaded.first.clone())
    }

    /// The certificates of all keys whose certificates count now, or will: the oldest first.
    #[must_use]
    pub fn trusted(&self, now: UnixTime) -> Vec<CertificateDer<'static>> {
        let loaded = self.loaded();
        let counting = loaded.members.iter().filter(|one| one.planned.counts(now));
        counting.map(|one| one.certificate.clone()).collect()
    }

    /// For each key that counts now or will, its certificate by the key before it, the oldest first. By these,
    /// whoever knows an earlier one gets to know the later ones.
    #[must_use]
    pub fn links(&self, now: UnixTime) -> Vec<CertificateDer<'static>> {
        let loaded = self.loaded();
        let counting = loaded.members.iter().filter(|one| one.planned.counts(now));
        counting.filter_map(|one| one.link.clone()).collect()
    }

    /// All keys that have not ended, the oldest first.
    #[must_use]
    pub fn list(&self, now: UnixTime) -> Vec<ListedCa> {
        let issuing = self.issuer(now).certificate().clone();
        let loaded = self.loaded();
        let listed = loaded.members.iter().filter_map(|one| {
            let Planned { file, issues_from, ends, .. } = one.planned.clone();
            let state = match () {
                () if !one.planned.counts(now) => KeyState::Ended,
                () if one.certificate == issuing => KeyState::Signing,
                () if issues_from > now.0 => KeyState::Next,
                () => KeyState::Leaving,
            };
            Some(ListedCa { file: file?, certificate: one.certificate.clone(), ends, state })
        });
        listed.collect()
    }

    /// That each certificate is one of its key.
    ///
    /// # Errors
    /// [`KeyError::Malformed`].
    pub fn check(&self, directory: &Path) -> Result<(), KeyError> {
        let malformed = |_| KeyError::Malformed { path: directory.join(bundle(self.name)) };
        let issuers: Vec<_> =
            self.loaded().members.iter().filter_map(|one| one.issuer.clone()).collect();
        issuers.iter().try_for_each(|issuer| issuer.check().map_err(malformed))
    }

    /// Deletes the secrets of keys that ended, and loads the keys anew if the plan was changed since; returns
    /// whether it was. What cannot be loaded does not take the place of what works.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn reload(&self, directory: &Path, now: UnixTime) -> Result<bool, KeyError> {
        let mut text = plan::text(&directory.join(plan_file(self.name)))?;
        if text.is_some() && retire(directory, self.name, now)? {
            text = plan::text(&directory.join(plan_file(self.name)))?;
        }
        if self.loaded().plan == text {
            return Ok(false);
        }
        let credentials = super::credentials();
        let secrets = Secrets { directory, credentials: credentials.as_deref() };
        let loaded = load(secrets, self.name)?;
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(true)
    }

    fn loaded(&self) -> RwLockReadGuard<'_, Loaded> {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn plan_file(name: &str) -> String {
    format!("{name}.json")
}

fn bundle(name: &str) -> String {
    format!("{name}.pem")
}

fn load(secrets: Secrets<'_>, name: &str) -> Result<Loaded, KeyError> {
    let (plan, text) = read(secrets.directory, name)?;
    let path = secrets.directory.join(plan_file(name));
    let mut members = Vec::new();
    for planned in plan.keys {
        let certificate = certificate(&path, &planned.certificate)?;
        let link =
            planned.link.as_deref().map(|link| self::certificate(&path, link)).transpose()?;
        let issuer = match &planned.file {
            Some(file) => {
                let key = signer(secrets, file)?;
                Some(Arc::new(CertificateAuthority::load(certificate.clone(), key)?))
            }
            None => None,
        };
        members.push(Arc::new(Member { planned, certificate, link, issuer }));
    }
    let first = members.iter().find_map(|one| one.issuer.clone());
    let first = first.ok_or(KeyError::Malformed { path })?;
    Ok(Loaded { members, first, plan: text })
}

fn certificate(path: &Path, base64: &str) -> Result<CertificateDer<'static>, KeyError> {
    let der = STANDARD.decode(base64);
    der.map(CertificateDer::from).map_err(|_| KeyError::Malformed { path: path.to_owned() })
}

/// The plan, or what it would say of the only key; and its text.
fn read(directory: &Path, name: &str) -> Result<(Plan, Option<Vec<u8>>), KeyError> {
    let path = directory.join(plan_file(name));
    let Some(text) = plan::text(&path)? else {
        let only = read_certificate(&directory.join(bundle(name)))?;
        let first = Planned {
            file: Some(format!("{name}.key")),
            certificate: STANDARD.encode(only),
            link: None,
            issues_from: 0,
            ends: None,
        };
        return Ok((Plan { keys: vec![first] }, None));
    };
    let plan = plan::parse(&path, &text, |plan: &Plan| {
        plan.keys.iter().filter_map(|one| one.file.as_deref()).collect()
    });
    Ok((plan?, Some(text)))
}

/// Writes the plan, and the certificates that others trust by it.
fn write(directory: &Path, name: &str, plan: &Plan, now: UnixTime) -> Result<(), KeyError> {
    let path = directory.join(plan_file(name));
    let text = serde_json::to_vec_pretty(plan).unwrap_or_default();
    replace_public(&path, &text)?;
    let mut trusted = String::new();
    for one in plan.keys.iter().filter(|one| one.counts(now)) {
        trusted.push_str(&pem(&certificate(&path, &one.certificate)?));
    }
    replace_public(&directory.join(bundle(name)), trusted.as_bytes())
}

/// Takes the files of keys that ended out of the plan; gives them.
fn take_ended(plan: &mut Plan, now: UnixTime) -> Vec<String> {
    let ended = plan.keys.iter_mut().filter(|one| !one.counts(now));
    ended.filter_map(|one| one.file.take()).collect()
}

fn delete(directory: &Path, files: Vec<String>) {
    for file in files {
        // It issues nothing any more; one that the service manager provides is not here.
        let _ = fs::remove_file(directory.join(file));
    }
}

/// Deletes the secrets of keys that ended; returns whether there were any.
fn retire(directory: &Path, name: &str, now: UnixTime) -> Result<bool, KeyError> {
    let due = |plan: &mut Plan| take_ended(plan, now);
    if due(&mut read(directory, name)?.0).is_empty() {
        return Ok(false);
    }
    let _locked = lock(directory, &format!("{name}.lock"))?;
    // Another node may have been faster.
    let (mut plan, _) = read(directory, name)?;
    let ended = due(&mut plan);
    write(directory, name, &plan, now)?;
    delete(directory, ended);
    Ok(true)
}

/// How long a new key of a CA is trusted before it issues, and what the one before it issued counts after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaTimes {
    /// Until the new one issues: in this time whoever trusts the old one has to get to know it.
    pub ahead: Duration,
    /// From then on, until the old one ends: what it issued has to run out or be renewed.
    pub overlap: Duration,
}

/// What a rotation of a CA's key made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotatedCa {
    /// The file of the new key.
    pub file: String,
    /// From when on it issues.
    pub issues_from: UnixTime,
    /// From when on what the one before it issued counts no more.
    pub ends: UnixTime,
}

/// Makes another key and certificate for the CA in the files `name`; `None` when a rotation of it is under way.
/// In an emergency it issues now, and nothing that any other issued counts any more.
///
/// # Errors
/// See [`KeyError`]; the plan changes whole or not at all.
pub fn rotate_ca(
    directory: &Path,
    (name, common_name): (&'static str, &str),
    times: CaTimes,
    urgency: Urgency,
    now: UnixTime,
) -> Result<Option<RotatedCa>, KeyError> {
    let _locked = lock(directory, &format!("{name}.lock"))?;
    let (mut plan, _) = read(directory, name)?;
    if urgency == Urgency::Scheduled && plan.keys.iter().filter(|one| one.counts(now)).count() > 1 {
        return Ok(None);
    }
    let malformed = || KeyError::Malformed { path: directory.join(plan_file(name)) };
    let last = plan.keys.iter().rfind(|one| one.file.is_some()).ok_or_else(malformed)?;
    let before = last.file.clone().ok_or_else(malformed)?;
    let before_certificate = certificate(&directory.join(plan_file(name)), &last.certificate)?;
    let credentials = super::credentials();
    let secrets = Secrets { directory, credentials: credentials.as_deref() };
    let file = new_key_beside(directory, &before, KeyUse::Ca(name), now)?;
    let key = signer(secrets, &file)?;
    let made = CertificateAuthority::self_signed(common_name, key.clone(), now)?;
    let (issues_from, ends, link) = match urgency {
        Urgency::Emergency => (now, now, None),
        Urgency::Scheduled => {
            let before = CertificateAuthority::load(before_certificate, signer(secrets, &before)?)?;
            let link = before.certify_ca(common_name, key.public_point(), now)?;
            let issues_from = now.plus(times.ahead);
            (issues_from, issues_from.plus(times.overlap), Some(STANDARD.encode(link)))
        }
    };
    for one in &mut plan.keys {
        one.ends = Some(one.ends.map_or(ends.0, |before| before.min(ends.0)));
    }
    plan.keys.push(Planned {
        file: Some(file.clone()),
        certificate: STANDARD.encode(made),
        link,
        issues_from: issues_from.0,
        ends: None,
    });
    let ended = take_ended(&mut plan, now);
    write(directory, name, &plan, now)?;
    delete(directory, ended);
    Ok(Some(RotatedCa { file, issues_from, ends }))
}

/// The certificate of the CA that issues now, without its key.
pub(super) fn issuing_certificate(
    directory: &Path,
    name: &str,
    now: UnixTime,
) -> Result<CertificateDer<'static>, KeyError> {
    let path = directory.join(plan_file(name));
    let (plan, _) = read(directory, name)?;
    let issuing = plan.keys.iter().filter(|one| one.issues(now));
    let newest = issuing.max_by_key(|one| one.issues_from).or(plan.keys.first());
    certificate(
        &path,
        &newest.ok_or_else(|| KeyError::Malformed { path: path.clone() })?.certificate,
    )
}

/// The file of the newest key, and the CA of it.
pub(super) fn newest_ca(
    secrets: Secrets<'_>,
    name: &str,
) -> Result<(String, CertificateAuthority), KeyError> {
    let path = secrets.directory.join(plan_file(name));
    let (plan, _) = read(secrets.directory, name)?;
    let newest = plan.keys.iter().rev().find_map(|one| Some((one.file.clone()?, &one.certificate)));
    let (file, found) = newest.ok_or_else(|| KeyError::Malformed { path: path.clone() })?;
    let key = signer(secrets, &file)?;
    Ok((file, CertificateAuthority::load(certificate(&path, found)?, key)?))
}

/// Puts another certificate of the newest key in its certificate's place.
pub(super) fn replace_certificate(
    directory: &Path,
    name: &str,
    made: &CertificateDer<'_>,
    now: UnixTime,
) -> Result<(), KeyError> {
    let _locked = lock(directory, &format!("{name}.lock"))?;
    let (mut plan, text) = read(directory, name)?;
    if text.is_none() {
        return replace_public(&directory.join(bundle(name)), pem(made).as_bytes());
    }
    if let Some(newest) = plan.keys.last_mut() {
        newest.certificate = STANDARD.encode(made);
    }
    write(directory, name, &plan, now)
}
