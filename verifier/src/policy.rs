//! The AppraisalPolicy: what evidence must show. What a person may then do is the ActionPolicy's.

use std::collections::BTreeSet;

use signet_evidence::CertificateThumbprint;
use signet_evidence::webauthn::Aaguid;

use crate::assurance::{AuthenticatorModel, ModelVerification};
use crate::certificate::{AnchorError, TrustAnchors};

/// What the authority demands of evidence.
#[derive(Clone, Debug)]
pub struct AppraisalPolicy {
    /// Expected `aud`: the authority's URL.
    pub audience: String,
    /// Trust domain of the device certificates' SPIFFE IDs.
    pub trust_domain: String,
    /// The device CA.
    pub device_anchors: TrustAnchors,
    /// The CA that certifies AKs.
    pub ak_anchors: TrustAnchors,
    /// WebAuthn RP ID: a reserved host name that no web server serves.
    pub rp_id: String,
    /// PCRs (SHA-256 bank) that every quote must cover.
    pub required_pcrs: BTreeSet<u8>,
    /// How PCR values are judged.
    pub boot: BootPolicy,
    /// Which authenticators may be registered.
    pub registration: RegistrationPolicy,
}

impl AppraisalPolicy {
    /// The only origin that client data may name: `https://` and the RP ID.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("https://{}", self.rp_id)
    }
}

/// How a machine's boot state is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootPolicy {
    /// Recorded and not judged; tokens say `boot: unjudged`.
    Monitor,
    /// The required PCRs must hold the device's approved values.
    Enforce,
}

/// Which authenticators may be registered.
#[derive(Clone, Debug, Default)]
pub struct RegistrationPolicy {
    roots: Vec<AttestationRoot>,
    anchors: TrustAnchors,
    danger_accept_unattested: bool,
}

/// A maker's attestation root.
#[derive(Clone, Debug)]
pub struct AttestationRoot {
    /// DER certificate.
    pub certificate: Vec<u8>,
    /// Models that this root may vouch for.
    pub models: Vec<AuthenticatorModel>,
}

impl RegistrationPolicy {
    /// Accepts authenticators whose attestation leads to one of `roots` and names a model of that
    /// root. `danger_accept_unattested` also accepts those that attest themselves or not at all:
    /// their level never exceeds `signet.uv`.
    ///
    /// # Errors
    /// [`AnchorError`] for the first root that is not a usable certificate.
    pub fn new(
        roots: Vec<AttestationRoot>,
        danger_accept_unattested: bool,
    ) -> Result<Self, AnchorError> {
        let anchors = TrustAnchors::from_der(roots.iter().map(|root| &root.certificate))?;
        Ok(Self { roots, anchors, danger_accept_unattested })
    }

    /// What is known of a model, whichever root vouches for it.
    #[must_use]
    pub fn model(&self, aaguid: Aaguid) -> Option<ModelVerification> {
        let mut models = self.roots.iter().flat_map(|root| &root.models);
        models.find(|model| model.aaguid == aaguid).map(|model| model.verification)
    }

    pub(crate) fn anchors(&self) -> &TrustAnchors {
        &self.anchors
    }

    pub(crate) fn accepts_unattested(&self) -> bool {
        self.danger_accept_unattested
    }

    /// Whether the root of this thumbprint may vouch for the model.
    pub(crate) fn vouches(&self, root: CertificateThumbprint, aaguid: Aaguid) -> bool {
        self.roots
            .iter()
            .filter(|candidate| CertificateThumbprint::of_der(&candidate.certificate) == root)
            .any(|root| root.models.iter().any(|model| model.aaguid == aaguid))
    }
}
