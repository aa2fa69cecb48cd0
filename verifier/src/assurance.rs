//! Assurance levels (protocol §5): computed from what was proved, never from what was claimed.

use std::fmt;

use signet_evidence::webauthn::Aaguid;

/// `acr` of Signet's tokens, in ascending order for RFC 9470.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AssuranceLevel {
    /// An enrolled TPM answered now with an acceptable state. No person.
    Device,
    /// And the host says that a platform biometric matched.
    Host,
    /// And somebody touched a registered key after the statement was fixed.
    Touch,
    /// And that key verified its user, by PIN or biometric.
    Uv,
    /// And the key is of a known, attested model with a built-in biometric.
    UvHardware,
}

impl AssuranceLevel {
    /// Every level, lowest first.
    pub const ALL: [Self; 5] = [Self::Device, Self::Host, Self::Touch, Self::Uv, Self::UvHardware];

    /// The claim's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Device => "signet.device",
            Self::Host => "signet.host",
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
    /// `packed` with a certificate chain to an accepted root.
    Packed,
    /// `packed` signed by the credential's own key: proves no model.
    PackedSelf,
    /// `fido-u2f` with a certificate chain to an accepted root.
    FidoU2f,
    /// No attestation.
    None,
}

impl AttestationKind {
    const ALL: [Self; 4] = [Self::Packed, Self::PackedSelf, Self::FidoU2f, Self::None];

    /// Its name in messages and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Packed => "packed",
            Self::PackedSelf => "packed-self",
            Self::FidoU2f => "fido-u2f",
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModelVerification {
    /// PIN only.
    PinOnly,
    /// Built-in biometric, with the PIN as fallback.
    BuiltInOrPin,
    /// Built-in biometric and nothing else.
    BuiltInOnly,
}

/// What was proved about the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HumanProof {
    pub(crate) user_verified: bool,
    pub(crate) attestation: AttestationKind,
    pub(crate) model: Option<ModelVerification>,
}

/// The level and the RFC 8176 methods that `proof` and an accepted quote prove together.
pub(crate) fn assess(proof: Option<HumanProof>) -> (AssuranceLevel, Vec<&'static str>) {
    let Some(proof) = proof else { return (AssuranceLevel::Device, Vec::new()) };
    if !proof.user_verified {
        return (AssuranceLevel::Touch, vec!["hwk", "user"]);
    }
    // Only a chain to an accepted root proves the model; self attestation proves nothing of it.
    let model = proof.model.filter(|_| proof.attestation == AttestationKind::Packed);
    let mut methods = vec!["hwk", "user", "mfa"];
    match model {
        None => (AssuranceLevel::Uv, methods),
        Some(ModelVerification::PinOnly) => {
            methods.push("pin");
            (AssuranceLevel::Uv, methods)
        }
        // The signed flag does not say which was used, so no "fpt".
        Some(ModelVerification::BuiltInOrPin) => (AssuranceLevel::UvHardware, methods),
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
            Some(HumanProof { user_verified, attestation, model })
        };
        use AttestationKind::{None as Unattested, Packed, PackedSelf};
        use ModelVerification::{BuiltInOnly, BuiltInOrPin, PinOnly};
        let cases = [
            (None, AssuranceLevel::Device, vec![]),
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
