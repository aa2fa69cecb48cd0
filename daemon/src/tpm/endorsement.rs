//! Endorsement keys and the certificates that the maker left in the TPM's memory.

use tss_esapi::handles::{NvIndexHandle, NvIndexTpmHandle, TpmHandle};
use tss_esapi::interface_types::resource_handles::{Hierarchy, NvAuth};
use tss_esapi::structures::Public;
use tss_esapi::traits::{Marshall, UnMarshall};

use super::certificate;
use super::error::TpmError;
use super::link::Link;
use super::{recovery, template};

/// Which template an endorsement key was made from (TCG EK Credential Profile 2.5, appendix B). Keys
/// of the high range are listed only when their certificate exists.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EndorsementKind {
    /// RSA 2048, template L-1.
    Rsa2048,
    /// ECC NIST P-256, template L-2.
    EccP256,
    /// RSA 2048 of the high range, template H-1.
    Rsa2048High,
    /// ECC NIST P-256 of the high range, template H-2.
    EccP256High,
    /// ECC NIST P-384, template H-3.
    EccP384,
}

impl EndorsementKind {
    /// All kinds, in the order of preference.
    pub const ALL: [Self; 5] =
        [Self::Rsa2048, Self::EccP256, Self::Rsa2048High, Self::EccP256High, Self::EccP384];

    /// Whether its template is of the high range: used with an empty password, where the low range
    /// wants a policy session.
    pub(super) const fn is_high_range(self) -> bool {
        matches!(self, Self::Rsa2048High | Self::EccP256High | Self::EccP384)
    }

    /// Where the certificate lies (EK Credential Profile 2.5 §2.2.1.4 and §2.2.1.5).
    const fn certificate_index(self) -> u32 {
        match self {
            Self::Rsa2048 => 0x01c0_0002,
            Self::EccP256 => 0x01c0_000a,
            Self::Rsa2048High => 0x01c0_0012,
            Self::EccP256High => 0x01c0_0014,
            Self::EccP384 => 0x01c0_0016,
        }
    }

    /// Where the maker left a template of its own, and the nonce that goes into it (§2.2.1.4 and
    /// §2.2.1.5; the high range has no nonces).
    const fn template_indices(self) -> (u32, Option<u32>) {
        match self {
            Self::Rsa2048 => (0x01c0_0004, Some(0x01c0_0003)),
            Self::EccP256 => (0x01c0_000c, Some(0x01c0_000b)),
            Self::Rsa2048High => (0x01c0_0013, None),
            Self::EccP256High => (0x01c0_0015, None),
            Self::EccP384 => (0x01c0_0017, None),
        }
    }
}

/// One endorsement key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndorsementKey {
    /// Its template.
    pub kind: EndorsementKind,
    /// `TPMT_PUBLIC`.
    pub public: Vec<u8>,
    /// Its X.509 certificate in DER, byte for byte as the maker signed it.
    pub certificate: Option<Vec<u8>>,
}

/// What the TPM has to show for its identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endorsement {
    /// The keys; those with a certificate come first.
    pub keys: Vec<EndorsementKey>,
    /// Intermediate certificates in DER that the maker left in 0x01c00100 to 0x01c001ff.
    pub chain: Vec<Vec<u8>>,
}

impl Endorsement {
    /// The key to enrol with when the maker's word is asked for.
    ///
    /// # Errors
    /// [`TpmError::NoEndorsementCertificate`].
    pub fn certified(&self) -> Result<&EndorsementKey, TpmError> {
        self.keys
            .iter()
            .find(|key| key.certificate.is_some())
            .ok_or(TpmError::NoEndorsementCertificate)
    }
}

/// First index of the TCG's area, and the certificate chain within it (§2.2.1.6).
const TCG_AREA: u32 = 0x01c0_0000;
const CHAIN: std::ops::RangeInclusive<u32> = 0x01c0_0100..=0x01c0_01ff;

/// What the maker left in the TPM's memory.
pub(super) struct Found {
    /// The kinds of keys to look for, each with its certificate.
    pub(super) of_kinds: Vec<(EndorsementKind, Option<Vec<u8>>)>,
    pub(super) chain: Vec<Vec<u8>>,
}

pub(super) fn certificates(link: &mut Link) -> Result<Found, TpmError> {
    let indices = nv_indices(link)?;
    let mut of_kinds = Vec::new();
    for kind in EndorsementKind::ALL {
        let index = kind.certificate_index();
        let certificate = match indices.contains(&index) {
            true => nv_read(link, index)?.and_then(|bytes| certificate::cut(&bytes)),
            false => None,
        };
        if certificate.is_some() || !kind.is_high_range() {
            of_kinds.push((kind, certificate));
        }
    }
    let mut chain = Vec::new();
    for index in indices.into_iter().filter(|index| CHAIN.contains(index)) {
        chain.extend(nv_read(link, index)?.unwrap_or_default());
    }
    Ok(Found { of_kinds, chain: certificate::cut_all(&chain) })
}

/// Makes the key to see its public part. `None` when this TPM does not know the template.
pub(super) fn public(link: &mut Link, kind: EndorsementKind) -> Result<Option<Vec<u8>>, TpmError> {
    let template = template(link, kind)?;
    let made = link.with_primary(Hierarchy::Endorsement, &template, |link, primary| {
        primary.out_public.marshall().map_err(|error| link.explain(error))
    });
    match made {
        Err(TpmError::Protocol(code)) if code.is_unsupported_template() => Ok(None),
        result => result.map(Some),
    }
}

/// What the key is made from: the TCG's template, or the maker's where the TPM holds one, with the
/// maker's nonce where there is one. Otherwise the certificate would be for another key.
pub(super) fn template(link: &mut Link, kind: EndorsementKind) -> Result<Public, TpmError> {
    let indices = nv_indices(link)?;
    let mut left = |index: u32| match indices.contains(&index) {
        true => nv_read(link, index),
        false => Ok(None),
    };
    let (template, nonce) = kind.template_indices();
    let (template, nonce) = (left(template)?, nonce.map(left).transpose()?.flatten());
    let template = match template {
        Some(bytes) => Public::unmarshall(&bytes).map_err(|_| TpmError::MalformedResponse)?,
        None => template::endorsement_key(kind).map_err(|error| link.explain(error))?,
    };
    match nonce {
        None => Ok(template),
        Some(nonce) => template::with_nonce(template, &nonce).ok_or(TpmError::MalformedResponse),
    }
}

/// The indices in use from the TCG's area on, ascending.
fn nv_indices(link: &mut Link) -> Result<Vec<u32>, TpmError> {
    let handles = link.plain(|context| recovery::handles(context, TCG_AREA))?;
    Ok(handles.into_iter().map(u32::from).collect())
}

/// Reads a whole index, first with its own empty password, then with the owner's. `None` when it
/// was never written or may not be read.
fn nv_read(link: &mut Link, index: u32) -> Result<Option<Vec<u8>>, TpmError> {
    let handle = NvIndexTpmHandle::new(index).map_err(|error| link.explain(error))?;
    let mut object =
        link.plain(|context| context.tr_from_tpm_public(TpmHandle::NvIndex(handle)))?;
    let nv = NvIndexHandle::from(object);
    let read = match nv_content(link, NvAuth::NvIndex(nv), nv) {
        Err(TpmError::Protocol(code)) if code.is_unreadable_nv() => {
            nv_content(link, NvAuth::Owner, nv)
        }
        result => result,
    };
    let closed = link.close(&mut object);
    match read {
        Err(TpmError::Protocol(code)) if code.is_unreadable_nv() => closed.map(|()| None),
        result => result.and_then(|bytes| closed.map(|()| Some(bytes))),
    }
}

/// Bytes per read; every TPM takes that much (TPM_PT_NV_BUFFER_MAX is 512 or more).
const NV_BLOCK: usize = 512;

fn nv_content(link: &mut Link, auth: NvAuth, nv: NvIndexHandle) -> Result<Vec<u8>, TpmError> {
    let (public, _) = link.plain(|context| context.nv_read_public(nv))?;
    let mut content = Vec::with_capacity(public.data_size());
    while content.len() < public.data_size() {
        let size = NV_BLOCK.min(public.data_size() - content.len());
        let (size, offset) = u16::try_from(size)
            .and_then(|size| u16::try_from(content.len()).map(|offset| (size, offset)))
            .map_err(|_| TpmError::MalformedResponse)?;
        let block = link.password(1, |context| context.nv_read(auth, nv, size, offset))?;
        if block.is_empty() {
            return Err(TpmError::MalformedResponse);
        }
        content.extend_from_slice(&block);
    }
    Ok(content)
}
