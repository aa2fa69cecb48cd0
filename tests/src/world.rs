//! What a verifier knows: certificates, keys and rows. Written once beside the fixtures that were
//! made in it, so that the same evidence can be judged again at the same hour.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use signet_evidence::tpm::{Name, TpmtPublic};
use signet_evidence::webauthn::{Aaguid, CoseKey, CredProtect};
use signet_evidence::{DeviceId, FingerFacts, PlatformKeyId, SessionId, UnixTime};
use signet_verifier::assurance::AuthenticatorModel;
use signet_verifier::boot::MachinePolicy;
use signet_verifier::certificate::TrustAnchors;
use signet_verifier::challenge::ChallengeKey;
use signet_verifier::ecdsa::P256PublicKey;
use signet_verifier::metadata::Metadata;
use signet_verifier::policy::{
    AppraisalPolicy, AttestationRoot, BootPolicy, RegistrationPolicy, RegistrationRules,
};
use signet_verifier::records::{
    Enrolled, EnrolledCredential, EnrolledDevice, EnrolledKey, EnrolledPlatformKey,
    EnrolledSession, PlatformMethod, TpmClock,
};
use signet_verifier::token::{FileSigner, TokenChecker, VerifyingKey};
use signet_verifier::{AttestationKind, ModelVerification};
use zeroize::Zeroizing;

/// The machine policy of [`Change::MachinesJudged`].
pub const MACHINE_POLICY: &str = "name = \"world\"\nmode = \"enforce\"\n\n[log]\nrequired = true\n\
    explains = [0, 4, 7]\n";

/// Bytes as standard base64 in JSON.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// Everything that judging a fixture needs. All secrets in it were made for it and guard nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct World {
    /// The hour at which fixtures are judged, unless they say another.
    pub now: i64,
    /// The authority's URL.
    pub audience: String,
    /// Trust domain.
    pub trust_domain: String,
    /// RP ID.
    pub rp_id: String,
    /// Device CA, DER.
    pub device_ca: Bytes,
    /// Challenge HMAC key.
    pub challenge_key: Bytes,
    /// Token signing key, PKCS#8.
    pub token_key: Bytes,
    /// Attestation root of the software key, DER.
    pub attestation_root: Bytes,
    /// The software key's model.
    pub aaguid: Bytes,
    /// Device id (ueid).
    pub device: Bytes,
    /// The AK, uncompressed point.
    pub ak: Bytes,
    /// `TPMT_PUBLIC` of the AK.
    pub ak_public: Bytes,
    /// The TLS key, uncompressed point.
    pub tls: Bytes,
    /// A key in software that the AK CA certified by mistake, uncompressed point.
    pub software_ak: Bytes,
    /// Keys in software that change `software-keys` puts in the place of the genuine ones.
    pub software: Software,
    /// SHA-256 of the EK's public area.
    pub ek_digest: Bytes,
    /// Approved PCR values.
    pub pcrs: BTreeMap<u8, Bytes>,
    /// The TPM's clock at enrolment.
    pub clock_ms: u64,
    /// The TPM's reset count at enrolment.
    pub reset_count: u32,
    /// The TPM's restart count at enrolment.
    pub restart_count: u32,
    /// The operator.
    pub operator: String,
    /// The operator's credential id.
    pub credential: Bytes,
    /// Its public key, COSE_Key.
    pub credential_key: Bytes,
    /// Its counter at registration.
    pub sign_count: u32,
    /// `TPMT_PUBLIC` of the operator's PIN key in the device's TPM.
    pub pin_key: Bytes,
    /// `TPMT_PUBLIC` of the operator's fingerprint key in the device's TPM.
    pub finger_key: Bytes,
    /// The fingerprint reader at registration.
    pub driver: String,
    /// Digest of the fingers that were enrolled then.
    pub fingers: Bytes,
    /// A session of the operator on the device.
    pub session: Bytes,
    /// Client certificates by name, DER.
    pub peers: BTreeMap<String, Bytes>,
}

/// A machine and an operator's keys in software, private halves and all: with them anybody can make
/// evidence that is sound but for one thing, and sign it consistently.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Software {
    /// Private keys, P-256 scalars, by what they are for: `tls`, `ak`, `credential`, `platform`,
    /// `release` (the key that releases the fingerprint key), `maker` (the security key's attestation).
    pub secrets: BTreeMap<String, Bytes>,
    /// Public key of `tls`, uncompressed point. Its certificates are peers whose names begin with
    /// `software`.
    pub tls: Bytes,
    /// Certificates of `ak`, by what is wrong with them; `sound`: nothing. DER.
    pub ak_certificates: BTreeMap<String, Bytes>,
    /// Certificates of `maker`, likewise.
    pub maker_certificates: BTreeMap<String, Bytes>,
    /// Id of the credential of `credential`.
    pub credential: Bytes,
    /// Its public key, COSE_Key.
    pub credential_key: Bytes,
    /// `TPMT_PUBLIC` of `platform` as a PIN key.
    pub pin_key: Bytes,
    /// `TPMT_PUBLIC` of `platform` as a fingerprint key that `release` releases.
    pub finger_key: Bytes,
}

/// A change to what the verifier knows, named in a fixture's `with` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The device has no row.
    DeviceUnknown,
    /// The device is revoked.
    DeviceRevoked,
    /// The device's approved PCRs are others, and the boot policy enforces them.
    PcrsDrifted,
    /// A machine policy demands an event log that explains the PCRs of the firmware.
    MachinesJudged,
    /// The device's last clock reading lies ahead of the evidence's.
    ClockAhead,
    /// The session began before the last restart.
    SessionRebooted,
    /// The session has ended.
    SessionEnded,
    /// The credential is not the operator's.
    CredentialUnknown,
    /// The credential is revoked.
    CredentialRevoked,
    /// The credential's counter lies ahead of the evidence's.
    CounterAhead,
    /// The platform keys were registered on another device.
    PlatformKeyElsewhere,
    /// Other attestation roots are configured.
    OtherAttestationRoots,
    /// The root vouches for other models.
    OtherModels,
    /// The settings deny the model.
    ModelDenied,
    /// Metadata reports the model as revoked.
    ModelReported,
    /// Metadata has run out, and nothing is registered without it.
    MetadataStale,
    /// Metadata says that the model has credProtect.
    ModelHasCredProtect,
    /// The model cannot verify its user, and such models are not accepted.
    ModelTouchOnly,
    /// Keys that can only be touched are accepted.
    TouchOnlyAccepted,
    /// The credential was enrolled as one that can only be touched.
    CredentialTouchOnly,
    /// The device's row names an AK that lives in software.
    SoftwareAk,
    /// All rows name keys that live in software: the world's `software`.
    SoftwareKeys,
    /// The challenge was answered before. The store's to know, as are those that follow.
    ChallengeConsumed,
    /// The session's presence has run out.
    PresenceExpired,
    /// The credential is enrolled already.
    CredentialEnrolled,
    /// Nothing allows the operator to add a key.
    NoGrant,
    /// The token's session was revoked.
    SessionRevoked,
    /// The single-use token was used.
    TokenRedeemed,
    /// Rules permit looking, and no change.
    ViewsOnly,
}

impl Change {
    const ALL: [(Self, &'static str); 29] = [
        (Self::DeviceUnknown, "device-unknown"),
        (Self::DeviceRevoked, "device-revoked"),
        (Self::PcrsDrifted, "pcrs-drifted"),
        (Self::MachinesJudged, "machines-judged"),
        (Self::ClockAhead, "clock-ahead"),
        (Self::SessionRebooted, "session-rebooted"),
        (Self::SessionEnded, "session-ended"),
        (Self::CredentialUnknown, "credential-unknown"),
        (Self::CredentialRevoked, "credential-revoked"),
        (Self::CounterAhead, "counter-ahead"),
        (Self::PlatformKeyElsewhere, "platform-key-elsewhere"),
        (Self::OtherAttestationRoots, "other-attestation-roots"),
        (Self::OtherModels, "other-models"),
        (Self::ModelDenied, "model-denied"),
        (Self::ModelReported, "model-reported"),
        (Self::MetadataStale, "metadata-stale"),
        (Self::ModelHasCredProtect, "model-has-cred-protect"),
        (Self::ModelTouchOnly, "model-touch-only"),
        (Self::TouchOnlyAccepted, "touch-only-accepted"),
        (Self::CredentialTouchOnly, "credential-touch-only"),
        (Self::SoftwareAk, "software-ak"),
        (Self::SoftwareKeys, "software-keys"),
        (Self::ChallengeConsumed, "challenge-consumed"),
        (Self::PresenceExpired, "presence-expired"),
        (Self::CredentialEnrolled, "credential-enrolled"),
        (Self::NoGrant, "no-grant"),
        (Self::SessionRevoked, "session-revoked"),
        (Self::TokenRedeemed, "token-redeemed"),
        (Self::ViewsOnly, "views-only"),
    ];

    /// The change of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, found)| *found == name).map(|(change, _)| change)
    }

    /// Whether only a store can know it: the library alone accepts what is refused for it.
    pub fn is_the_stores(self) -> bool {
        matches!(
            self,
            Self::ChallengeConsumed
                | Self::PresenceExpired
                | Self::CredentialEnrolled
                | Self::NoGrant
                | Self::SessionRevoked
                | Self::TokenRedeemed
                | Self::ViewsOnly
        )
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        Self::ALL.into_iter().find(|(change, _)| *change == self).map_or("", |(_, name)| name)
    }
}

/// A world that its file does not describe.
#[derive(Debug, thiserror::Error)]
#[error("the world's {0} is not usable")]
pub struct WorldError(pub &'static str);

impl World {
    /// The authority's challenge key.
    ///
    /// # Errors
    /// [`WorldError`].
    pub fn challenge_key(&self) -> Result<ChallengeKey, WorldError> {
        let key: [u8; 32] =
            self.challenge_key.0.as_slice().try_into().map_err(|_| WorldError("challenge key"))?;
        Ok(ChallengeKey::new(&Zeroizing::new(key)))
    }

    /// The appraisal policy, after `changes`.
    ///
    /// # Errors
    /// [`WorldError`].
    pub fn policy(&self, changes: &[Change]) -> Result<AppraisalPolicy, WorldError> {
        let anchors =
            || TrustAnchors::from_der([&self.device_ca.0]).map_err(|_| WorldError("device CA"));
        let mut aaguid: [u8; 16] =
            self.aaguid.0.as_slice().try_into().map_err(|_| WorldError("aaguid"))?;
        if changes.contains(&Change::OtherModels) {
            aaguid[0] ^= 1;
        }
        let has = |change| changes.contains(&change);
        let verification = if has(Change::ModelTouchOnly) {
            ModelVerification::TouchOnly
        } else {
            ModelVerification::BuiltInOrPin
        };
        let models = vec![AuthenticatorModel { aaguid: Aaguid(aaguid), verification }];
        let other = changes.contains(&Change::OtherAttestationRoots);
        let certificate = if other { &self.device_ca } else { &self.attestation_root };
        let root = AttestationRoot { certificate: certificate.0.clone(), models };
        let rules = RegistrationRules {
            denied: has(Change::ModelDenied).then_some(Aaguid(aaguid)).into_iter().collect(),
            accept_touch_only: has(Change::TouchOnlyAccepted),
            refuse_stale_metadata: has(Change::MetadataStale),
            least_cred_protect: Some(CredProtect::UserVerificationRequired),
            ..RegistrationRules::default()
        };
        let registration = RegistrationPolicy::new(vec![root], rules)
            .map_err(|_| WorldError("attestation root"))?
            .with_metadata(self.metadata(changes)?.map(Arc::new));
        let boot = if changes.contains(&Change::PcrsDrifted) {
            BootPolicy::Enforce
        } else {
            BootPolicy::Monitor
        };
        Ok(AppraisalPolicy {
            audience: self.audience.clone(),
            trust_domain: self.trust_domain.clone(),
            device_anchors: anchors()?,
            ak_anchors: anchors()?,
            chains: Arc::default(),
            rp_id: self.rp_id.clone(),
            required_pcrs: self.pcrs.keys().copied().collect(),
            boot,
            machines: self.machine_policies(changes)?.into(),
            registration,
        })
    }

    /// The machine policies that count after `changes`.
    ///
    /// # Errors
    /// [`WorldError`].
    pub fn machine_policies(&self, changes: &[Change]) -> Result<Vec<MachinePolicy>, WorldError> {
        if !changes.contains(&Change::MachinesJudged) {
            return Ok(Vec::new());
        }
        let policy = MachinePolicy::from_toml(MACHINE_POLICY);
        policy.map(|policy| vec![policy]).map_err(|_| WorldError("machine policy"))
    }

    /// The metadata that counts after `changes`, if any.
    ///
    /// # Errors
    /// [`WorldError`].
    pub fn metadata(&self, changes: &[Change]) -> Result<Option<Metadata>, WorldError> {
        let has = |change| changes.contains(&change);
        let speaks = [Change::ModelReported, Change::MetadataStale, Change::ModelHasCredProtect];
        if !speaks.into_iter().any(has) {
            return Ok(None);
        }
        let reports = if has(Change::ModelReported) {
            serde_json::json!([{ "status": "REVOKED", "effective": 0 }])
        } else {
            serde_json::json!([])
        };
        let next_update = if has(Change::MetadataStale) { 0 } else { self.now };
        let cred_protect = has(Change::ModelHasCredProtect);
        let rest = [("cred_protect", cred_protect.into()), ("reports", reports)];
        self.model_metadata(next_update, rest).map(Some)
    }

    /// Metadata of the world's model, good until the end of the day `next_update`, with these members in
    /// place of nothing.
    ///
    /// # Errors
    /// [`WorldError`].
    pub fn model_metadata<const N: usize>(
        &self,
        next_update: i64,
        members: [(&str, serde_json::Value); N],
    ) -> Result<Metadata, WorldError> {
        let mut model = serde_json::json!({
            "identity": { "aaguid": self.aaguid.0 },
            "description": "Software key",
            "firmware": 1,
            "verification": null,
            "key_protection": [],
            "matcher_protection": [],
            "attestation_types": ["basic_full"],
            "cred_protect": false,
            "roots": [],
            "reports": [],
        });
        for (name, value) in members {
            model[name] = value;
        }
        // As a store keeps it: who signed it was judged when it came in.
        let stored =
            serde_json::json!({ "number": 7, "next_update": next_update, "models": [model] });
        serde_json::from_value(stored).map_err(|_| WorldError("metadata"))
    }

    /// The rows, after `changes`.
    ///
    /// # Errors
    /// [`WorldError`].
    pub fn enrolled(&self, changes: &[Change]) -> Result<Enrolled, WorldError> {
        let has = |change| changes.contains(&change);
        let id = DeviceId::from_bytes(&self.device.0).ok_or(WorldError("device id"))?;
        let device = EnrolledDevice {
            id: id.clone(),
            ak: self.attestation_key(changes)?,
            revoked: has(Change::DeviceRevoked),
            clock: TpmClock {
                clock_ms: if has(Change::ClockAhead) { u64::MAX } else { self.clock_ms },
                reset_count: self.reset_count,
                restart_count: self.restart_count,
                safe: true,
            },
            approved_pcrs: self
                .pcrs
                .iter()
                .map(|(index, value)| {
                    let mut value = value.0.clone();
                    if has(Change::PcrsDrifted) {
                        value[0] ^= 1;
                    }
                    (*index, value)
                })
                .collect(),
            accepted: Vec::new(),
            groups: BTreeSet::new(),
            event_log: None,
            endorsement_proven: true,
        };
        let (credential_id, credential_key) = self.security_key(changes);
        let credential = EnrolledCredential {
            id: credential_id.0.clone(),
            subject: self.owner(changes),
            public_key: CoseKey::parse(&credential_key.0).map_err(|_| WorldError("credential"))?,
            sign_count: if has(Change::CounterAhead) { u32::MAX } else { self.sign_count },
            aaguid: Aaguid(self.aaguid.0.as_slice().try_into().map_err(|_| WorldError("aaguid"))?),
            attestation: AttestationKind::Packed,
            model: Some(ModelVerification::BuiltInOrPin),
            touch_only: has(Change::CredentialTouchOnly),
            reported: has(Change::ModelReported),
            revoked: has(Change::CredentialRevoked),
        };
        let session = EnrolledSession {
            id: self.session_id()?,
            subject: Some(self.operator.clone()),
            device: id,
            reset_count: if has(Change::SessionRebooted) { 0 } else { self.reset_count },
            expires: UnixTime(self.now + 36_000),
            ended: has(Change::SessionEnded),
        };
        Ok(Enrolled {
            device: (!has(Change::DeviceUnknown)).then_some(device),
            credential: Some(EnrolledKey::SecurityKey(credential)),
            session: Some(session),
        })
    }

    /// The rows for evidence whose assertion names this credential, after `changes`.
    ///
    /// # Errors
    /// [`WorldError`].
    pub fn enrolled_for(
        &self,
        credential: Option<&[u8]>,
        changes: &[Change],
    ) -> Result<Enrolled, WorldError> {
        let mut enrolled = self.enrolled(changes)?;
        let mut keys = self.platform_keys(changes)?.to_vec();
        let mut keys = keys.drain(..).map(EnrolledKey::Platform).chain(enrolled.credential.take());
        enrolled.credential = keys.find(|key| Some(key.id()) == credential);
        drop(keys);
        Ok(enrolled)
    }

    /// The operator's platform keys, by PIN and by fingerprint, after `changes`.
    ///
    /// # Errors
    /// [`WorldError`].
    pub fn platform_keys(
        &self,
        changes: &[Change],
    ) -> Result<[EnrolledPlatformKey; 2], WorldError> {
        let fingers = self.fingers.0.as_slice().try_into().map_err(|_| WorldError("fingers"))?;
        let facts = FingerFacts { driver: self.driver.clone(), fingers };
        let (pin, finger) = if changes.contains(&Change::SoftwareKeys) {
            (&self.software.pin_key, &self.software.finger_key)
        } else {
            (&self.pin_key, &self.finger_key)
        };
        Ok([
            self.platform_key(pin, PlatformMethod::Pin, changes)?,
            self.platform_key(finger, PlatformMethod::Fingerprint(facts), changes)?,
        ])
    }

    fn platform_key(
        &self,
        public: &Bytes,
        method: PlatformMethod,
        changes: &[Change],
    ) -> Result<EnrolledPlatformKey, WorldError> {
        let wrong = || WorldError("platform key");
        let public = TpmtPublic::parse(&public.0).map_err(|_| wrong())?;
        let point = public.ecc().ok_or_else(wrong)?.uncompressed_point();
        let device = if changes.contains(&Change::PlatformKeyElsewhere) {
            DeviceId::from_random(&[0xee; 16])
        } else {
            DeviceId::from_bytes(&self.device.0)
        };
        Ok(EnrolledPlatformKey {
            id: PlatformKeyId::from_bytes(Name::of(&public).as_bytes()).ok_or_else(wrong)?,
            subject: self.owner(changes),
            device: device.ok_or(WorldError("device id"))?,
            public_key: P256PublicKey::from_uncompressed_point(&point).map_err(|_| wrong())?,
            method,
            revoked: changes.contains(&Change::CredentialRevoked),
        })
    }

    /// Id and public key of the operator's security key, after `changes`.
    pub fn security_key(&self, changes: &[Change]) -> (&Bytes, &Bytes) {
        if changes.contains(&Change::SoftwareKeys) {
            (&self.software.credential, &self.software.credential_key)
        } else {
            (&self.credential, &self.credential_key)
        }
    }

    fn owner(&self, changes: &[Change]) -> String {
        if changes.contains(&Change::CredentialUnknown) {
            "mallory".into()
        } else {
            self.operator.clone()
        }
    }

    /// The AK of the device's row.
    ///
    /// # Errors
    /// [`WorldError`].
    pub fn attestation_key(&self, changes: &[Change]) -> Result<P256PublicKey, WorldError> {
        let software = [Change::SoftwareAk, Change::SoftwareKeys];
        let in_software = software.iter().any(|change| changes.contains(change));
        let point = if in_software { &self.software_ak } else { &self.ak };
        P256PublicKey::from_uncompressed_point(&point.0).map_err(|_| WorldError("AK"))
    }

    /// The TLS key of the device's row.
    ///
    /// # Errors
    /// [`WorldError`].
    pub fn tls_key(&self, changes: &[Change]) -> Result<P256PublicKey, WorldError> {
        let software = changes.contains(&Change::SoftwareKeys);
        let point = if software { &self.software.tls } else { &self.tls };
        P256PublicKey::from_uncompressed_point(&point.0).map_err(|_| WorldError("TLS key"))
    }

    /// Judges this world's tokens.
    ///
    /// # Errors
    /// [`WorldError`].
    pub fn token_checker(&self) -> Result<TokenChecker, WorldError> {
        let signer = self.token_signer()?;
        Ok(TokenChecker {
            issuer: self.audience.clone(),
            audience: self.trust_domain.clone(),
            keys: vec![VerifyingKey::of_signer(&signer)],
        })
    }

    /// Signs this world's tokens.
    ///
    /// # Errors
    /// [`WorldError`].
    pub fn token_signer(&self) -> Result<FileSigner, WorldError> {
        FileSigner::from_pkcs8(&Zeroizing::new(self.token_key.0.clone()))
            .map_err(|_| WorldError("token key"))
    }

    /// The operator's session.
    ///
    /// # Errors
    /// [`WorldError`].
    pub fn session_id(&self) -> Result<SessionId, WorldError> {
        self.session.0.as_slice().try_into().map(SessionId).map_err(|_| WorldError("session"))
    }
}
