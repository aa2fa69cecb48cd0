//! The handle that the rest of the daemon holds, and the thread behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::attestation::{self, AttestationKey, Certification, PcrBank, Quote};
use super::endorsement::{self, Endorsement, EndorsementKey, EndorsementKind};
use super::error::TpmError;
use super::health::{Health, Record};
use super::link::Connection;
use super::properties::{self, Lockout, Properties};
use super::queue::{Caller, Job, Queue, Urgency};
use super::tls_key::{self, TlsKey};
use super::user_key::{self, CertifiedUserKey, PinValue, Releaser, UserKey};
use super::{activation, link};

/// Where keys stay in the TPM instead of being made again: for TPMs whose owner demands it, or whose
/// owner hierarchy has a password. Handles 0x81000000 to 0x81ffffff; what is empty is filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PersistentHandles {
    /// Of the storage root key.
    pub storage_root: Option<u32>,
    /// Of the AK.
    pub attestation_key: Option<u32>,
}

/// How to reach the TPM and which keys to keep in it.
#[derive(Clone, Debug)]
pub struct TpmConfig {
    /// Transport, as the TSS writes it: `device:/dev/tpmrm0`, `swtpm:host=127.0.0.1,port=2321`.
    /// `swtpm:` and `mssim:` have no resource manager: the daemon then takes the TPM as its own
    /// and flushes what is left in it when it connects.
    pub tcti: String,
    /// Makes the AK of this installation another one than that of the next (`unique` field of
    /// its template). Random, made at the first start and stored; not a secret.
    pub attestation_salt: [u8; 32],
    /// The TLS key made at enrolment, if there is one.
    pub tls_key: Option<TlsKey>,
    /// The bank to quote; the best that is switched on where none is named.
    pub pcr_bank: Option<PcrBank>,
    /// Registers that TLS keys made from now on are bound to; none by default, because firmware
    /// updates change them.
    pub tls_pcrs: Vec<u8>,
    /// Keys that stay in the TPM.
    pub handles: PersistentHandles,
    /// The most that one TPM command may take. Making an RSA key takes a slow TPM up to a minute.
    pub command_timeout: Duration,
}

impl TpmConfig {
    /// A configuration without a TLS key and with a command time-out of 90 s.
    pub fn new(tcti: impl Into<String>, attestation_salt: [u8; 32]) -> Self {
        Self {
            tcti: tcti.into(),
            attestation_salt,
            tls_key: None,
            pcr_bank: None,
            tls_pcrs: Vec::new(),
            handles: PersistentHandles::default(),
            command_timeout: Duration::from_secs(90),
        }
    }
}

/// What thread and handles share: a pulse that the thread gives before and after each TPM command,
/// and the count at which somebody waited in vain. Stuck is who has not moved since.
#[derive(Debug)]
pub(super) struct Pulse {
    beats: AtomicU64,
    stuck_at: AtomicU64,
    pub(super) record: Record,
}

impl Pulse {
    pub(super) fn new() -> Self {
        let stuck_at = AtomicU64::new(u64::MAX);
        Self { beats: AtomicU64::new(0), stuck_at, record: Record::default() }
    }

    pub(super) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    fn is_stuck(&self) -> bool {
        self.stuck_at.load(Ordering::Relaxed) == self.count()
    }
}

/// Closes the queue when the last handle is gone.
struct Door(Arc<Queue>);

impl Drop for Door {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Tells those who wait when the thread ends, however it ends.
struct Counter(Arc<Queue>);

impl Drop for Counter {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Handle to the TPM. Clones share one connection; the thread ends with the last of them.
#[derive(Clone)]
pub struct Tpm {
    door: Arc<Door>,
    pulse: Arc<Pulse>,
    limit: Duration,
    urgency: Urgency,
    caller: Caller,
}

impl std::fmt::Debug for Tpm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { urgency, caller, .. } = self;
        f.debug_struct("Tpm")
            .field("urgency", urgency)
            .field("caller", caller)
            .finish_non_exhaustive()
    }
}

impl Tpm {
    /// Starts the thread. It connects at the first request, so that a missing TPM is an error of
    /// that request and the daemon can serve without one. The handle is for a person who waits.
    ///
    /// # Errors
    /// [`TpmError::InvalidTcti`], [`TpmError::NoThread`].
    pub fn start(config: TpmConfig) -> Result<Self, TpmError> {
        link::check_tcti(&config.tcti)?;
        let queue = Arc::new(Queue::new());
        let pulse = Arc::new(Pulse::new());
        let limit = config.command_timeout;
        let mut connection = Connection::new(config, Arc::clone(&pulse));
        let counter = Counter(Arc::clone(&queue));
        std::thread::Builder::new()
            .name("tpm".to_owned())
            .spawn(move || {
                while let Some(job) = counter.0.pop() {
                    job(&mut connection);
                }
            })
            .map_err(|_| TpmError::NoThread)?;
        let door = Arc::new(Door(queue));
        Ok(Self { door, pulse, limit, urgency: Urgency::Person, caller: None })
    }

    /// A handle whose requests are of this urgency and count against the limit of this caller.
    #[must_use]
    pub fn on_behalf_of(&self, caller: &str, urgency: Urgency) -> Self {
        Self { urgency, caller: Some(Arc::from(caller)), ..self.clone() }
    }

    /// A handle for what the daemon does by itself.
    #[must_use]
    pub fn in_background(&self) -> Self {
        Self { urgency: Urgency::Background, caller: None, ..self.clone() }
    }

    /// How the TPM is, as the last requests showed it, and what to do where it is not well. Asks
    /// the TPM nothing.
    pub fn health(&self) -> (Health, Option<TpmError>) {
        if self.pulse.is_stuck() {
            return (Health::Failed, Some(TpmError::Timeout));
        }
        self.pulse.record.report()
    }

    /// The endorsement keys and their certificates. Slow on real hardware (it makes the keys):
    /// for enrolment.
    ///
    /// # Errors
    /// See [`TpmError`]; a missing certificate is not an error here.
    pub async fn endorsement(&self) -> Result<Endorsement, TpmError> {
        // One key at a time: making one takes slow hardware seconds, and others may be in a hurry.
        let found = self.ask(endorsement::certificates).await?;
        let mut keys = Vec::new();
        for (kind, certificate) in found.of_kinds {
            let public = self.ask(move |link| endorsement::public(link, kind)).await?;
            keys.extend(public.map(|public| EndorsementKey { kind, public, certificate }));
        }
        keys.sort_by_key(|key| key.certificate.is_none());
        Ok(Endorsement { keys, chain: found.chain })
    }

    /// The certificates of the endorsement keys alone; quick.
    ///
    /// # Errors
    /// See [`TpmError`].
    pub async fn endorsement_certificates(
        &self,
    ) -> Result<Vec<(EndorsementKind, Option<Vec<u8>>)>, TpmError> {
        Ok(self.ask(endorsement::certificates).await?.of_kinds)
    }

    /// Public area and Name of the attestation key.
    ///
    /// # Errors
    /// See [`TpmError`].
    pub async fn attestation_key(&self) -> Result<AttestationKey, TpmError> {
        self.ask(attestation::attestation_key).await
    }

    /// Makes a new TLS key, uses it from now on and returns it for storing. The old one stays in
    /// use when this fails.
    ///
    /// # Errors
    /// See [`TpmError`].
    pub async fn create_tls_key(&self) -> Result<TlsKey, TpmError> {
        self.ask(tls_key::create).await
    }

    /// Uses this stored TLS key from now on, after checking that this TPM can load it. The old one
    /// stays in use when this fails.
    ///
    /// # Errors
    /// [`TpmError::Cleared`] when the TPM was cleared or replaced since the key was made,
    /// [`TpmError::Tampered`] when the stored bytes were changed, [`TpmError::BootChanged`] when the
    /// key is bound to registers that hold something else now.
    pub async fn load_tls_key(&self, key: TlsKey) -> Result<(), TpmError> {
        self.ask(move |link| tls_key::replace(link, &key)).await
    }

    /// The TLS key in use, after checking that it is loaded.
    ///
    /// # Errors
    /// As [`load_tls_key`](Self::load_tls_key), and [`TpmError::NoTlsKey`].
    pub async fn tls_key(&self) -> Result<TlsKey, TpmError> {
        self.ask(tls_key::current).await
    }

    /// ECDSA P-256 signature with the TLS key over a SHA-256 digest: r then s, 32 bytes each.
    ///
    /// # Errors
    /// As [`tls_key`](Self::tls_key).
    pub async fn sign_tls(&self, digest: [u8; 32]) -> Result<[u8; 64], TpmError> {
        self.ask(move |link| tls_key::sign(link, &digest)).await
    }

    /// `TPM2_Certify`: the AK says that the TLS key lives in this TPM.
    ///
    /// # Errors
    /// As [`tls_key`](Self::tls_key).
    pub async fn certify_tls_key(
        &self,
        qualifying_data: [u8; 32],
    ) -> Result<Certification, TpmError> {
        self.ask(move |link| attestation::certify_tls_key(link, &qualifying_data)).await
    }

    /// `TPM2_Quote` of the registers `pcrs` (0 to 23), with their values, which are those that
    /// were quoted.
    ///
    /// # Errors
    /// [`TpmError::PcrSelection`], [`TpmError::NoPcrBank`], [`TpmError::PcrsUnstable`].
    pub async fn quote(&self, qualifying_data: [u8; 32], pcrs: &[u8]) -> Result<Quote, TpmError> {
        let pcrs = pcrs.to_vec();
        self.ask(move |link| attestation::quote(link, &qualifying_data, &pcrs)).await
    }

    /// What can be done before the data to quote is known: the connection is opened, the TLS key
    /// loaded, the registers read.
    ///
    /// # Errors
    /// As [`quote`](Self::quote) and [`tls_key`](Self::tls_key).
    pub async fn prepare(&self, pcrs: &[u8]) -> Result<(), TpmError> {
        let pcrs = pcrs.to_vec();
        self.ask(move |link| attestation::prepare(link, &pcrs)).await
    }

    /// [`quote`](Self::quote), [`certify_tls_key`](Self::certify_tls_key) where it is asked for, and
    /// the TLS key's signature over the digest that `put_together` makes of both. All in one turn of
    /// the queue: nothing of others comes between, and the thread is woken once.
    ///
    /// # Errors
    /// As these, and as [`sign_tls`](Self::sign_tls).
    pub async fn attest<T: Send + 'static>(
        &self,
        qualifying_data: [u8; 32],
        pcrs: &[u8],
        certify: bool,
        put_together: impl Fn(Quote, Option<Certification>) -> (T, [u8; 32]) + Send + 'static,
    ) -> Result<(T, [u8; 64]), TpmError> {
        let pcrs = pcrs.to_vec();
        self.ask(move |link| {
            let quote = attestation::quote(link, &qualifying_data, &pcrs)?;
            let certify = certify.then(|| attestation::certify_tls_key(link, &qualifying_data));
            let (whole, digest) = put_together(quote, certify.transpose()?);
            Ok((whole, tls_key::sign(link, &digest)?))
        })
        .await
    }

    /// `TPM2_ActivateCredential`: opens a `TPM2B_ID_OBJECT` and its `TPM2B_ENCRYPTED_SECRET`
    /// (both with their two bytes of length) made for our AK and the endorsement key `kind`.
    ///
    /// # Errors
    /// [`TpmError::CredentialRefused`], [`TpmError::MalformedCredential`],
    /// [`TpmError::NoEndorsementKey`].
    pub async fn activate_credential(
        &self,
        kind: EndorsementKind,
        credential_blob: &[u8],
        encrypted_secret: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let credential = activation::Credential::parse(credential_blob, encrypted_secret)?;
        self.ask(move |link| activation::activate(link, kind, &credential)).await
    }

    /// Makes a user key that this PIN releases, certified by the AK over `qualifying_data`.
    ///
    /// # Errors
    /// See [`TpmError`].
    pub async fn create_pin_key(
        &self,
        pin: PinValue,
        qualifying_data: [u8; 32],
    ) -> Result<CertifiedUserKey, TpmError> {
        self.ask(move |link| user_key::create_pin_key(link, &pin, &qualifying_data)).await
    }

    /// Makes a user key that signatures of `authorisation_key` (`TPMT_PUBLIC`) release, certified by
    /// the AK over `qualifying_data`.
    ///
    /// # Errors
    /// See [`TpmError`].
    pub async fn create_released_key(
        &self,
        authorisation_key: Vec<u8>,
        qualifying_data: [u8; 32],
    ) -> Result<CertifiedUserKey, TpmError> {
        let make = move |link: &mut _| {
            user_key::create_released_key(link, &authorisation_key, &qualifying_data)
        };
        self.ask(make).await
    }

    /// Signs `digest` with a PIN key: `TPMT_SIGNATURE`. One try.
    ///
    /// # Errors
    /// [`TpmError::WrongPin`], [`TpmError::PinLocked`], [`TpmError::UserKeyLost`].
    pub async fn sign_with_pin(
        &self,
        key: UserKey,
        pin: PinValue,
        digest: [u8; 32],
    ) -> Result<Vec<u8>, TpmError> {
        self.ask(move |link| user_key::sign_with_pin(link, &key, &pin, &digest)).await
    }

    /// Gives a PIN key another PIN. Its Name stays; the returned blob replaces the old one.
    ///
    /// # Errors
    /// As [`sign_with_pin`](Self::sign_with_pin).
    pub async fn change_user_pin(
        &self,
        key: UserKey,
        old: PinValue,
        new: PinValue,
    ) -> Result<UserKey, TpmError> {
        self.ask(move |link| user_key::change_pin(link, &key, &old, &new)).await
    }

    /// Signs `digest` with a fingerprint key: `TPMT_SIGNATURE`. `releaser` signs what the TPM asks
    /// for, with the key whose public area is `authorisation_key`.
    ///
    /// # Errors
    /// [`TpmError::AuthorisationRefused`], [`TpmError::UserKeyLost`].
    pub async fn sign_released(
        &self,
        key: UserKey,
        digest: [u8; 32],
        authorisation_key: Vec<u8>,
        releaser: Releaser,
    ) -> Result<Vec<u8>, TpmError> {
        let sign = move |link: &mut _| {
            user_key::sign_released(link, &key, &digest, &authorisation_key, &releaser)
        };
        self.ask(sign).await
    }

    /// State of the protection against guessing.
    ///
    /// # Errors
    /// See [`TpmError`].
    pub async fn lockout(&self) -> Result<Lockout, TpmError> {
        self.ask(properties::lockout).await
    }

    /// Maker, firmware, clock and lockout state, for `status`.
    ///
    /// # Errors
    /// See [`TpmError`].
    pub async fn properties(&self) -> Result<Properties, TpmError> {
        self.ask(properties::read).await
    }

    /// Runs the TPM's own self-test, then makes a credential for ourselves and opens it: some
    /// versions of libtss2 report success with a wrong secret.
    ///
    /// # Errors
    /// [`TpmError::SelfTest`].
    pub async fn self_test(&self) -> Result<(), TpmError> {
        self.ask(activation::self_test).await
    }

    /// Flushes our keys and closes the connection, after the requests that wait; a later request
    /// opens it again. For an orderly end: dropping the last handle does the same a little later.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            connection.disconnect();
            let _ = done.send(());
        });
        // A TPM that hangs is left alone; it forgets our keys when the connection ends.
        if !self.pulse.is_stuck() && self.door.0.push_last(job).is_ok() {
            let _ = tokio::time::timeout(self.limit, closed).await;
        }
    }

    /// Puts one request in the queue and waits for its answer.
    async fn ask<T: Send + 'static>(
        &self,
        work: impl Fn(&mut link::Link) -> Result<T, TpmError> + Send + 'static,
    ) -> Result<T, TpmError> {
        if self.pulse.is_stuck() {
            return Err(TpmError::Timeout);
        }
        let (reply, mut answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Nobody waits any more: spare the TPM the work.
            if !reply.is_closed() {
                // A caller that went away meanwhile is no error.
                let _ = reply.send(connection.serve(&work));
            }
        });
        self.door.0.push(self.urgency, &self.caller, job)?;
        self.wait(&mut answer).await
    }

    /// Waits as long as commands go through; the limit is for one command, not for the queue.
    async fn wait<T>(
        &self,
        answer: &mut oneshot::Receiver<Result<T, TpmError>>,
    ) -> Result<T, TpmError> {
        loop {
            let seen = self.pulse.count();
            match tokio::time::timeout(self.limit, &mut *answer).await {
                Ok(Ok(result)) => return result,
                Ok(Err(_)) => return Err(TpmError::Stopped),
                Err(_) if self.pulse.count() != seen => {}
                Err(_) => {
                    self.pulse.stuck_at.store(seen, Ordering::Relaxed);
                    tracing::warn!("the TPM has not answered for {:?}", self.limit);
                    return Err(TpmError::Timeout);
                }
            }
        }
    }
}
