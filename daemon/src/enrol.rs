//! Device enrolment: the machine's side of credential activation (protocol §4.1).
//!
//! Nothing counts as enrolled until [`Enroller::complete`] has stored everything at once.

use std::sync::Arc;

use aws_lc_rs::hmac;
use signet_evidence::DeviceId;
use signet_evidence::binding::{enrolment_qualifying_data, sha256};
use signet_evidence::cbor::{self, CborError, Value};
use signet_evidence::tpm::TpmtPublic;
use tokio::sync::Mutex;

use crate::der;
use crate::failure::{ArgumentError, Bug, Failure};
use crate::presence::usable;
use crate::state::{Base64, Enrolment, StateDir, Stored, StoredKey};
use crate::tpm::{
    AttestationKey, Certification, Endorsement, EndorsementKind, Quote, TlsKey, Tpm, TpmError,
};

/// First member of a transcript.
const TRANSCRIPT: &str = "signet-enrol-v1";
/// Longest text and most certificates that an authority may hand over.
const MAX_TEXT: usize = 512;
const MAX_CERTIFICATES: usize = 8;
/// Of the authority's CA, the devices' and the attestation keys'.
const MAX_SUCCESSORS: usize = 3 * MAX_CERTIFICATES;

/// A transcript that is not about this machine and this exchange.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TranscriptError {
    /// Not deterministic CBOR.
    #[error("the transcript is not deterministic CBOR")]
    Cbor(#[source] CborError),
    /// Not an array of the nine members in their types.
    #[error("the transcript does not have the members of {TRANSCRIPT}")]
    Shape,
    /// A member differs from what this machine holds or was given.
    #[error("the transcript names another {0}")]
    Member(&'static str),
}

/// What the machine shows of itself.
#[derive(Clone, Debug)]
pub struct Introduction {
    /// Endorsement keys and certificates.
    pub endorsement: Endorsement,
    /// `TPMT_PUBLIC` of the AK.
    pub ak_public: Vec<u8>,
    /// `TPMT_PUBLIC` of the TLS key.
    pub tls_public: Vec<u8>,
}

/// The authority's challenge to the machine's TPM.
#[derive(Clone, Debug)]
pub struct Activation {
    /// The endorsement key it was made for.
    pub ek_kind: EndorsementKind,
    /// `TPM2B_ID_OBJECT`.
    pub credential_blob: Vec<u8>,
    /// `TPM2B_ENCRYPTED_SECRET`.
    pub encrypted_secret: Vec<u8>,
    /// Freshness of the quote and the certification.
    pub nonce: Vec<u8>,
    /// Deterministic CBOR of everything that was said so far.
    pub transcript: Vec<u8>,
}

/// The machine's answer to an [`Activation`].
#[derive(Clone, Debug)]
pub struct Activated {
    /// HMAC-SHA-256 with the secret over transcript ‖ nonce.
    pub proof: Vec<u8>,
    /// The AK vouches for the TLS key.
    pub certification: Certification,
    /// State of the registers.
    pub quote: Quote,
    /// PKCS#10 of the TLS key, DER.
    pub csr: Vec<u8>,
}

/// What the authority hands over at the end; checked before it is stored.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Device certificates, leaf first, DER.
    pub device_chain: Vec<Vec<u8>>,
    /// AK certificates, leaf first, DER.
    pub ak_chain: Vec<Vec<u8>>,
    /// UEID.
    pub device_id: Vec<u8>,
    /// The authority's URL.
    pub authority: String,
    /// Its name in statements.
    pub audience: String,
    /// WebAuthn RP ID.
    pub rp_id: String,
    /// Who enrols the machine.
    pub operator: String,
    /// Trust anchors of the authority's TLS certificate, DER.
    pub ca: Vec<Vec<u8>>,
    /// Who signs the certificates of this machine, now and later, DER; may be empty.
    pub issuers: Vec<Vec<u8>>,
}

/// New certificates for the keys of an enrolment.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// Device certificates, leaf first, DER.
    pub device_chain: Vec<Vec<u8>>,
    /// AK certificates, leaf first, DER.
    pub ak_chain: Vec<Vec<u8>>,
    /// Later CAs, each certified by one before it, DER; those that are not are left.
    pub successors: Vec<Vec<u8>>,
}

/// Runs enrolments, one step at a time.
#[derive(Debug)]
pub struct Enroller {
    tpm: Tpm,
    state: StateDir,
    pcrs: Vec<u8>,
    /// Slow to read on real hardware, so kept between the steps; also the lock of the steps.
    endorsement: Mutex<Option<Endorsement>>,
}

impl Enroller {
    /// An enroller for this TPM that stores into `state` and quotes the registers `pcrs`.
    pub fn new(tpm: Tpm, state: StateDir, pcrs: Vec<u8>) -> Self {
        Self { tpm, state, pcrs, endorsement: Mutex::new(None) }
    }

    /// Shows the machine's keys; makes the TLS key if there is none that this TPM can use.
    ///
    /// # Errors
    /// TPM and state failures.
    pub async fn begin(&self) -> Result<Introduction, Failure> {
        let mut cache = self.endorsement.lock().await;
        let endorsement = self.tpm.endorsement().await?;
        *cache = Some(endorsement.clone());
        let ak_public = self.tpm.attestation_key().await?.public;
        let tls_public = self.usable_key().await?.public;
        Ok(Introduction { endorsement, ak_public, tls_public })
    }

    /// Answers the authority's challenge.
    ///
    /// # Errors
    /// [`ArgumentError::Transcript`] when the transcript is about anything else; TPM failures.
    pub async fn activate(&self, activation: &Activation) -> Result<Activated, Failure> {
        let mut cache = self.endorsement.lock().await;
        let endorsement = match cache.take() {
            Some(endorsement) => endorsement,
            None => self.tpm.endorsement().await?,
        };
        let ek = endorsement.keys.iter().find(|key| key.kind == activation.ek_kind);
        let ek = ek.ok_or(TpmError::NoEndorsementKey)?.public.clone();
        *cache = Some(endorsement);
        let AttestationKey { public: ak, .. } = self.tpm.attestation_key().await?;
        let tls = self.tpm.tls_key().await?.public;
        check_transcript(activation, &ek, &ak, &tls).map_err(ArgumentError::Transcript)?;

        let Activation { ek_kind, credential_blob, encrypted_secret, nonce, transcript } =
            activation;
        let secret =
            self.tpm.activate_credential(*ek_kind, credential_blob, encrypted_secret).await?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let proof = hmac::sign(&key, &[transcript.as_slice(), nonce].concat());
        let qualifying_data = enrolment_qualifying_data(transcript, nonce);
        Ok(Activated {
            proof: proof.as_ref().to_vec(),
            certification: self.tpm.certify_tls_key(qualifying_data).await?,
            quote: self.tpm.quote(qualifying_data, &self.pcrs).await?,
            csr: self.certification_request(&tls).await?,
        })
    }

    /// Stores what the authority handed over, all or nothing. The same device may come again with
    /// fresh certificates; another one is refused while the present enrolment is usable.
    ///
    /// # Errors
    /// [`Failure::AlreadyEnrolled`], [`Failure::InvalidArgument`], state failures.
    pub async fn complete(&self, admission: Admission) -> Result<Arc<Stored>, Failure> {
        let _steps = self.endorsement.lock().await;
        let tls_key = self.tpm.tls_key().await?;
        let ak = self.tpm.attestation_key().await?.public;
        let enrolment = admission.check(&tls_key, &ak)?;
        let stored = self.state.stored();
        if let (Some(present), None) = (&stored.enrolment, &stored.pending_key) {
            let same = present.authority == enrolment.authority
                && present.device_id == enrolment.device_id;
            if !same {
                return Err(Failure::AlreadyEnrolled { authority: present.authority.clone() });
            }
        }
        // Keys of another storage root are lost: the TPM was cleared.
        let parent = tls_key.parent;
        self.store(move |stored| {
            stored.pending_key = None;
            stored.enrolment = Some(enrolment);
            stored.platform_keys.retain(|key| key.key.parent == parent);
        })
        .await?;
        Ok(self.state.stored())
    }

    /// Stores new certificates, both or none. Any local user may bring them, so they count only
    /// when the authority that enrolled this machine signed them, for the same keys and device, and
    /// when they end no earlier than those that are there.
    ///
    /// # Errors
    /// [`Failure::NotEnrolled`], [`Failure::InvalidArgument`], state failures.
    pub async fn renew(&self, renewal: Renewal) -> Result<Arc<Stored>, Failure> {
        let _steps = self.endorsement.lock().await;
        let stored = self.state.stored();
        let present = usable(&stored)?;
        let ak = self.tpm.attestation_key().await?.public;
        let enrolment = renewal.check(present, &ak)?;
        self.store(move |stored| stored.enrolment = Some(enrolment)).await?;
        Ok(self.state.stored())
    }

    /// The stored key if this TPM can use it, else a new one, stored before anybody hears of it.
    async fn usable_key(&self) -> Result<TlsKey, Failure> {
        let stored = self.state.stored();
        if let Some(known) = stored.key() {
            match self.tpm.load_tls_key(known.clone()).await {
                Ok(()) => return Ok(known.clone()),
                Err(TpmError::Cleared | TpmError::Tampered | TpmError::BootChanged) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let key = self.tpm.create_tls_key().await?;
        let pending_key = Some(StoredKey(key.clone()));
        self.store(move |stored| stored.pending_key = pending_key).await?;
        Ok(key)
    }

    async fn certification_request(&self, tls_public: &[u8]) -> Result<Vec<u8>, Failure> {
        let info = der::request_info(&point(tls_public)?);
        let signature = self.tpm.sign_tls(sha256(&info)).await?;
        Ok(der::certification_request(&info, &signature))
    }

    /// Waits for the disk without holding up the bus.
    async fn store(
        &self,
        change: impl FnOnce(&mut Stored) + Send + 'static,
    ) -> Result<(), Failure> {
        let state = self.state.clone();
        let write = move || {
            state.change(|stored| {
                change(stored);
                Ok::<_, Failure>(())
            })
        };
        let written = tokio::task::spawn_blocking(write).await;
        written.map_err(|_| Failure::Internal(Bug::TaskLost))?
    }
}

impl Admission {
    fn check(self, tls_key: &TlsKey, ak_public: &[u8]) -> Result<Enrolment, Failure> {
        certificates("device_chain", &self.device_chain, 1..=4)?;
        certificates("ak_chain", &self.ak_chain, 1..=4)?;
        certificates("ca", &self.ca, 0..=MAX_CERTIFICATES)?;
        certificates("issuers", &self.issuers, 0..=MAX_CERTIFICATES)?;
        for (name, chain, public) in [
            ("device_chain", &self.device_chain, tls_key.public.as_slice()),
            ("ak_chain", &self.ak_chain, ak_public),
        ] {
            let leaf = leaf_for(name, chain, public)?;
            if !self.issuers.is_empty() && !signed_by_any(leaf, self.issuers.iter()) {
                return Err(ArgumentError::ForeignIssuer(name).into());
            }
        }
        let device_id =
            DeviceId::from_bytes(&self.device_id).ok_or(ArgumentError::Value("device_id"))?;
        let https = self.authority.strip_prefix("https://").is_some_and(|rest| !rest.is_empty());
        let host =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        let rules = [
            ("authority", &self.authority, https),
            ("audience", &self.audience, true),
            ("rp_id", &self.rp_id, self.rp_id.len() <= 253 && self.rp_id.bytes().all(host)),
            ("operator", &self.operator, true),
        ];
        for (name, text, sound) in rules {
            let length = 1..=MAX_TEXT;
            if !sound || !length.contains(&text.len()) || text.chars().any(char::is_control) {
                return Err(ArgumentError::Value(name).into());
            }
        }
        let wrap = |list: Vec<Vec<u8>>| list.into_iter().map(Base64).collect();
        Ok(Enrolment {
            tls_key: StoredKey(tls_key.clone()),
            device_chain: wrap(self.device_chain),
            ak_chain: wrap(self.ak_chain),
            device_id,
            authority: self.authority,
            audience: self.audience,
            rp_id: self.rp_id,
            operator: self.operator,
            ca: wrap(self.ca),
            issuers: wrap(self.issuers),
        })
    }
}

impl Renewal {
    fn check(self, present: &Enrolment, ak_public: &[u8]) -> Result<Enrolment, Failure> {
        certificates("device_chain", &self.device_chain, 1..=4)?;
        certificates("ak_chain", &self.ak_chain, 1..=4)?;
        certificates("successors", &self.successors, 0..=MAX_SUCCESSORS)?;
        let (mut known, mut ca) = (present.issuers.clone(), present.ca.clone());
        for later in &self.successors {
            join(&mut known, later);
            join(&mut ca, later);
        }
        let device = format!("/device/{}", present.device_id);
        for (name, chain, public, current) in [
            (
                "device_chain",
                &self.device_chain,
                present.tls_key.0.public.as_slice(),
                &present.device_chain,
            ),
            ("ak_chain", &self.ak_chain, ak_public, &present.ak_chain),
        ] {
            let leaf = leaf_for(name, chain, public)?;
            let issuers = || known.iter().map(|issuer| &issuer.0);
            let vouched = |der: &Vec<u8>| issuers().any(|issuer| issuer == der);
            if !signed_by_any(leaf, issuers()) || !chain.iter().skip(1).all(vouched) {
                return Err(ArgumentError::ForeignIssuer(name).into());
            }
            // What this CA signs names a device in one place only, its SPIFFE ID.
            if !leaf.windows(device.len()).any(|part| part == device.as_bytes()) {
                return Err(ArgumentError::ForeignCertificate(name).into());
            }
            let current = current.first().and_then(|leaf| der::not_after(&leaf.0));
            if der::not_after(leaf) < current {
                return Err(ArgumentError::EndsEarlier(name).into());
            }
        }
        let wrap = |list: Vec<Vec<u8>>| list.into_iter().map(Base64).collect();
        Ok(Enrolment {
            device_chain: wrap(self.device_chain),
            ak_chain: wrap(self.ak_chain),
            issuers: known,
            ca,
            ..present.clone()
        })
    }
}

/// The leaf of a chain, which must be for this key.
fn leaf_for<'c>(
    name: &'static str,
    chain: &'c [Vec<u8>],
    public: &[u8],
) -> Result<&'c [u8], Failure> {
    let leaf = chain.first().map(Vec::as_slice).unwrap_or_default();
    if der::certified_point(leaf) == Some(point(public)?.as_slice()) {
        Ok(leaf)
    } else {
        Err(ArgumentError::ForeignCertificate(name).into())
    }
}

/// A CA that one of the list certified is one of the list.
fn join(list: &mut Vec<Base64>, later: &[u8]) {
    let is_there =
        list.iter().any(|one| der::certified_point(&one.0) == der::certified_point(later));
    if is_there || !der::is_ca(later) || !signed_by_any(later, list.iter().map(|one| &one.0)) {
        return;
    }
    list.push(Base64(later.to_vec()));
    if list.len() > MAX_CERTIFICATES {
        list.remove(0);
    }
}

fn signed_by_any<'c>(leaf: &[u8], mut issuers: impl Iterator<Item = &'c Vec<u8>>) -> bool {
    issuers.any(|issuer| der::is_signed_by(leaf, issuer))
}

fn certificates(
    name: &'static str,
    list: &[Vec<u8>],
    count: std::ops::RangeInclusive<usize>,
) -> Result<(), ArgumentError> {
    let sound = |der: &Vec<u8>| (1..=16 * 1024).contains(&der.len()) && der[0] == 0x30;
    if count.contains(&list.len()) && list.iter().all(sound) {
        Ok(())
    } else {
        Err(ArgumentError::Value(name))
    }
}

/// Uncompressed point of one of our own P-256 keys.
pub(crate) fn point(public: &[u8]) -> Result<Vec<u8>, Failure> {
    let public = TpmtPublic::parse(public).map_err(|_| Failure::Internal(Bug::KeyForm))?;
    let key = public.ecc().ok_or(Failure::Internal(Bug::KeyForm))?;
    let point = key.uncompressed_point();
    if point.len() == 65 { Ok(point) } else { Err(Failure::Internal(Bug::KeyForm)) }
}

/// The authority says what it takes this machine for; a machine signs no words about another.
fn check_transcript(
    activation: &Activation,
    ek: &[u8],
    ak: &[u8],
    tls: &[u8],
) -> Result<(), TranscriptError> {
    let value = cbor::decode(&activation.transcript).map_err(TranscriptError::Cbor)?;
    let members = value.into_array().map_err(|_| TranscriptError::Shape)?;
    let [Value::Text(version), Value::Text(_enrolment), rest @ ..] = members.as_slice() else {
        return Err(TranscriptError::Shape);
    };
    let rest: Vec<&[u8]> = rest
        .iter()
        .map(|value| value.as_bytes().map(Vec::as_slice).ok_or(TranscriptError::Shape))
        .collect::<Result<_, _>>()?;
    let [found_ek, found_ak, found_tls, blob, secret, nonce, _device] = rest.as_slice() else {
        return Err(TranscriptError::Shape);
    };
    if version != TRANSCRIPT {
        return Err(TranscriptError::Member("version"));
    }
    let pairs = [
        ("endorsement key", *found_ek, ek),
        ("attestation key", *found_ak, ak),
        ("tls key", *found_tls, tls),
        ("credential", *blob, &activation.credential_blob),
        ("secret", *secret, &activation.encrypted_secret),
        ("nonce", *nonce, &activation.nonce),
    ];
    match pairs.into_iter().find(|(_, found, expected)| found != expected) {
        Some((name, _, _)) => Err(TranscriptError::Member(name)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activation(members: Vec<Value>) -> Activation {
        Activation {
            ek_kind: EndorsementKind::EccP256,
            credential_blob: vec![4],
            encrypted_secret: vec![5],
            nonce: vec![6],
            transcript: cbor::encode(&Value::Array(members)),
        }
    }

    fn members() -> Vec<Value> {
        let mut members = vec![TRANSCRIPT.into(), "enrolment".into()];
        members.extend((1..=7u8).map(|byte| Value::Bytes(vec![byte])));
        members
    }

    #[test]
    fn a_transcript_about_anything_else_is_refused() {
        let check = |activation: &Activation| check_transcript(activation, &[1], &[2], &[3]);
        assert_eq!(check(&activation(members())), Ok(()));
        let names =
            ["endorsement key", "attestation key", "tls key", "credential", "secret", "nonce"];
        for (at, name) in names.into_iter().enumerate() {
            let mut changed = members();
            changed[at + 2] = Value::Bytes(vec![0]);
            assert_eq!(check(&activation(changed)), Err(TranscriptError::Member(name)));
        }
        let mut changed = members();
        changed[0] = "signet-enrol-v2".into();
        assert_eq!(check(&activation(changed)), Err(TranscriptError::Member("version")));
        assert_eq!(check(&activation(members()[..8].to_vec())), Err(TranscriptError::Shape));
        let mut changed = activation(members());
        changed.transcript.push(0);
        assert_eq!(check(&changed), Err(TranscriptError::Cbor(CborError::NotDeterministic)));
    }
}
