//! The AppraisalPolicy: what evidence must show. What a person may then do is the ActionPolicy's.

use std::collections::BTreeSet;

use signet_evidence::webauthn::Aaguid;

use crate::assurance::{AuthenticatorModel, ModelVerification};

/// What the authority demands of evidence.
#[derive(Clone, Debug)]
pub struct AppraisalPolicy {
    /// Expected `aud`: the authority's URL.
    pub audience: String,
    /// Trust domain of the device certificates' SPIFFE IDs.
    pub trust_domain: String,
    /// DER certificates of the device CA.
    pub device_anchors: Vec<Vec<u8>>,
    /// DER certificates of the CA that certifies AKs.
    pub ak_anchors: Vec<Vec<u8>>,
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

/// Whether the authenticator must verify its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserVerification {
    /// UV must be set.
    Required,
    /// A touch is enough; the level says so.
    NotRequired,
}

/// Which authenticators may be registered.
#[derive(Clone, Debug, Default)]
pub struct RegistrationPolicy {
    /// Accepted attestation roots, each with the models it may vouch for.
    pub roots: Vec<AttestationRoot>,
    /// Accept authenticators that attest themselves or not at all: their level stays `signet.uv`.
    pub danger_accept_unattested: bool,
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
    /// What is known of a model, whichever root vouches for it.
    #[must_use]
    pub fn model(&self, aaguid: Aaguid) -> Option<ModelVerification> {
        let mut models = self.roots.iter().flat_map(|root| &root.models);
        models.find(|model| model.aaguid == aaguid).map(|model| model.verification)
    }
}
