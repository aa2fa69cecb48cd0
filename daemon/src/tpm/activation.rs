//! Credential activation: proof that the AK lives in the TPM whose endorsement key the authority
//! trusts.

use tss_esapi::constants::SessionType;
use tss_esapi::handles::{AuthHandle, KeyHandle};
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{Digest, EncryptedSecret, IdObject, Nonce};
use zeroize::Zeroizing;

use super::endorsement::{self, EndorsementKind};
use super::error::TpmError;
use super::link::{Link, Sessions};
use super::template;
use super::tls_key::split_sized;

/// A credential as the authority sends it.
pub(super) struct Credential {
    blob: IdObject,
    secret: EncryptedSecret,
}

impl Credential {
    /// Both with their two bytes of length and nothing behind.
    pub(super) fn parse(blob: &[u8], secret: &[u8]) -> Result<Self, TpmError> {
        let (Some((blob, [])), Some((secret, []))) = (split_sized(blob), split_sized(secret))
        else {
            return Err(TpmError::MalformedCredential);
        };
        Ok(Self {
            blob: IdObject::try_from(blob).map_err(|_| TpmError::MalformedCredential)?,
            secret: EncryptedSecret::try_from(secret).map_err(|_| TpmError::MalformedCredential)?,
        })
    }
}

pub(super) fn activate(
    link: &mut Link,
    kind: EndorsementKind,
    credential: &Credential,
) -> Result<Zeroizing<Vec<u8>>, TpmError> {
    let template = endorsement::template(link, kind)?;
    if !link.self_tested() {
        self_test(link)?;
    }
    let activated = link.with_primary(Hierarchy::Endorsement, &template, |link, primary| {
        open(link, kind, primary.key_handle, credential)
    });
    match activated {
        Err(TpmError::Protocol(code)) if code.is_unsupported_template() => {
            Err(TpmError::NoEndorsementKey)
        }
        result => result,
    }
}

/// The low-range keys want a policy session (PolicySecret on the endorsement hierarchy, policy A
/// of the EK Credential Profile); the high-range key takes an empty password, and a session beside
/// it only to encrypt.
fn open(
    link: &mut Link,
    kind: EndorsementKind,
    ek: KeyHandle,
    credential: &Credential,
) -> Result<Zeroizing<Vec<u8>>, TpmError> {
    let password = Some(AuthSession::Password);
    match kind.is_high_range() {
        false => link.with_salted_session(ek, SessionType::Policy, |link, session| {
            let policy = PolicySession::try_from(session).map_err(|error| link.explain(error))?;
            link.password(1, |context| {
                context.policy_secret(
                    policy,
                    AuthHandle::Endorsement,
                    Nonce::default(),
                    Digest::default(),
                    Nonce::default(),
                    None,
                )
            })?;
            command(link, (password, Some(session), None), ek, credential)
        }),
        true => link.with_salted_session(ek, SessionType::Hmac, |link, session| {
            command(link, (password, password, Some(session)), ek, credential)
        }),
    }
}

fn command(
    link: &mut Link,
    sessions: Sessions,
    ek: KeyHandle,
    credential: &Credential,
) -> Result<Zeroizing<Vec<u8>>, TpmError> {
    let ak = link.attestation_key;
    let opened = link.authorised(sessions, |context| {
        let (blob, secret) = (credential.blob.clone(), credential.secret.clone());
        context.activate_credential(ak, ek, blob, secret)
    });
    let secret = opened.map_err(|error| match error {
        TpmError::Protocol(code) if code.is_credential_fault() => TpmError::CredentialRefused,
        error => error,
    })?;
    Ok(Zeroizing::new(secret.value().to_vec()))
}

/// Some versions of libtss2 report success with a wrong secret, so none is opened before one of our
/// own came out right.
pub(super) fn self_test(link: &mut Link) -> Result<(), TpmError> {
    let result = run_self_test(link);
    link.note_self_test(&result);
    result
}

fn run_self_test(link: &mut Link) -> Result<(), TpmError> {
    link.plain(|context| context.self_test(false)).map_err(|error| match error {
        TpmError::Protocol(_) => TpmError::SelfTest,
        error => error,
    })?;
    let kind = EndorsementKind::EccP256;
    let expected = link.plain(|context| context.get_random(32))?;
    let template = template::endorsement_key(kind).map_err(|error| link.explain(error))?;
    let opened = link.with_primary(Hierarchy::Endorsement, &template, |link, primary| {
        let ek = primary.key_handle;
        let ak = link.attestation_key;
        let name = link.plain(|context| context.tr_get_name(ak.into()))?;
        let (blob, secret) =
            link.plain(|context| context.make_credential(ek, expected.clone(), name.clone()))?;
        open(link, kind, ek, &Credential { blob, secret })
    });
    match opened {
        Ok(secret) if secret.as_slice() == expected.value() => Ok(()),
        Err(error) if error.is_stale() => Err(error),
        Err(TpmError::Protocol(code)) => {
            tracing::warn!("self-test: {code}");
            Err(TpmError::SelfTest)
        }
        Ok(_) | Err(TpmError::CredentialRefused | TpmError::ResponseForged) => {
            Err(TpmError::SelfTest)
        }
        Err(error) => Err(error),
    }
}
