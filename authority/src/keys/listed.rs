//! All keys and certificates of the directory as people see them: what each is for, where it lies, how old
//! it is, and what is due.

use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::Serialize;
use signet_evidence::UnixTime;
use signet_verifier::certificate::Certificate;
use signet_verifier::log::{NoteKey, SignatureKind};

use super::{
    CERTIFICATE_AUTHORITIES, CaRing, KeyError, KeyState, Place, Secrets, TokenKeys, credentials,
    log_ring,
};
use crate::config::Config;
use crate::log::log_name;

/// A CA's certificate is due this long before it ends: machines' certificates must end before it does.
const CA_NOTICE: i64 = 365 * 86400;

/// Something that a person should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Due {
    /// The settings' time for a rotation has come, and none was made.
    Rotation,
    /// The certificate ends within a year, or has ended.
    Certificate,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AnyKey {
    /// `token`, `log`, `ca`, `challenge`, `integrity`.
    #[serde(rename = "use")]
    pub usage: &'static str,
    /// The token key's `kid`, the log's key as witnesses know it, the CA's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The token key's `kid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// The log's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its file.
    pub file: String,
    /// Where it lies; `None` for a log key that ended and is gone.
    pub place: Option<Place>,
    /// What a token key or log key does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<KeyState>,
    /// Since when it is there: it signs, its certificate is valid, or its file was written.
    pub since: Option<i64>,
    /// From when on it counts no more.
    pub ends: Option<i64>,
    /// What is due.
    pub due: Option<Due>,
}

/// All of them.
///
/// # Errors
/// See [`KeyError`].
pub fn list(config: &Config, now: UnixTime) -> Result<Vec<AnyKey>, KeyError> {
    let directory = config.keys();
    let credentials = credentials();
    let secrets = Secrets { directory: &directory, credentials: credentials.as_deref() };
    let mut keys = token_keys(secrets, config, now)?;
    keys.extend(log_keys(secrets, config, now)?);
    for (file, name) in CERTIFICATE_AUTHORITIES {
        let path = directory.join(format!("{file}.pem"));
        let malformed = |_| KeyError::Malformed { path: path.clone() };
        for one in CaRing::load(secrets, file)?.list(now) {
            let parsed = Certificate::parse(&one.certificate).map_err(malformed)?;
            let ends = parsed.not_after().0;
            let is_due = one.ends.is_none() && now.0 >= ends.saturating_sub(CA_NOTICE);
            keys.push(AnyKey {
                name: Some(name.to_owned()),
                // What issues is as it should be.
                state: (one.state != KeyState::Signing).then_some(one.state),
                since: Some(parsed.not_before().0),
                ends: one.ends.or(Some(ends)),
                due: is_due.then_some(Due::Certificate),
                ..key("ca", secrets, one.file)?
            });
        }
    }
    for (usage, file) in [("challenge", "challenge.key"), ("integrity", "integrity.key")] {
        keys.push(key(usage, secrets, file.to_owned())?);
    }
    Ok(keys)
}

/// What its file says of a key.
fn key(usage: &'static str, secrets: Secrets<'_>, file: String) -> Result<AnyKey, KeyError> {
    let secret = secrets.read(&file)?;
    let since = written(&secret.path);
    Ok(AnyKey { file, place: Some(secret.place), since, ..nothing(usage) })
}

fn token_keys(
    secrets: Secrets<'_>,
    config: &Config,
    now: UnixTime,
) -> Result<Vec<AnyKey>, KeyError> {
    let often = config.settings.rotate_token_key.as_ref();
    let often = often.and_then(|often| i64::try_from(often.get_ref().duration().as_secs()).ok());
    let listed = TokenKeys::load(secrets)?.list(now).into_iter();
    let seen = listed.map(|one| {
        let read = key("token", secrets, one.file)?;
        let since = if one.signs_from == 0 { read.since } else { Some(one.signs_from) };
        let overdue = matches!(one.state, KeyState::Signing)
            && one.ends.is_none()
            && often.is_some_and(|often| since.is_some_and(|since| now.0 - since > often + 60));
        Ok(AnyKey {
            kid: Some(one.kid),
            state: Some(one.state),
            since,
            ends: one.ends,
            due: overdue.then_some(Due::Rotation),
            ..read
        })
    });
    seen.collect()
}

fn log_keys(secrets: Secrets<'_>, config: &Config, now: UnixTime) -> Result<Vec<AnyKey>, KeyError> {
    let name = log_name(config.settings.issuer.as_str());
    let listed = log_ring::listed(secrets.directory)?;
    let newest = listed.len();
    let seen = listed.into_iter().zip(1..).map(|(one, number)| {
        let ended = one.ends.is_some_and(|ends| now.0 >= ends);
        let public = NoteKey::new(&name, SignatureKind::Log, one.public);
        let read = match ended {
            // Its secret is gone.
            true => AnyKey { file: one.file, ..nothing("log") },
            false => key("log", secrets, one.file)?,
        };
        Ok(AnyKey {
            key: public.ok().map(|key| key.to_string()),
            state: Some(match () {
                () if ended => KeyState::Ended,
                () if number < newest => KeyState::Leaving,
                () => KeyState::Signing,
            }),
            since: if one.signs_from == 0 { read.since } else { Some(one.signs_from) },
            ends: one.ends,
            ..read
        })
    });
    seen.collect()
}

fn nothing(usage: &'static str) -> AnyKey {
    AnyKey {
        usage,
        name: None,
        kid: None,
        key: None,
        file: String::new(),
        place: None,
        state: None,
        since: None,
        ends: None,
        due: None,
    }
}

/// When the file was written.
fn written(path: &Path) -> Option<i64> {
    let modified = std::fs::metadata(path).and_then(|found| found.modified()).ok()?;
    i64::try_from(modified.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
}
