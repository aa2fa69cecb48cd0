//! Reading `a{sv}` arguments: every member by its name and type, and nothing left over.

use std::collections::HashMap;

use signet_evidence::{Purpose, SessionId};
use zbus::OwnedVariant;

use crate::enrol::{Activation, Admission};
use crate::failure::ArgumentError;
use crate::presence::Request;
use crate::tpm::EndorsementKind;

/// An `a{sv}` as it comes.
pub(super) type Dictionary = HashMap<String, OwnedVariant>;

/// Most credentials in one list.
const MAX_CREDENTIALS: usize = 64;
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
        let sound = |id: &Vec<u8>| (1..=1023).contains(&id.len());
        if list.len() <= MAX_CREDENTIALS && list.iter().all(sound) {
            Ok(list)
        } else {
            Err(ArgumentError::Value(name))
        }
    }

    fn finish(self) -> Result<(), ArgumentError> {
        match self.0.into_keys().min() {
            Some(name) => Err(ArgumentError::Unknown(name)),
            None => Ok(()),
        }
    }
}

/// Options of `RequestPresence`.
pub(super) fn presence(options: Dictionary) -> Result<Request, ArgumentError> {
    let mut options = Arguments(options);
    let purpose: String = options.required("purpose")?;
    let purpose = Purpose::from_name(&purpose).ok_or(ArgumentError::Value("purpose"))?;
    let human = matches!(purpose, Purpose::Session | Purpose::Action);
    if !human && !matches!(purpose, Purpose::Renew | Purpose::Workload) {
        return Err(ArgumentError::Value("purpose"));
    }
    let session: Option<Vec<u8>> = options.optional("session")?;
    let session = session.map(|id| id.try_into().map(SessionId)).transpose();
    let user_verification: Option<String> = options.optional("user_verification")?;
    let certify = matches!(purpose, Purpose::Session | Purpose::Workload);
    let request = Request {
        purpose,
        challenge: options.required("challenge")?,
        subject: options.optional("subject")?,
        scope: options.optional("scope")?,
        acr: options.optional("acr")?,
        action: options.optional("action")?,
        session: session.map_err(|_| ArgumentError::Value("session"))?,
        allow_credentials: options.credentials("allow_credentials")?,
        exclude_credentials: Vec::new(),
        user_verification: match user_verification.as_deref() {
            // Unsaid is the stronger one.
            Some("required") | None => true,
            Some("discouraged") => false,
            Some(_) => return Err(ArgumentError::Value("user_verification")),
        },
        certify: options.optional("certify")?.unwrap_or(certify),
    };
    options.finish()?;
    Ok(request)
}

/// Options of `RegisterAuthenticator`.
pub(super) fn registration(options: Dictionary) -> Result<Request, ArgumentError> {
    let mut options = Arguments(options);
    let request = Request {
        purpose: Purpose::EnrolKey,
        challenge: options.required("challenge")?,
        subject: Some(options.required("subject")?),
        scope: None,
        acr: None,
        action: None,
        session: None,
        allow_credentials: options.credentials("authorise_with")?,
        exclude_credentials: options.credentials("exclude_credentials")?,
        user_verification: true,
        certify: false,
    };
    options.finish()?;
    Ok(request)
}

/// Name of an endorsement key's kind on the bus.
pub(super) fn kind_name(kind: EndorsementKind) -> &'static str {
    match kind {
        EndorsementKind::Rsa2048 => "rsa-2048",
        EndorsementKind::EccP256 => "ecc-p256",
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
    };
    options.finish()?;
    Ok(admission)
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
        let request = presence(options(good())).unwrap();
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
