//! User keys: keys of this TPM that stand for a person without a security key (protocol §5.1).
//!
//! A PIN key is released by its PIN, which the TPM checks and counts (`TPM2_PolicyAuthValue`). A
//! fingerprint key is released by a signature of the authorisation key over this session's nonce
//! and this very command (`TPM2_PolicySigned`), so that an authorisation serves once and for one
//! digest. One policy each and no branches, because a signature does not show which was taken.

use signet_evidence::binding::sha256;
use signet_evidence::tpm::{FINGERPRINT_POLICY_REF, Name, TpmtPublic};
use signet_evidence::tpm::{policy_auth_value, policy_signed};
use tss_esapi::constants::SessionType;
use tss_esapi::handles::{KeyHandle, ObjectHandle};
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{
    Auth, Data, Digest, EccSignature, Nonce, Private, Public, Signature, SignatureScheme,
};
use tss_esapi::traits::{Marshall, UnMarshall};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::error::TpmError;
use super::link::Link;
use super::tls_key::{in_place_of_tls_key, no_ticket};
use super::{properties, template};

/// A user key as it is stored. Useless without the TPM that made it and without what releases it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserKey {
    /// `TPMT_PUBLIC`.
    pub public: Vec<u8>,
    /// Content of the `TPM2B_PRIVATE`, encrypted by the TPM.
    pub private: Vec<u8>,
    /// Name of the storage root key that it was made under: tells a cleared TPM from a damaged
    /// file.
    pub parent: Vec<u8>,
}

/// A new user key with the AK's word for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertifiedUserKey {
    /// The key.
    pub key: UserKey,
    /// `TPMS_ATTEST` of its `TPM2_Certify` by the AK.
    pub attest: Vec<u8>,
    /// `TPMT_SIGNATURE` over it.
    pub signature: Vec<u8>,
}

/// The value that the TPM compares with the one that a PIN key was made with: SHA-256 over a tag and
/// the PIN in Unicode normalisation form C. A digest, so that a PIN may be longer than the TPM's
/// authorisation values; no salt, because nobody but the TPM ever compares it.
#[derive(Clone)]
pub struct PinValue(Zeroizing<Vec<u8>>);

impl PinValue {
    /// The value of this PIN.
    pub fn of(pin: &str) -> Self {
        let tag = b"signet-tpm-pin-v1\0";
        let mut text = Zeroizing::new(Vec::with_capacity(tag.len() + 4 * pin.len() + 64));
        text.extend_from_slice(tag);
        for character in pin.nfc() {
            text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        let digest = Zeroizing::new(sha256(&text));
        // The TPM drops trailing zeros of an authorisation value (Part 1 §19.6.4.3); libtss2 does not
        // in every version.
        let end = digest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Self(Zeroizing::new(digest[..end].to_vec()))
    }

    fn auth(&self) -> Result<Auth, TpmError> {
        Auth::try_from(self.0.as_slice()).map_err(|_| TpmError::MalformedResponse)
    }
}

impl std::fmt::Debug for PinValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PinValue")
    }
}

/// What the TPM asks the holder of the authorisation key to sign: this digest, with this key, in this
/// session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReleaseRequest {
    /// The session's `nonceTPM`.
    pub nonce: Vec<u8>,
    /// `TPMT_PUBLIC` of the key.
    pub public: Vec<u8>,
    /// The digest that is to be signed.
    pub digest: [u8; 32],
}

impl ReleaseRequest {
    /// The message whose SHA-256 is `aHash` of `TPM2_PolicySigned` (Part 3 §23.3.1): nonceTPM ‖
    /// expiration (none) ‖ cpHashA ‖ policyRef. cpHashA names `TPM2_Sign`, the key and the digest
    /// (Part 1 §18.7).
    ///
    /// # Errors
    /// [`TpmError::Tampered`] when the public area is none.
    pub fn message(&self) -> Result<Vec<u8>, TpmError> {
        let expiration = 0i32.to_be_bytes();
        let command = command_hash(&name(&self.public)?, &self.digest);
        Ok([&self.nonce, &expiration[..], &command, FINGERPRINT_POLICY_REF].concat())
    }
}

/// Signs one [`ReleaseRequest`], ECDSA P-256: r then s, 32 bytes each; `None` when it does not.
pub type Releaser = Box<dyn Fn(&ReleaseRequest) -> Option<[u8; 64]> + Send>;

/// The Name of a public area: a platform key's credential id.
///
/// # Errors
/// [`TpmError::Tampered`] when it is none.
pub fn name(public: &[u8]) -> Result<Name, TpmError> {
    TpmtPublic::parse(public).map(|public| Name::of(&public)).map_err(|_| TpmError::Tampered)
}

/// cpHash of `TPM2_Sign` as [`sign_raw`] sends it: command code, the key's Name, and the parameters
/// digest, scheme (ECDSA, SHA-256) and an empty ticket.
fn command_hash(key: &Name, digest: &[u8; 32]) -> [u8; 32] {
    const TPM2_SIGN: [u8; 4] = 0x0000_015d_u32.to_be_bytes();
    const ECDSA_SHA256: [u8; 4] = [0x00, 0x18, 0x00, 0x0b];
    /// TPM_ST_HASHCHECK, TPM_RH_NULL, no digest.
    const NO_TICKET: [u8; 8] = [0x80, 0x24, 0x40, 0x00, 0x00, 0x07, 0x00, 0x00];
    let length = [0, 32];
    sha256(&[&TPM2_SIGN[..], key.as_bytes(), &length, digest, &ECDSA_SHA256, &NO_TICKET].concat())
}

/// Makes a PIN key and has the AK certify it.
pub(super) fn create_pin_key(
    link: &mut Link,
    pin: &PinValue,
    qualifying_data: &[u8; 32],
) -> Result<CertifiedUserKey, TpmError> {
    create(link, policy_auth_value(), Some(pin), qualifying_data)
}

/// Makes a key that signatures of `authorisation_key` (`TPMT_PUBLIC`) release, and has the AK
/// certify it.
pub(super) fn create_released_key(
    link: &mut Link,
    authorisation_key: &[u8],
    qualifying_data: &[u8; 32],
) -> Result<CertifiedUserKey, TpmError> {
    let policy = policy_signed(&name(authorisation_key)?, FINGERPRINT_POLICY_REF);
    create(link, policy, None, qualifying_data)
}

/// The PIN goes encrypted: into `TPM2_Create`, and as the key of an HMAC into `TPM2_Certify`.
fn create(
    link: &mut Link,
    policy: [u8; 32],
    pin: Option<&PinValue>,
    qualifying_data: &[u8; 32],
) -> Result<CertifiedUserKey, TpmError> {
    let template = template::user_key(&policy).map_err(|error| link.explain(error))?;
    let auth = pin.map(PinValue::auth).transpose()?;
    let data = Data::try_from(qualifying_data.as_slice()).map_err(|error| link.explain(error))?;
    let password = Some(AuthSession::Password);
    in_place_of_tls_key(link, |link, parent, parent_name| {
        link.with_salted_session(parent, SessionType::Hmac, |link, session| {
            let made = link.authorised((password, Some(session), None), |context| {
                context.create(parent, template.clone(), auth.clone(), None, None, None)
            })?;
            let public = made.out_public.marshall().map_err(|error| link.explain(error))?;
            let private = made.out_private.value().to_vec();
            let key = UserKey { public, private, parent: parent_name };
            let (attest, signature) = with_loaded(link, parent, &key, |link, handle| {
                set_auth(link, handle, pin)?;
                let signer = link.attestation_key;
                link.authorised((Some(session), password, None), |context| {
                    context.certify(handle.into(), signer, data.clone(), SignatureScheme::Null)
                })
            })?;
            let attest = attest.marshall().map_err(|error| link.explain(error))?;
            let signature = signature.marshall().map_err(|error| link.explain(error))?;
            Ok(CertifiedUserKey { key, attest, signature })
        })
    })
}

/// Signs with a PIN key: `TPMT_SIGNATURE`. One try; a wrong PIN counts in the TPM.
pub(super) fn sign_with_pin(
    link: &mut Link,
    key: &UserKey,
    pin: &PinValue,
    digest: &[u8; 32],
) -> Result<Vec<u8>, TpmError> {
    guard(link)?;
    let signed = with_key_and_session(link, key, |link, handle, session| {
        set_auth(link, handle, Some(pin))?;
        let policy = PolicySession::try_from(session).map_err(|error| link.explain(error))?;
        link.plain(|context| context.policy_auth_value(policy))?;
        sign_raw(link, handle, session, digest)
    });
    explain_pin(link, signed)
}

/// Gives a PIN key another PIN: the same key in a new blob. The TPM cannot take the old blob back:
/// whoever kept a copy of it can use the key with the old PIN.
pub(super) fn change_pin(
    link: &mut Link,
    key: &UserKey,
    old: &PinValue,
    new: &PinValue,
) -> Result<UserKey, TpmError> {
    guard(link)?;
    let new = new.auth()?;
    let changed = in_place_of_tls_key(link, |link, parent, parent_name| {
        check_parent(key, &parent_name)?;
        link.with_salted_session(parent, SessionType::Hmac, |link, session| {
            with_loaded(link, parent, key, |link, handle| {
                set_auth(link, handle, Some(old))?;
                link.authorised((Some(session), None, None), |context| {
                    context.object_change_auth(handle.into(), parent.into(), new.clone())
                })
            })
        })
    });
    let private = explain_pin(link, changed)?.value().to_vec();
    Ok(UserKey { private, ..key.clone() })
}

/// Signs with a fingerprint key: `TPMT_SIGNATURE`. `releaser` is asked once the session is open.
pub(super) fn sign_released(
    link: &mut Link,
    key: &UserKey,
    digest: &[u8; 32],
    authorisation_key: &[u8],
    releaser: &Releaser,
) -> Result<Vec<u8>, TpmError> {
    let verifier = Public::unmarshall(authorisation_key).map_err(|_| TpmError::Tampered)?;
    let signed = in_place_of_tls_key(link, |link, parent, parent_name| {
        check_parent(key, &parent_name)?;
        link.with_readable_session(parent, |link, session, nonce| {
            let public = key.public.clone();
            let request = ReleaseRequest { nonce: nonce.to_vec(), public, digest: *digest };
            let signature = releaser(&request).ok_or(TpmError::AuthorisationRefused)?;
            // The library wants a session of its own for TPM2_PolicySigned; it protects the command.
            link.with_salted_session(parent, SessionType::Hmac, |link, guard| {
                present(link, (session, guard), &verifier, &request, &signature)
            })?;
            with_loaded(link, parent, key, |link, handle| sign_raw(link, handle, session, digest))
        })
    });
    signed.map_err(|error| match error {
        TpmError::Protocol(code) if code.is_authorisation_fault() => TpmError::AuthorisationRefused,
        error => error,
    })
}

/// `TPM2_PolicySigned`: the TPM checks the authorisation and notes which command it is for.
fn present(
    link: &mut Link,
    (session, guard): (AuthSession, AuthSession),
    verifier: &Public,
    request: &ReleaseRequest,
    signature: &[u8; 64],
) -> Result<(), TpmError> {
    let policy = PolicySession::try_from(session).map_err(|error| link.explain(error))?;
    let nonce = Nonce::try_from(request.nonce.as_slice()).map_err(|error| link.explain(error))?;
    let command = command_hash(&name(&request.public)?, &request.digest);
    let command = Digest::try_from(command.as_slice()).map_err(|error| link.explain(error))?;
    let reference = Nonce::try_from(FINGERPRINT_POLICY_REF).map_err(|error| link.explain(error))?;
    let signature = ecdsa(signature).map_err(|error| link.explain(error))?;
    let handle =
        link.plain(|context| context.load_external_public(verifier.clone(), Hierarchy::Null))?;
    let authorised = link.authorised((Some(guard), None, None), |context| {
        context.policy_signed(
            policy,
            handle.into(),
            nonce.clone(),
            command.clone(),
            reference.clone(),
            None,
            signature.clone(),
        )
    });
    link.flush(handle.into(), authorised.map(drop))
}

fn ecdsa(raw: &[u8; 64]) -> tss_esapi::Result<Signature> {
    use tss_esapi::interface_types::algorithm::HashingAlgorithm::Sha256;
    use tss_esapi::structures::EccParameter;
    let (r, s) = raw.split_at(32);
    let (r, s) = (EccParameter::try_from(r)?, EccParameter::try_from(s)?);
    EccSignature::create(Sha256, r, s).map(Signature::EcDsa)
}

/// `TPM2_Sign` in a policy session.
fn sign_raw(
    link: &mut Link,
    key: KeyHandle,
    session: AuthSession,
    digest: &[u8; 32],
) -> Result<Vec<u8>, TpmError> {
    let digest = Digest::try_from(digest.as_slice()).map_err(|error| link.explain(error))?;
    let ticket = no_ticket().map_err(|error| link.explain(error))?;
    let signature = link.authorised((Some(session), None, None), |context| {
        context.sign(key, digest.clone(), template::signature_scheme(), ticket.clone())
    })?;
    signature.marshall().map_err(|error| link.explain(error))
}

fn with_key_and_session<T>(
    link: &mut Link,
    key: &UserKey,
    work: impl FnOnce(&mut Link, KeyHandle, AuthSession) -> Result<T, TpmError>,
) -> Result<T, TpmError> {
    in_place_of_tls_key(link, |link, parent, parent_name| {
        check_parent(key, &parent_name)?;
        link.with_salted_session(parent, SessionType::Policy, |link, session| {
            with_loaded(link, parent, key, |link, handle| work(link, handle, session))
        })
    })
}

/// Loads the key for the time of `work`, and flushes it whatever happens.
fn with_loaded<T>(
    link: &mut Link,
    parent: KeyHandle,
    key: &UserKey,
    work: impl FnOnce(&mut Link, KeyHandle) -> Result<T, TpmError>,
) -> Result<T, TpmError> {
    let public = Public::unmarshall(&key.public).map_err(|_| TpmError::UserKeyLost)?;
    let private = Private::try_from(key.private.as_slice()).map_err(|_| TpmError::UserKeyLost)?;
    let loaded = link
        .password(1, |context| context.load(parent, private.clone(), public.clone()))
        .map_err(|error| match error {
            TpmError::Protocol(code) if code.is_about_parameter() => TpmError::UserKeyLost,
            error => error,
        })?;
    let result = work(link, loaded);
    link.flush(loaded.into(), result)
}

fn check_parent(key: &UserKey, parent: &[u8]) -> Result<(), TpmError> {
    if key.parent == parent { Ok(()) } else { Err(TpmError::UserKeyLost) }
}

fn set_auth(link: &mut Link, key: KeyHandle, pin: Option<&PinValue>) -> Result<(), TpmError> {
    let Some(pin) = pin else { return Ok(()) };
    let auth = pin.auth()?;
    link.plain(|context| context.tr_set_auth(ObjectHandle::from(key), auth.clone()))
}

/// Lets nobody spend the last tries: a TPM that locks refuses the keys of all programs.
fn guard(link: &mut Link) -> Result<(), TpmError> {
    properties::lockout(link)?.refusal().map_or(Ok(()), Err)
}

/// TPM_RC_AUTH_FAIL about a user key is a wrong PIN, and TPM_RC_LOCKOUT a time to wait.
fn explain_pin<T>(link: &mut Link, result: Result<T, TpmError>) -> Result<T, TpmError> {
    match result {
        Err(TpmError::HierarchyPassword) => {
            let lockout = properties::lockout(link)?;
            Err(TpmError::WrongPin { tries_left: lockout.tries_left() })
        }
        Err(TpmError::Lockout) => {
            let refusal = properties::lockout(link)?.refusal();
            Err(refusal.unwrap_or(TpmError::Lockout))
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_counts_in_normal_form_and_without_trailing_zeros() {
        let composed = PinValue::of("p\u{e4}sswort");
        assert_eq!(composed.0, PinValue::of("pa\u{308}sswort").0);
        assert_ne!(composed.0, PinValue::of("passwort").0);
        let many = (0..2000).map(|number| PinValue::of(&number.to_string()));
        let mut shorter = 0;
        for value in many {
            assert_ne!(value.0.last(), Some(&0));
            shorter += usize::from(value.0.len() < 32);
        }
        assert!(shorter > 0, "no digest ended in zero");
        assert_eq!(format!("{composed:?}"), "PinValue");
    }
}
