//! The authorisation key: a software key whose signature releases fingerprint keys in the TPM.
//!
//! Only this module and the one that talks to fprintd can use it, and only for a [`Match`]. It
//! keeps the two apart and limits what a bug elsewhere can do; it does not make a match truer: who
//! is root here can read the file (protocol §5.1).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use signet_evidence::tpm::{
    EccCurve, EccParameters, HashAlgorithm, ObjectAttributes, PublicParameters, Scheme, Symmetric,
    TpmtPublic,
};
use zeroize::Zeroizing;

use crate::state::{self, StateError};
use crate::tpm::{ReleaseRequest, Releaser};

const FILE: &str = "fingerprint-authorisation";
/// A PKCS#8 document of a P-256 key is 138 bytes.
const LONGEST: usize = 512;

/// One enrolled finger that matched, for one digest. Made by a verification and by nothing else;
/// used up by the one signature that it allows.
#[derive(Debug)]
pub struct Match {
    digest: [u8; 32],
}

impl Match {
    /// Only for what has just seen a finger match for this digest.
    pub(super) fn for_digest(digest: [u8; 32]) -> Self {
        Self { digest }
    }

    /// Turns the match into one signature over what the TPM asks, if that is about this digest.
    pub fn releaser(self, key: Arc<AuthorisationKey>) -> Releaser {
        let matched = Mutex::new(Some(self));
        Box::new(move |request| {
            let matched = matched.lock().unwrap_or_else(PoisonError::into_inner).take()?;
            (matched.digest == request.digest).then(|| key.sign(request)).flatten()
        })
    }
}

/// The key. Has no way out of this module but its signatures.
pub struct AuthorisationKey {
    pair: EcdsaKeyPair,
    public: Vec<u8>,
}

impl std::fmt::Debug for AuthorisationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthorisationKey")
    }
}

impl AuthorisationKey {
    /// The key in the state directory, if there is one.
    ///
    /// # Errors
    /// [`StateError::Unreadable`], [`StateError::Corrupt`].
    pub fn open(directory: &Path) -> Result<Option<Self>, StateError> {
        let path = directory.join(FILE);
        let unreadable = |source: io::Error| StateError::Unreadable {
            path: path.clone(),
            source: source.into(),
        };
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(unreadable)?,
        };
        // Read into one place, so that no copy is left behind.
        let mut bytes = Zeroizing::new([0; LONGEST]);
        let mut length = 0;
        while let Some(room) = bytes.get_mut(length..).filter(|room| !room.is_empty()) {
            match file.read(room).map_err(unreadable)? {
                0 => break,
                read => length += read,
            }
        }
        Self::from_pkcs8(&bytes[..length])
            .map(Some)
            .ok_or_else(|| StateError::Corrupt { path: path.clone() })
    }

    /// The key in the state directory; a new one, durable when this returns, if there is none.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`StateError::Unwritable`], [`StateError::Randomness`].
    pub fn open_or_make(directory: &Path) -> Result<Self, StateError> {
        if let Some(key) = Self::open(directory)? {
            return Ok(key);
        }
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .map_err(|_| StateError::Randomness)?;
        state::put(directory, FILE, document.as_ref())?;
        let path = directory.join(FILE);
        Self::from_pkcs8(document.as_ref()).ok_or(StateError::Corrupt { path })
    }

    fn from_pkcs8(document: &[u8]) -> Option<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document).ok()?;
        let public = public_area(pair.public_key().as_ref())?;
        Some(Self { pair, public })
    }

    /// `TPMT_PUBLIC` of the key.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    fn sign(&self, request: &ReleaseRequest) -> Option<[u8; 64]> {
        let message = request.message().ok()?;
        let signature = self.pair.sign(&SystemRandom::new(), &message).ok()?;
        signature.as_ref().try_into().ok()
    }
}

/// As the TPM takes it in `TPM2_LoadExternal`: a public key for ECDSA with SHA-256.
fn public_area(point: &[u8]) -> Option<Vec<u8>> {
    let (x, y) = point.strip_prefix(&[4])?.split_at_checked(32)?;
    let attributes = ObjectAttributes::SIGN.bits() | ObjectAttributes::USER_WITH_AUTH.bits();
    let public = TpmtPublic {
        name_algorithm: HashAlgorithm::Sha256,
        attributes: ObjectAttributes::from_bits(attributes).ok()?,
        auth_policy: Vec::new(),
        parameters: PublicParameters::Ecc(EccParameters {
            symmetric: Symmetric::Null,
            scheme: Scheme::Ecdsa(HashAlgorithm::Sha256),
            curve: EccCurve::P256,
            x: x.to_vec(),
            y: y.to_vec(),
        }),
    };
    Some(public.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn request(key: &AuthorisationKey, digest: [u8; 32]) -> ReleaseRequest {
        ReleaseRequest { nonce: vec![7; 32], public: key.public().to_vec(), digest }
    }

    #[test]
    fn the_key_is_made_once_private_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        assert!(AuthorisationKey::open(folder.path()).unwrap().is_none());
        let made = AuthorisationKey::open_or_make(folder.path()).unwrap();
        let found = AuthorisationKey::open_or_make(folder.path()).unwrap();
        assert_eq!(made.public(), found.public());
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(format!("{found:?}"), "AuthorisationKey");
    }

    #[test]
    fn a_damaged_key_is_named_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        for bytes in [&b""[..], b"no key", &[0x30; 600]] {
            fs::write(&path, bytes).unwrap();
            let error = AuthorisationKey::open_or_make(folder.path()).unwrap_err();
            assert_eq!(error, StateError::Corrupt { path: path.clone() });
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }

    #[test]
    fn one_match_gives_one_signature_over_its_own_digest() {
        let folder = tempfile::tempdir().unwrap();
        let key = Arc::new(AuthorisationKey::open_or_make(folder.path()).unwrap());
        let releaser = Match::for_digest([1; 32]).releaser(Arc::clone(&key));
        let request = request(&key, [1; 32]);
        let signature = releaser(&request).unwrap();
        let point = key.pair.public_key().as_ref().to_vec();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(&request.message().unwrap(), &signature)
            .unwrap();
        assert_eq!(releaser(&request), None, "a match counts once");
        let releaser = Match::for_digest([2; 32]).releaser(Arc::clone(&key));
        assert_eq!(releaser(&request), None, "a match counts for its digest");
    }
}
