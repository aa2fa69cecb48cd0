//! The TLS client key: a child of the storage root key, stored as a blob, loaded once.

use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::structures::{Digest, HashcheckTicket, Private, Public, Signature};
use tss_esapi::traits::{Marshall, UnMarshall};
use tss_esapi::tss2_esys::TPMT_TK_HASHCHECK;

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
}

/// Tag and version of the stored form.
const MAGIC: [u8; 4] = *b"STK1";

impl TlsKey {
    /// The stored form: a tag, then public area, private area and parent's Name, each after its
    /// length in two bytes (big-endian, as the TPM writes it).
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for part in [&self.public, &self.private, &self.parent] {
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
        let rest = bytes.strip_prefix(&MAGIC).ok_or(BlobError::Format)?;
        let (public, rest) = split_sized(rest).ok_or(BlobError::Length)?;
        let (private, rest) = split_sized(rest).ok_or(BlobError::Length)?;
        match split_sized(rest) {
            Some((parent, [])) => Ok(Self {
                public: public.to_vec(),
                private: private.to_vec(),
                parent: parent.to_vec(),
            }),
            _ => Err(BlobError::Length),
        }
    }
}

/// Splits a field with a length of two bytes off the front.
pub(super) fn split_sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

pub(super) fn create(link: &mut Link) -> Result<TlsKey, TpmError> {
    let template = template::tls_key().map_err(|error| link.explain(error))?;
    let (key, handle) = with_parent(link, |link, parent, parent_name| {
        let made = link.password(1, |context| {
            context.create(parent, template.clone(), None, None, None, None)
        })?;
        let handle = link.password(1, |context| {
            context.load(parent, made.out_private.clone(), made.out_public.clone())
        })?;
        let public = made.out_public.marshall();
        let public = public.map_err(|error| link.explain(error))?;
        let key =
            TlsKey { public, private: made.out_private.value().to_vec(), parent: parent_name };
        Ok((key, handle))
    })?;
    link.tls_handle = Some(handle);
    link.tls_key = Some(key.clone());
    Ok(key)
}

pub(super) fn replace(link: &mut Link, key: &TlsKey) -> Result<(), TpmError> {
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
    let signature = link.password(1, |context| {
        let scheme = template::signature_scheme();
        context.sign(key, digest.clone(), scheme, ticket.clone())
    })?;
    raw_signature(&signature).ok_or(TpmError::MalformedResponse)
}

fn load(link: &mut Link, key: &TlsKey) -> Result<KeyHandle, TpmError> {
    let public = Public::unmarshall(&key.public).map_err(|_| TpmError::Tampered)?;
    let private = Private::try_from(key.private.as_slice()).map_err(|_| TpmError::Tampered)?;
    with_parent(link, |link, parent, parent_name| {
        if parent_name != key.parent {
            return Err(TpmError::Cleared);
        }
        link.password(1, |context| context.load(parent, private.clone(), public.clone())).map_err(
            |error| match error {
                // The parent is the right one, so whatever is wrong is wrong with the blob.
                TpmError::Protocol(code) if !code.is_stale() && !code.is_busy() => {
                    TpmError::Tampered
                }
                error => error,
            },
        )
    })
}

/// Makes the storage root key for the time of `work`. The TLS key in use gives up its place for
/// it (AK, storage root key and the new key are three); it is loaded again at its next use.
pub(super) fn with_parent<T>(
    link: &mut Link,
    work: impl FnOnce(&mut Link, KeyHandle, Vec<u8>) -> Result<T, TpmError>,
) -> Result<T, TpmError> {
    if let Some(old) = link.tls_handle.take() {
        link.flush(old.into(), Ok(()))?;
    }
    let template = template::storage_root_key().map_err(|error| link.explain(error))?;
    link.with_primary(Hierarchy::Owner, &template, |link, primary| {
        let parent = primary.key_handle;
        let name = link.plain(|context| context.tr_get_name(parent.into()))?;
        work(link, parent, name.value().to_vec())
    })
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
