//! The TLS client key: a child of the storage root key, stored as a blob, loaded once.

use tss_esapi::Context;
use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{Digest, HashcheckTicket, Private, Public, Signature};
use tss_esapi::traits::{Marshall, UnMarshall};
use tss_esapi::tss2_esys::TPMT_TK_HASHCHECK;

use super::attestation::{self, PcrBank};
use super::error::{BlobError, TpmError};
use super::link::Link;
use super::template;

/// A TLS key as it is stored. Useless without the TPM that made it, so not a secret in itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsKey {
    /// `TPMT_PUBLIC`.
    pub public: Vec<u8>,
    /// Content of the `TPM2B_PRIVATE`, encrypted by the TPM.
    pub private: Vec<u8>,
    /// Name of the storage root key that it was made under: tells a cleared TPM from a damaged
    /// file.
    pub parent: Vec<u8>,
    /// The registers that it is bound to (`TPM2_PolicyPCR`).
    pub bound_to: Option<BoundTo>,
}

/// Registers that must hold what they held when a key was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BoundTo {
    /// Their bank.
    pub bank: PcrBank,
    /// Their numbers, 0 to 23.
    pub pcrs: Vec<u8>,
}

impl BoundTo {
    /// Identifier of the bank's hash (TPM 2.0 part 2 §6.3), then one byte for each register.
    fn to_bytes(&self) -> Vec<u8> {
        [&self.bank.algorithm_id().to_be_bytes()[..], &self.pcrs].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, BlobError> {
        let (id, pcrs) = bytes.split_first_chunk().ok_or(BlobError::Length)?;
        let banks = [PcrBank::Sha256, PcrBank::Sha384];
        let bank = banks.into_iter().find(|bank| bank.algorithm_id().to_be_bytes() == *id);
        Ok(Self { bank: bank.ok_or(BlobError::Format)?, pcrs: pcrs.to_vec() })
    }
}

/// Tag and version of the stored form, of a key without a policy and of a bound one.
const FREE: [u8; 4] = *b"STK1";
const BOUND: [u8; 4] = *b"STK2";

impl TlsKey {
    /// The stored form: a tag, then public area, private area, parent's Name and what it is bound to
    /// (if it is), each after its length in two bytes (big-endian, as the TPM writes it).
    pub fn to_bytes(&self) -> Vec<u8> {
        let bound_to = self.bound_to.as_ref().map(BoundTo::to_bytes);
        let mut bytes = if bound_to.is_some() { BOUND } else { FREE }.to_vec();
        for part in [&self.public, &self.private, &self.parent].into_iter().chain(&bound_to) {
            // The TPM's structures are far below 64 KiB; a longer one would not parse again.
            let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
            bytes.extend(length.to_be_bytes());
            bytes.extend(part);
        }
        bytes
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`BlobError`] when it is cut, longer, or of another format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BlobError> {
        let bound = bytes.starts_with(&BOUND);
        let tag = if bound { BOUND } else { FREE };
        let rest = bytes.strip_prefix(&tag).ok_or(BlobError::Format)?;
        let (public, rest) = split_sized(rest).ok_or(BlobError::Length)?;
        let (private, rest) = split_sized(rest).ok_or(BlobError::Length)?;
        let (parent, rest) = split_sized(rest).ok_or(BlobError::Length)?;
        let bound_to = match (bound, split_sized(rest)) {
            (true, Some((bound_to, []))) => Some(BoundTo::from_bytes(bound_to)?),
            (false, None) if rest.is_empty() => None,
            _ => return Err(BlobError::Length),
        };
        let (public, private, parent) = (public.to_vec(), private.to_vec(), parent.to_vec());
        Ok(Self { public, private, parent, bound_to })
    }
}

/// Splits a field with a length of two bytes off the front.
pub(super) fn split_sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

pub(super) fn create(link: &mut Link) -> Result<TlsKey, TpmError> {
    let bound_to = match link.tls_pcrs.clone() {
        pcrs if pcrs.is_empty() => None,
        pcrs => Some(BoundTo { bank: attestation::bank(link)?, pcrs }),
    };
    let policy = bound_to.as_ref().map(|bound_to| {
        with_registers(link, bound_to, |link, session| {
            let policy = PolicySession::try_from(session).map_err(|error| link.explain(error))?;
            link.plain(|context| context.policy_get_digest(policy))
        })
    });
    let template = template::tls_key(policy.transpose()?).map_err(|error| link.explain(error))?;
    let (key, handle) = with_parent(link, |link, parent, parent_name| {
        let made = link.password(1, |context| {
            context.create(parent, template.clone(), None, None, None, None)
        })?;
        let handle = link.password(1, |context| {
            context.load(parent, made.out_private.clone(), made.out_public.clone())
        })?;
        let public = made.out_public.marshall();
        let public = public.map_err(|error| link.explain(error))?;
        let private = made.out_private.value().to_vec();
        Ok((TlsKey { public, private, parent: parent_name, bound_to: bound_to.clone() }, handle))
    })?;
    link.tls_handle = Some(handle);
    link.tls_key = Some(key.clone());
    Ok(key)
}

pub(super) fn replace(link: &mut Link, key: &TlsKey) -> Result<(), TpmError> {
    check_registers(link, key)?;
    let handle = load(link, key)?;
    link.tls_handle = Some(handle);
    link.tls_key = Some(key.clone());
    Ok(())
}

pub(super) fn current(link: &mut Link) -> Result<TlsKey, TpmError> {
    handle(link)?;
    link.tls_key.clone().ok_or(TpmError::NoTlsKey)
}

/// The loaded TLS key; loads it first where needed.
pub(super) fn handle(link: &mut Link) -> Result<KeyHandle, TpmError> {
    if let Some(handle) = link.tls_handle {
        return Ok(handle);
    }
    let key = link.tls_key.clone().ok_or(TpmError::NoTlsKey)?;
    let handle = load(link, &key)?;
    link.tls_handle = Some(handle);
    Ok(handle)
}

pub(super) fn sign(link: &mut Link, digest: &[u8; 32]) -> Result<[u8; 64], TpmError> {
    let key = handle(link)?;
    let digest = Digest::try_from(digest.as_slice()).map_err(|error| link.explain(error))?;
    let ticket = no_ticket().map_err(|error| link.explain(error))?;
    let command = |context: &mut Context| {
        context.sign(key, digest.clone(), template::signature_scheme(), ticket.clone())
    };
    let bound_to = link.tls_key.as_ref().and_then(|key| key.bound_to.clone());
    let signature = match bound_to {
        None => link.password(1, command),
        Some(bound_to) => with_registers(link, &bound_to, |link, session| {
            link.authorised((Some(session), None, None), command).map_err(|error| match error {
                TpmError::Protocol(code) if code.is_policy_failure() => TpmError::BootChanged,
                error => error,
            })
        }),
    }?;
    raw_signature(&signature).ok_or(TpmError::MalformedResponse)
}

/// Opens a policy session for which the registers hold what they hold. It encrypts nothing and has no
/// key of its own, so there is nothing for a salt to protect.
fn with_registers<T>(
    link: &mut Link,
    bound_to: &BoundTo,
    work: impl FnOnce(&mut Link, AuthSession) -> Result<T, TpmError>,
) -> Result<T, TpmError> {
    let selection = attestation::registers(link, bound_to.bank, &bound_to.pcrs)?;
    link.with_bare_policy_session(|link, session| {
        let policy = PolicySession::try_from(session).map_err(|error| link.explain(error))?;
        link.plain(|context| context.policy_pcr(policy, Digest::default(), selection.clone()))?;
        work(link, session)
    })
}

/// Whether the key could sign now.
fn check_registers(link: &mut Link, key: &TlsKey) -> Result<(), TpmError> {
    let Some(bound_to) = &key.bound_to else { return Ok(()) };
    let public = Public::unmarshall(&key.public).map_err(|_| TpmError::Tampered)?;
    let now = with_registers(link, bound_to, |link, session| {
        let policy = PolicySession::try_from(session).map_err(|error| link.explain(error))?;
        link.plain(|context| context.policy_get_digest(policy))
    })?;
    if *public.auth_policy() == now { Ok(()) } else { Err(TpmError::BootChanged) }
}

fn load(link: &mut Link, key: &TlsKey) -> Result<KeyHandle, TpmError> {
    with_parent(link, |link, parent, name| load_under(link, key, parent, &name))
}

fn load_under(
    link: &mut Link,
    key: &TlsKey,
    parent: KeyHandle,
    parent_name: &[u8],
) -> Result<KeyHandle, TpmError> {
    let public = Public::unmarshall(&key.public).map_err(|_| TpmError::Tampered)?;
    let private = Private::try_from(key.private.as_slice()).map_err(|_| TpmError::Tampered)?;
    if parent_name != key.parent {
        return Err(TpmError::Cleared);
    }
    let loaded = link.password(1, |context| context.load(parent, private.clone(), public.clone()));
    loaded.map_err(|error| match error {
        // The parent is the right one, so whatever is wrong is wrong with the blob.
        TpmError::Protocol(code) if code.is_about_parameter() => TpmError::Tampered,
        error => error,
    })
}

/// Has the storage root key loaded for the time of `work`. The TLS key in use gives up its place for
/// it (AK, storage root key and the new key are three); it is loaded again at its next use.
pub(super) fn with_parent<T>(
    link: &mut Link,
    work: impl FnOnce(&mut Link, KeyHandle, Vec<u8>) -> Result<T, TpmError>,
) -> Result<T, TpmError> {
    if let Some(old) = link.tls_handle.take() {
        link.flush(old.into(), Ok(()))?;
    }
    if let Some(handle) = link.storage_root {
        let template = template::storage_root_key().map_err(|error| link.explain(error))?;
        let parent = link.persistent(Hierarchy::Owner, &template, handle)?;
        let name = link.plain(|context| context.tr_get_name(parent.into()))?;
        let result = work(link, parent, name.value().to_vec());
        let closed = link.close(&mut parent.into());
        return result.and_then(|value| closed.map(|()| value));
    }
    let (parent, name) = parent(link)?;
    let result = work(link, parent, name);
    link.flush(parent.into(), result)
}

/// As [`with_parent`], and puts the TLS key back in its place while its parent is there.
pub(super) fn in_place_of_tls_key<T>(
    link: &mut Link,
    work: impl FnOnce(&mut Link, KeyHandle, Vec<u8>) -> Result<T, TpmError>,
) -> Result<T, TpmError> {
    let key = link.tls_handle.and(link.tls_key.clone());
    with_parent(link, |link, parent, name| {
        let result = work(link, parent, name.clone());
        let lost = matches!(&result, Err(error) if error.lost_connection());
        if let Some(key) = key.filter(|_| !lost) {
            // When this fails, its next use tries again and says why.
            link.tls_handle = load_under(link, &key, parent, &name).ok();
        }
        result
    })
}

/// The storage root key and its Name. Making it takes hardware a while, so the TPM saves it once; a
/// saved key counts until the TPM restarts or is cleared.
fn parent(link: &mut Link) -> Result<(KeyHandle, Vec<u8>), TpmError> {
    if let Some((saved, name)) = link.parent.take() {
        match link.plain(|context| context.context_load(saved.clone())) {
            Ok(handle) => {
                link.parent = Some((saved, name.clone()));
                return Ok((handle.into(), name));
            }
            // The TPM was cleared; or it restarted, and then the AK is gone too.
            Err(TpmError::Protocol(_)) => attestation::attestation_key(link).map(drop)?,
            Err(error) => return Err(error),
        }
    }
    let template = template::storage_root_key().map_err(|error| link.explain(error))?;
    let handle = link.primary(Hierarchy::Owner, &template)?.key_handle;
    let named = link.plain(|context| context.tr_get_name(handle.into()));
    let saved = named.and_then(|name| {
        let saved = link.plain(|context| context.context_save(handle.into()))?;
        Ok((saved, name.value().to_vec()))
    });
    match saved {
        Ok((saved, name)) => {
            link.parent = Some((saved, name.clone()));
            Ok((handle, name))
        }
        Err(error) => link.flush(handle.into(), Err(error)),
    }
}

/// The ticket that says "this digest was not made in the TPM"; good for an unrestricted key.
pub(super) fn no_ticket() -> tss_esapi::Result<HashcheckTicket> {
    HashcheckTicket::try_from(TPMT_TK_HASHCHECK {
        tag: tss_esapi::constants::tss::TPM2_ST_HASHCHECK,
        hierarchy: tss_esapi::constants::tss::TPM2_RH_NULL,
        digest: Default::default(),
    })
}

/// r and s with their leading zeros.
fn raw_signature(signature: &Signature) -> Option<[u8; 64]> {
    let Signature::EcDsa(signature) = signature else {
        return None;
    };
    let mut raw = [0; 64];
    for (half, part) in [signature.signature_r(), signature.signature_s()].into_iter().enumerate() {
        let part = part.value();
        let end = half * 32 + 32;
        let start = end.checked_sub(part.len()).filter(|s| *s >= half * 32)?;
        raw.get_mut(start..end)?.copy_from_slice(part);
    }
    Some(raw)
}
