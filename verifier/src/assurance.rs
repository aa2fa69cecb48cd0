//! Assurance levels (protocol §5): computed from what was proved, never from what was claimed.

use std::fmt;

use serde::{Deserialize, Serialize};
use signet_evidence::webauthn::Aaguid;

use crate::tpm::UserKeyMethod;

/// `acr` of Signet's tokens, in ascending order for RFC 9470.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AssuranceLevel {
    /// An enrolled TPM answered now with an acceptable state. No person.
    Device,
    /// And the host says that a platform biometric matched.
    Host,
    /// And the TPM checked a PIN of the person's.
    TpmPin,
    /// And somebody touched a registered key after the statement was fixed.
    Touch,
    /// And that key verified its user, by PIN or biometric.
    Uv,
    /// And the key is of a known, attested model with a built-in biometric.
    UvHardware,
}

impl AssuranceLevel {
    /// Every level, lowest first.
    pub const ALL: [Self; 6] =
        [Self::Device, Self::Host, Self::TpmPin, Self::Touch, Self::Uv, Self::UvHardware];

    /// The claim's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Device => "signet.device",
            Self::Host => "signet.host",
            Self::TpmPin => "signet.tpm-pin",
            Self::Touch => "signet.touch",
            Self::Uv => "signet.uv",
            Self::UvHardware => "signet.uv-hw",
        }
    }

    /// The level of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == name)
    }

    /// The least of the levels that `acr` asks for (RFC 9470 §4: any of them would do); `None` where it
    /// names none that is known.
    #[must_use]
    pub fn least_asked(acr: Option<&str>) -> Option<Self> {
        acr.unwrap_or_default().split(' ').filter_map(Self::from_name).min()
    }

    /// The level that a platform key of this method reaches.
    #[must_use]
    pub fn of_user_key(method: UserKeyMethod) -> Self {
        match method {
            UserKeyMethod::Pin => Self::TpmPin,
            UserKeyMethod::Fingerprint => Self::Host,
        }
    }

    /// Its place in the order, from 0; for policies that compare.
    #[must_use]
    pub fn rank(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for AssuranceLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a credential's key attested itself at registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttestationKind {
    /// A platform key that the AK of its machine certified.
    TpmCertify,
    /// `packed` with a certificate chain to an accepted root.
    Packed,
    /// `packed` signed by the credential's own key: proves no model.
    PackedSelf,
    /// `fido-u2f` with a certificate chain to an accepted root: proves the batch, and nothing of the
    /// flags, which its signature does not cover (L3 §8.6).
    FidoU2f,
    /// `tpm`: the key is in a TPM that an accepted root certifies. Flags are the host's word.
    Tpm,
    /// `android-key`: the key is in a keystore that an accepted root certifies. Flags are the host's.
    AndroidKey,
    /// `apple`: the key is in a Secure Enclave of unknown model. Flags are the host's word.
    Apple,
    /// No attestation.
    None,
}

impl AttestationKind {
    const ALL: [Self; 8] = [
        Self::TpmCertify,
        Self::Packed,
        Self::PackedSelf,
        Self::FidoU2f,
        Self::Tpm,
        Self::AndroidKey,
        Self::Apple,
        Self::None,
    ];

    /// Whether the host's software writes the authenticator data, UP and UV included, and its
    /// protected part only signs. Such a credential never proves more than `signet.host`.
    #[must_use]
    pub fn flags_are_the_hosts(self) -> bool {
        matches!(self, Self::Tpm | Self::AndroidKey | Self::Apple)
    }

    /// Its name in messages and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TpmCertify => "tpm2-certify",
            Self::Packed => "packed",
            Self::PackedSelf => "packed-self",
            Self::FidoU2f => "fido-u2f",
            Self::Tpm => "tpm",
            Self::AndroidKey => "android-key",
            Self::Apple => "apple",
            Self::None => "none",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// What the authority knows of a model of authenticator: from configuration or FIDO metadata,
/// never from the authenticator's own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticatorModel {
    /// The model's AAGUID.
    pub aaguid: Aaguid,
    /// How it can verify its user.
    pub verification: ModelVerification,
}

/// How a model verifies its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelVerification {
    /// Not at all: a touch is all it can ask for.
    TouchOnly,
    /// PIN only.
    PinOnly,
    /// Built-in biometric, with the PIN as fallback.
    BuiltInOrPin,
    /// Built-in fingerprint reader and nothing else.
    BuiltInOnly,
    /// Built-in biometrics and no PIN, but not the finger in every case.
    OtherBuiltInOnly,
}

impl ModelVerification {
    /// Its name in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TouchOnly => "none",
            Self::PinOnly => "pin",
            Self::BuiltInOrPin => "built-in-or-pin",
            Self::BuiltInOnly => "built-in",
            Self::OtherBuiltInOnly => "other-built-in",
        }
    }
}

/// What was proved about the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HumanProof {
    /// By a security key.
    SecurityKey(SecurityKeyProof),
    /// By a key in the machine's TPM.
    Platform(UserKeyMethod),
}

/// What a security key's assertion and its registration prove together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SecurityKeyProof {
    pub(crate) user_verified: bool,
    pub(crate) attestation: AttestationKind,
    pub(crate) model: Option<ModelVerification>,
}

/// The level and the RFC 8176 methods that `proof` and an accepted quote prove together.
pub(crate) fn assess(proof: Option<HumanProof>) -> (AssuranceLevel, Vec<&'static str>) {
    let proof = match proof {
        None => return (AssuranceLevel::Device, Vec::new()),
        Some(HumanProof::Platform(method)) => {
            let methods = match method {
                // Nobody knows that a person typed it, only that the TPM compared it: no "user".
                UserKeyMethod::Pin => vec!["hwk", "pin"],
                // The match is the host's word: no "fpt".
                UserKeyMethod::Fingerprint => vec!["hwk"],
            };
            return (AssuranceLevel::of_user_key(method), methods);
        }
        Some(HumanProof::SecurityKey(proof)) => proof,
    };
    if proof.attestation.flags_are_the_hosts() {
        return (AssuranceLevel::Host, vec!["hwk"]);
    }
    if !proof.user_verified {
        return (AssuranceLevel::Touch, vec!["hwk", "user"]);
    }
    // Only a chain to an accepted root proves the model; self attestation proves nothing of it.
    let model = proof.model.filter(|_| proof.attestation == AttestationKind::Packed);
    let mut methods = vec!["hwk", "user", "mfa"];
    match model {
        // A flag that the model cannot set is believed as little as any other contradiction.
        Some(ModelVerification::TouchOnly) => (AssuranceLevel::Touch, vec!["hwk", "user"]),
        None => (AssuranceLevel::Uv, methods),
        Some(ModelVerification::PinOnly) => {
            methods.push("pin");
            (AssuranceLevel::Uv, methods)
        }
        // The signed flag does not say which was used, so no "fpt".
        Some(ModelVerification::BuiltInOrPin | ModelVerification::OtherBuiltInOnly) => {
            (AssuranceLevel::UvHardware, methods)
        }
        Some(ModelVerification::BuiltInOnly) => {
            methods.push("fpt");
            (AssuranceLevel::UvHardware, methods)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_needs_its_proof() {
        let proof = |user_verified, attestation, model| {
            Some(HumanProof::SecurityKey(SecurityKeyProof { user_verified, attestation, model }))
        };
        use AttestationKind::{None as Unattested, Packed, PackedSelf};
        use ModelVerification::{BuiltInOnly, BuiltInOrPin, OtherBuiltInOnly, PinOnly, TouchOnly};
        let cases = [
            (None, AssuranceLevel::Device, vec![]),
            (
                Some(HumanProof::Platform(UserKeyMethod::Fingerprint)),
                AssuranceLevel::Host,
                vec!["hwk"],
            ),
            (
                Some(HumanProof::Platform(UserKeyMethod::Pin)),
                AssuranceLevel::TpmPin,
                vec!["hwk", "pin"],
            ),
            (proof(false, Packed, Some(BuiltInOnly)), AssuranceLevel::Touch, vec!["hwk", "user"]),
            (
                proof(true, Unattested, Some(BuiltInOnly)),
                AssuranceLevel::Uv,
                vec!["hwk", "user", "mfa"],
            ),
            (
                proof(true, PackedSelf, Some(BuiltInOnly)),
                AssuranceLevel::Uv,
                vec!["hwk", "user", "mfa"],
            ),
            (proof(true, Packed, None), AssuranceLevel::Uv, vec!["hwk", "user", "mfa"]),
            (
                proof(true, Packed, Some(PinOnly)),
                AssuranceLevel::Uv,
                vec!["hwk", "user", "mfa", "pin"],
            ),
            (
                proof(true, Packed, Some(BuiltInOrPin)),
                AssuranceLevel::UvHardware,
                vec!["hwk", "user", "mfa"],
            ),
            (
                proof(true, Packed, Some(BuiltInOnly)),
                AssuranceLevel::UvHardware,
                vec!["hwk", "user", "mfa", "fpt"],
            ),
            (
                proof(true, Packed, Some(OtherBuiltInOnly)),
                AssuranceLevel::UvHardware,
                vec!["hwk", "user", "mfa"],
            ),
            (proof(true, Packed, Some(TouchOnly)), AssuranceLevel::Touch, vec!["hwk", "user"]),
            (proof(true, AttestationKind::Tpm, None), AssuranceLevel::Host, vec!["hwk"]),
            (proof(true, AttestationKind::Apple, None), AssuranceLevel::Host, vec!["hwk"]),
            (
                proof(true, AttestationKind::AndroidKey, Some(BuiltInOnly)),
                AssuranceLevel::Host,
                vec!["hwk"],
            ),
        ];
        for (proof, level, methods) in cases {
            assert_eq!(assess(proof), (level, methods));
        }
    }

    #[test]
    fn levels_are_ordered() {
        assert!(AssuranceLevel::ALL.is_sorted());
        for level in AssuranceLevel::ALL {
            assert_eq!(AssuranceLevel::from_name(level.as_str()), Some(level));
        }
    }
}
