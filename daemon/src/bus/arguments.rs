//! Reading `a{sv}` arguments: every member by its name and type, and nothing left over.

use std::collections::HashMap;
use std::path::PathBuf;

use signet_ctap::operation::Config;
use signet_evidence::{Purpose, SessionId};
use zbus::OwnedVariant;

use super::Abilities;
use crate::authenticator::{Task, Upkeep};
use crate::enrol::{Activation, Admission, Renewal};
use crate::failure::ArgumentError;
use crate::platform::{Means, Method};
use crate::presence::Request;
use crate::prompt::Quoted;
use crate::tpm::EndorsementKind;

/// An `a{sv}` as it comes.
pub(super) type Dictionary = HashMap<String, OwnedVariant>;

/// Most credentials in one list.
const MAX_CREDENTIALS: usize = 64;
/// Longest id of a credential or a finger, bytes.
const MAX_ID: usize = 1023;
/// Longest name of a finger, bytes; each key has a limit of its own below this.
const MAX_NAME: usize = 64;
/// Longest structure of the TPM that an authority sends.
const MAX_BLOB: usize = 4096;

struct Arguments(Dictionary);

impl Arguments {
    fn optional<T: TryFrom<OwnedVariant>>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<T>, ArgumentError> {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        T::try_from(value).map(Some).map_err(|_| ArgumentError::Type(name))
    }

    fn required<T: TryFrom<OwnedVariant>>(
        &mut self,
        name: &'static str,
    ) -> Result<T, ArgumentError> {
        self.optional(name)?.ok_or(ArgumentError::Missing(name))
    }

    fn blob(&mut self, name: &'static str) -> Result<Vec<u8>, ArgumentError> {
        let bytes: Vec<u8> = self.required(name)?;
        if bytes.len() <= MAX_BLOB { Ok(bytes) } else { Err(ArgumentError::Value(name)) }
    }

    fn credentials(&mut self, name: &'static str) -> Result<Vec<Vec<u8>>, ArgumentError> {
        let list: Vec<Vec<u8>> = self.optional(name)?.unwrap_or_default();
        let sound = |id: &Vec<u8>| (1..=MAX_ID).contains(&id.len());
        if list.len() <= MAX_CREDENTIALS && list.iter().all(sound) {
            Ok(list)
        } else {
            Err(ArgumentError::Value(name))
        }
    }

    fn means(&mut self) -> Result<Option<Means>, ArgumentError> {
        let name: Option<String> = self.optional("method")?;
        let means = |name: String| Means::from_name(&name).ok_or(ArgumentError::Value("method"));
        name.map(means).transpose()
    }

    fn id(&mut self, name: &'static str) -> Result<Vec<u8>, ArgumentError> {
        let id: Vec<u8> = self.required(name)?;
        if (1..=MAX_ID).contains(&id.len()) { Ok(id) } else { Err(ArgumentError::Value(name)) }
    }

    fn digest(&mut self, name: &'static str) -> Result<Option<[u8; 32]>, ArgumentError> {
        let bytes: Option<Vec<u8>> = self.optional(name)?;
        bytes.map(TryInto::try_into).transpose().map_err(|_| ArgumentError::Value(name))
    }

    fn finger_name(&mut self) -> Result<String, ArgumentError> {
        let name: String = self.required("name")?;
        let sound = !name.is_empty() && name.len() <= MAX_NAME && !name.contains(char::is_control);
        if sound { Ok(name) } else { Err(ArgumentError::Value("name")) }
    }

    /// Words of the requester, to be shown as such.
    fn quoted(&mut self, name: &'static str) -> Result<Option<Quoted>, ArgumentError> {
        let text: Option<String> = self.optional(name)?;
        let quoted = |text: String| Quoted::new(&text).ok_or(ArgumentError::Value(name));
        text.map(quoted).transpose()
    }

    fn finish(self) -> Result<(), ArgumentError> {
        match self.0.into_keys().min() {
            Some(name) => Err(ArgumentError::Unknown(name)),
            None => Ok(()),
        }
    }
}

/// Options of `RequestPresence`, and whether to wait for a key.
pub(super) fn presence(options: Dictionary) -> Result<(Request, bool), ArgumentError> {
    let mut options = Arguments(options);
    let wait: bool = options.optional("wait")?.unwrap_or(false);
    let purpose: String = options.required("purpose")?;
    let purpose = Purpose::from_name(&purpose).ok_or(ArgumentError::Value("purpose"))?;
    let human = matches!(purpose, Purpose::Session | Purpose::Action);
    let machine = matches!(purpose, Purpose::Renew | Purpose::Workload | Purpose::EnrolDevice);
    if !human && !machine {
        return Err(ArgumentError::Value("purpose"));
    }
    let session: Option<Vec<u8>> = options.optional("session")?;
    let session = session.map(|id| id.try_into().map(SessionId)).transpose();
    let user_verification: Option<String> = options.optional("user_verification")?;
    let certify = matches!(purpose, Purpose::Session | Purpose::Workload | Purpose::EnrolDevice);
    let request = Request {
        purpose,
        challenge: options.required("challenge")?,
        subject: options.optional("subject")?,
        scope: options.optional("scope")?,
        acr: options.optional("acr")?,
        action: options.optional("action")?,
        session: session.map_err(|_| ArgumentError::Value("session"))?,
        allow_credentials: options.credentials("allow_credentials")?,
        touch_credentials: options.credentials("touch_credentials")?,
        exclude_credentials: Vec::new(),
        user_verification: match user_verification.as_deref() {
            // Unsaid is the stronger one.
            Some("required") | None => true,
            Some("discouraged") => false,
            Some(_) => return Err(ArgumentError::Value("user_verification")),
        },
        certify: options.optional("certify")?.unwrap_or(certify),
        known_event_log: options.digest("known_event_log")?,
        means: options.means()?,
        reason: options.quoted("reason")?,
        remote: options.quoted("remote")?,
    };
    options.finish()?;
    Ok((request, wait))
}

/// Options of `RegisterAuthenticator`, and whether to wait for a key.
pub(super) fn registration(options: Dictionary) -> Result<(Request, bool), ArgumentError> {
    let mut options = Arguments(options);
    let wait: bool = options.optional("wait")?.unwrap_or(false);
    let request = Request {
        purpose: Purpose::EnrolKey,
        challenge: options.required("challenge")?,
        subject: Some(options.required("subject")?),
        scope: None,
        acr: None,
        action: None,
        session: None,
        allow_credentials: options.credentials("authorise_with")?,
        touch_credentials: Vec::new(),
        exclude_credentials: options.credentials("exclude_credentials")?,
        user_verification: true,
        certify: false,
        known_event_log: options.digest("known_event_log")?,
        means: options.means()?,
        reason: options.quoted("reason")?,
        remote: options.quoted("remote")?,
    };
    options.finish()?;
    Ok((request, wait))
}

/// Options of `RegisterAgent`.
pub(super) fn abilities(options: Dictionary) -> Result<Abilities, ArgumentError> {
    let mut options = Arguments(options);
    let abilities = Abilities {
        show: options.optional("show")?.unwrap_or(false),
        pin: options.optional("pin")?.unwrap_or(false),
        number: options.optional("number")?.unwrap_or(false),
    };
    options.finish()?;
    Ok(abilities)
}

/// Members that all methods for the upkeep of a key have, and those of its task.
fn upkeep(
    options: Dictionary,
    task: impl FnOnce(&mut Arguments) -> Result<Task, ArgumentError>,
) -> Result<Upkeep, ArgumentError> {
    let mut options = Arguments(options);
    let path: Option<String> = options.optional("path")?;
    let task = task(&mut options)?;
    options.finish()?;
    Ok(Upkeep { path: path.map(PathBuf::from), task })
}

/// Options of the methods that have no others than `path`.
pub(super) fn plain(options: Dictionary, task: Task) -> Result<Upkeep, ArgumentError> {
    upkeep(options, |_| Ok(task))
}

/// Options of `ChangePin`: the security key that is meant; none for the machine's own key, of which
/// each user has one.
pub(super) fn change_pin(options: Dictionary) -> Result<Option<Upkeep>, ArgumentError> {
    let mut options = Arguments(options);
    match options.means()? {
        None | Some(Means::SecurityKey) => plain(options.0, Task::ChangePin).map(Some),
        Some(Means::Platform(Method::Pin)) => options.finish().map(|()| None),
        Some(Means::Platform(Method::Fingerprint)) => Err(ArgumentError::Value("method")),
    }
}

/// Options of `AddFinger`.
pub(super) fn add_finger(options: Dictionary) -> Result<Upkeep, ArgumentError> {
    upkeep(options, |options| Ok(Task::AddFinger { name: options.finger_name()? }))
}

/// Options of `RenameFinger`.
pub(super) fn rename_finger(options: Dictionary) -> Result<Upkeep, ArgumentError> {
    upkeep(options, |options| {
        let template = options.id("template")?;
        Ok(Task::RenameFinger { template, name: options.finger_name()? })
    })
}

/// Options of `RemoveFinger`.
pub(super) fn remove_finger(options: Dictionary) -> Result<Upkeep, ArgumentError> {
    upkeep(options, |options| Ok(Task::RemoveFinger { template: options.id("template")? }))
}

/// Options of `RemoveCredential`.
pub(super) fn remove_credential(options: Dictionary) -> Result<Upkeep, ArgumentError> {
    upkeep(options, |options| Ok(Task::RemoveCredential { id: options.id("id")? }))
}

/// Options of `ResetAuthenticator`: the key must be named.
pub(super) fn reset(options: Dictionary) -> Result<Upkeep, ArgumentError> {
    match plain(options, Task::Reset)? {
        Upkeep { path: None, .. } => Err(ArgumentError::Missing("path")),
        named => Ok(named),
    }
}

/// Options of `ConfigureAuthenticator`: one setting.
pub(super) fn configuration(options: Dictionary) -> Result<Upkeep, ArgumentError> {
    upkeep(options, |options| {
        let always_uv: Option<bool> = options.optional("always_uv")?;
        let min_length: Option<u32> = options.optional("min_pin_length")?;
        let force_change: Option<bool> = options.optional("force_pin_change")?;
        let enterprise: Option<bool> = options.optional("enterprise_attestation")?;
        match (always_uv, min_length, force_change, enterprise) {
            (Some(on), None, None, None) => Ok(Task::Configure(Config::AlwaysUv(on))),
            (None, Some(4..=63), _, None) | (None, None, Some(true), None) => {
                let force_change = force_change == Some(true);
                let rp_ids = Vec::new();
                let config = Config::MinPinLength { length: min_length, force_change, rp_ids };
                Ok(Task::Configure(config))
            }
            (None, None, None, Some(true)) => Ok(Task::Configure(Config::EnterpriseAttestation)),
            // No key takes these back.
            (_, _, Some(false), None) => Err(ArgumentError::Value("force_pin_change")),
            (_, _, _, Some(false)) => Err(ArgumentError::Value("enterprise_attestation")),
            (None, Some(_), _, None) => Err(ArgumentError::Value("min_pin_length")),
            _ => Err(ArgumentError::Settings),
        }
    })
}

/// Name of an endorsement key's kind on the bus.
pub(super) fn kind_name(kind: EndorsementKind) -> &'static str {
    match kind {
        EndorsementKind::Rsa2048 => "rsa-2048",
        EndorsementKind::EccP256 => "ecc-p256",
        EndorsementKind::Rsa2048High => "rsa-2048-high",
        EndorsementKind::EccP256High => "ecc-p256-high",
        EndorsementKind::EccP384 => "ecc-p384",
    }
}

/// Options of `ActivateEnrolment`.
pub(super) fn activation(options: Dictionary) -> Result<Activation, ArgumentError> {
    let mut options = Arguments(options);
    let kind: String = options.required("ek_kind")?;
    let kind = EndorsementKind::ALL.into_iter().find(|known| kind_name(*known) == kind);
    let activation = Activation {
        ek_kind: kind.ok_or(ArgumentError::Value("ek_kind"))?,
        credential_blob: options.blob("credential_blob")?,
        encrypted_secret: options.blob("encrypted_secret")?,
        nonce: options.blob("nonce")?,
        transcript: options.blob("transcript")?,
    };
    options.finish()?;
    Ok(activation)
}

/// Options of `CompleteEnrolment`.
pub(super) fn admission(options: Dictionary) -> Result<Admission, ArgumentError> {
    let mut options = Arguments(options);
    let admission = Admission {
        device_chain: options.required("device_chain")?,
        ak_chain: options.required("ak_chain")?,
        device_id: options.required("device_id")?,
        authority: options.required("authority")?,
        audience: options.required("audience")?,
        rp_id: options.required("rp_id")?,
        operator: options.required("operator")?,
        ca: options.required("ca")?,
        issuers: options.optional("issuers")?.unwrap_or_default(),
    };
    options.finish()?;
    Ok(admission)
}

/// Options of `RenewCertificates`.
pub(super) fn renewal(options: Dictionary) -> Result<Renewal, ArgumentError> {
    let mut options = Arguments(options);
    let renewal = Renewal {
        device_chain: options.required("device_chain")?,
        ak_chain: options.required("ak_chain")?,
        successors: options.optional("successors")?.unwrap_or_default(),
    };
    options.finish()?;
    Ok(renewal)
}

/// Options of `ListSessions` and `EndSessions`: another user than the caller's.
pub(super) fn user(options: Dictionary) -> Result<Option<u32>, ArgumentError> {
    let mut options = Arguments(options);
    let uid = options.optional("uid")?;
    options.finish().map(|()| uid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::Variant;

    fn options(members: Vec<(&str, Variant<'static>)>) -> Dictionary {
        let owned = |value: Variant<'static>| OwnedVariant::try_from(value).unwrap();
        members.into_iter().map(|(name, value)| (name.to_owned(), owned(value))).collect()
    }

    #[test]
    fn members_are_read_by_name_and_type_and_none_is_left_over() {
        let good = || {
            vec![
                ("purpose", "session".into()),
                ("challenge", vec![7u8; 39].into()),
                ("subject", "alice".into()),
                ("allow_credentials", vec![vec![1u8, 2], vec![3]].into()),
            ]
        };
        let (request, _) = presence(options(good())).unwrap();
        assert_eq!(request.allow_credentials, [vec![1, 2], vec![3]]);
        assert!(request.certify && request.user_verification);
        let with = |name: &'static str, value: Variant<'static>| {
            let mut members = good();
            members.retain(|(found, _)| *found != name);
            members.push((name, value));
            presence(options(members)).unwrap_err()
        };
        assert_eq!(with("purpose", "enrol-key".into()), ArgumentError::Value("purpose"));
        assert_eq!(with("challenge", "text".into()), ArgumentError::Type("challenge"));
        assert_eq!(with("session", vec![1u8; 15].into()), ArgumentError::Value("session"));
        assert_eq!(
            with("user_verification", "preferred".into()),
            ArgumentError::Value("user_verification")
        );
        assert_eq!(with("title", "Trust me".into()), ArgumentError::Unknown("title".into()));
        let empty: Vec<Vec<u8>> = vec![vec![]];
        assert_eq!(
            with("allow_credentials", empty.into()),
            ArgumentError::Value("allow_credentials")
        );
        assert_eq!(
            presence(options(good()[..1].to_vec())).unwrap_err(),
            ArgumentError::Missing("challenge")
        );
    }
}
