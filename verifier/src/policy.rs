//! The AppraisalPolicy: what evidence must show. What a person may then do is the ActionPolicy's.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use signet_evidence::CertificateThumbprint;
use signet_evidence::webauthn::{Aaguid, CredProtect};

use crate::assurance::{AuthenticatorModel, ModelVerification};
use crate::boot::MachinePolicy;
use crate::certificate::{AnchorError, TrustAnchors};
use crate::chains::SeenChains;
use crate::metadata::{AttestationKeyId, Metadata, ModelEntry, ModelIdentity};

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
    /// Chains that led to one of them before.
    pub chains: Arc<SeenChains>,
    /// WebAuthn RP ID: a reserved host name that no web server serves.
    pub rp_id: String,
    /// PCRs (SHA-256 bank) that every quote must cover.
    pub required_pcrs: BTreeSet<u8>,
    /// How the PCR values of machines are judged that no policy in `machines` is for.
    pub boot: BootPolicy,
    /// What machines may boot.
    pub machines: Arc<[MachinePolicy]>,
    /// Which authenticators may be registered.
    pub registration: RegistrationPolicy,
}

impl AppraisalPolicy {
    /// The only origin that client data may name: `https://` and the RP ID.
    #[must_use]
    pub fn origin(&self) -> String {
        ["https://", &self.rp_id].concat()
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
    rules: RegistrationRules,
    metadata: Option<Arc<Metadata>>,
}

/// A maker's attestation root.
#[derive(Clone, Debug)]
pub struct AttestationRoot {
    /// DER certificate.
    pub certificate: Vec<u8>,
    /// Models that this root may vouch for. [`Aaguid::ZERO`] stands for its U2F keys.
    pub models: Vec<AuthenticatorModel>,
}

/// What is accepted at registration, whatever vouches for it.
#[derive(Clone, Debug, Default)]
pub struct RegistrationRules {
    /// Accept authenticators that attest themselves or not at all. Their level never exceeds
    /// `signet.uv`.
    pub danger_accept_unattested: bool,
    /// Accept keys that cannot verify their user. Their level never exceeds `signet.touch`.
    pub accept_touch_only: bool,
    /// Where given, the only models that are accepted. They need a root that vouches for them all
    /// the same.
    pub allowed: Option<BTreeSet<Aaguid>>,
    /// Models that are never accepted.
    pub denied: BTreeSet<Aaguid>,
    /// Whether metadata vouches for every model in it, or only for those in `allowed`.
    pub accept_all_models: bool,
    /// Whether nothing is registered while the metadata is overdue.
    pub refuse_stale_metadata: bool,
    /// The least `credProtect` of a key that applies one, or that metadata says could.
    pub least_cred_protect: Option<CredProtect>,
}

impl RegistrationPolicy {
    /// Accepts authenticators whose attestation leads to one of `roots` and names a model of that
    /// root, as far as `rules` let them.
    ///
    /// # Errors
    /// [`AnchorError`] for the first root that is not a usable certificate.
    pub fn new(roots: Vec<AttestationRoot>, rules: RegistrationRules) -> Result<Self, AnchorError> {
        let anchors = TrustAnchors::from_der(roots.iter().map(|root| &root.certificate))?;
        Ok(Self { roots, anchors, rules, metadata: None })
    }

    /// The same, and what `metadata` says: of more models, and against some.
    #[must_use]
    pub fn with_metadata(self, metadata: Option<Arc<Metadata>>) -> Self {
        Self { metadata, ..self }
    }

    /// The metadata that counts.
    #[must_use]
    pub fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_deref()
    }

    /// How a model verifies its user: by the settings, or else by metadata.
    #[must_use]
    pub fn model(
        &self,
        aaguid: Aaguid,
        attestation_key: Option<AttestationKeyId>,
    ) -> Option<ModelVerification> {
        let mut models = self.roots.iter().flat_map(|root| &root.models);
        let configured = models.find(|model| model.aaguid == aaguid);
        configured.map(|model| model.verification).or_else(|| {
            let described = self.metadata()?.describing(aaguid, attestation_key).next()?;
            described.verification
        })
    }

    pub(crate) fn rules(&self) -> &RegistrationRules {
        &self.rules
    }

    /// Where an attestation of this model must lead: to the roots that vouch for it, or, where none
    /// does, to any that is configured, so that the refusal says which of the two it was.
    pub(crate) fn anchors(&self, aaguid: Aaguid) -> Cow<'_, TrustAnchors> {
        let configured = self.roots.iter().filter(|root| root.covers(aaguid));
        let configured = configured.map(|root| root.certificate.as_slice());
        let published = self.published_roots(aaguid).map(Vec::as_slice);
        let vouching: Vec<&[u8]> = configured.chain(published).collect();
        if vouching.is_empty() {
            return Cow::Borrowed(&self.anchors);
        }
        Cow::Owned(TrustAnchors::usable(vouching))
    }

    /// Whether the root of this thumbprint may vouch for the model.
    pub(crate) fn vouches(&self, root: CertificateThumbprint, aaguid: Aaguid) -> bool {
        let is_root = |der: &[u8]| CertificateThumbprint::of_der(der) == root;
        let configured = self.roots.iter().filter(|candidate| candidate.covers(aaguid));
        configured.map(|root| &root.certificate).any(|der| is_root(der))
            || self.published_roots(aaguid).any(|der| is_root(der))
    }

    /// Roots that metadata names for the model, where the rules let it vouch. For U2F, whose models
    /// have no AAGUID, those of all U2F entries: a batch proves itself by its own certificate.
    fn published_roots(&self, aaguid: Aaguid) -> impl Iterator<Item = &Vec<u8>> {
        let allowed = self.rules.allowed.as_ref().is_some_and(|allowed| allowed.contains(&aaguid));
        let speaks = self.rules.accept_all_models || allowed;
        let models = self.metadata().filter(|_| speaks).map_or(&[][..], Metadata::models);
        let of_model = move |model: &&ModelEntry| match &model.identity {
            ModelIdentity::Aaguid(known) => *known == aaguid.0,
            ModelIdentity::AttestationKeys(_) => aaguid == Aaguid::ZERO,
        };
        models.iter().filter(of_model).flat_map(|model| &model.roots)
    }
}

impl AttestationRoot {
    fn covers(&self, aaguid: Aaguid) -> bool {
        self.models.iter().any(|model| model.aaguid == aaguid)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MODEL: Aaguid = Aaguid([1; 16]);
    const OTHER: Aaguid = Aaguid([2; 16]);

    /// A policy with metadata of two models and of one U2F key, each with a root of its own.
    fn policy(rules: RegistrationRules) -> RegistrationPolicy {
        let model = |identity: serde_json::Value, root: u8| {
            json!({
                "identity": identity, "description": "", "firmware": null, "verification": null,
                "key_protection": [], "matcher_protection": [], "attestation_types": [],
                "cred_protect": false, "roots": [[root]], "reports": [],
            })
        };
        let metadata = json!({ "number": 1, "next_update": 0, "models": [
            model(json!({ "aaguid": MODEL.0 }), 1),
            model(json!({ "aaguid": OTHER.0 }), 2),
            model(json!({ "attestation-keys": [vec![7; 20]] }), 3),
        ] });
        let metadata = serde_json::from_value(metadata).unwrap();
        RegistrationPolicy::new(Vec::new(), rules).unwrap().with_metadata(Some(Arc::new(metadata)))
    }

    /// Metadata vouches for a model by that model's own roots, and only where the rules let the model in.
    #[test]
    fn a_published_root_vouches_for_its_own_model_where_the_rules_let_it_in() {
        let vouched = |rules: RegistrationRules| {
            let policy = policy(rules);
            [MODEL, OTHER, Aaguid::ZERO].map(|model| {
                let root = |root: u8| CertificateThumbprint::of_der(&[root]);
                [1, 2, 3].map(|number| policy.vouches(root(number), model))
            })
        };
        let none = RegistrationRules::default();
        assert_eq!(vouched(none), [[false; 3]; 3]);
        let all = RegistrationRules { accept_all_models: true, ..RegistrationRules::default() };
        let own = [[true, false, false], [false, true, false], [false, false, true]];
        assert_eq!(vouched(all), own);
        let allowed = Some(BTreeSet::from([MODEL]));
        let one = RegistrationRules { allowed, ..RegistrationRules::default() };
        assert_eq!(vouched(one), [own[0], [false; 3], [false; 3]]);
    }
}
