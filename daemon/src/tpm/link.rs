//! One connection to the TPM with the keys loaded through it.

use std::fs::File;
use std::io::ErrorKind;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tss_esapi::Context;
use tss_esapi::attributes::SessionAttributesBuilder;
use tss_esapi::constants::SessionType;
use tss_esapi::handles::{KeyHandle, ObjectHandle, PersistentTpmHandle, SessionHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::dynamic_handles::Persistent;
use tss_esapi::interface_types::resource_handles::{Hierarchy, Provision};
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{CreatePrimaryKeyResult, Name, Public, SymmetricDefinition};
use tss_esapi::tcti_ldr::TctiNameConf;
use tss_esapi::utils::TpmsContext;

use super::actor::{Pulse, TpmConfig};
use super::attestation::{PcrBank, Registers};
use super::error::{ResponseCode, TpmError};
use super::properties::Lockout;
use super::tls_key::TlsKey;
use super::{recovery, session, template};

/// How often a command is sent again when the TPM says that it is busy, after the five times of
/// libtss2 itself, and the first pause (it doubles): 2.5 s in all, longer than a self-test takes.
const BUSY_ATTEMPTS: u32 = 7;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// The TPM as configured, connected or not. Lives on the TPM thread.
pub(super) struct Connection {
    config: TpmConfig,
    pulse: Arc<Pulse>,
    link: Option<Link>,
}

impl Connection {
    pub(super) fn new(config: TpmConfig, pulse: Arc<Pulse>) -> Self {
        Self { config, pulse, link: None }
    }

    /// One that was never used.
    #[cfg(test)]
    pub(super) fn idle(config: TpmConfig) -> Self {
        Self::new(config, Arc::new(Pulse::new()))
    }

    /// Runs one request, connecting first where needed. It runs once more on a new connection when
    /// it finds our keys gone (the TPM restarted since the last one), an old connection dead (the
    /// resource manager restarted), or no room for its own keys and sessions.
    pub(super) fn serve<T>(
        &mut self,
        work: &impl Fn(&mut Link) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let result = match self.attempt(work) {
            (Err(error), true) => {
                tracing::info!("connecting to the TPM again: {error}");
                self.attempt(work).0
            }
            (result, _) => result,
        };
        self.pulse.record.note(result.as_ref().err());
        result
    }

    /// The result, and whether a new connection would help.
    fn attempt<T>(
        &mut self,
        work: &impl Fn(&mut Link) -> Result<T, TpmError>,
    ) -> (Result<T, TpmError>, bool) {
        let old = self.link.take();
        let was_open = old.is_some();
        let mut link = match old.map_or_else(|| Link::open(&self.config, &self.pulse), Ok) {
            Ok(link) => link,
            Err(error) => return (Err(error), false),
        };
        let result = work(&mut link);
        self.config.tls_key.clone_from(&link.tls_key);
        match &result {
            Err(error) if error.lost_connection() => {
                tracing::warn!("lost the TPM: {error}");
                return (result, was_open);
            }
            Err(error) if link.is_worn_out(error) => return (result, true),
            // Closing it flushes what could not be flushed one by one.
            _ if link.unfit => {
                tracing::warn!("closing the connection to the TPM: something may be left in it")
            }
            _ => self.link = Some(link),
        }
        (result, false)
    }

    /// Flushes what we hold and closes.
    pub(super) fn disconnect(&mut self) {
        self.link = None;
    }
}

/// An open connection. Holds the AK, and the TLS key from its first use on; everything else is
/// flushed within the operation that made it.
pub(super) struct Link {
    context: Context,
    tcti: String,
    pulse: Arc<Pulse>,
    pub(super) attestation_key: KeyHandle,
    attestation_name: Name,
    /// The key as stored; `tls_handle` is set once it is loaded.
    pub(super) tls_key: Option<TlsKey>,
    pub(super) tls_handle: Option<KeyHandle>,
    /// The storage root key as the TPM saved it, with its Name.
    pub(super) parent: Option<(TpmsContext, Vec<u8>)>,
    pub(super) bank: Option<PcrBank>,
    /// What new TLS keys are bound to.
    pub(super) tls_pcrs: Vec<u8>,
    /// Where the storage root key is kept, if it is.
    pub(super) storage_root: Option<u32>,
    /// The registers as they were last read.
    pub(super) registers: Option<Registers>,
    /// Not to be used again: something could not be flushed, or the library has lost its way.
    unfit: bool,
}

impl Link {
    fn open(config: &TpmConfig, pulse: &Arc<Pulse>) -> Result<Self, TpmError> {
        let tcti = config.tcti.as_str();
        let name = parse_tcti(tcti)?;
        explain_missing_device(tcti)?;
        let exclusive = matches!(name, TctiNameConf::Swtpm(_) | TctiNameConf::Mssim(_));
        pulse.beat();
        let mut context = Context::new(name).map_err(|e| TpmError::from_stack(e, tcti))?;
        pulse.beat();
        let mut bare = Bare { context: &mut context, tcti, pulse };
        if exclusive {
            bare.run(NONE, recovery::flush_leftovers)?;
        }
        let salt = &config.attestation_salt;
        let public = template::attestation_key(salt).map_err(|e| TpmError::from_stack(e, tcti))?;
        let attestation_key = match config.handles.attestation_key {
            None => bare.primary(Hierarchy::Endorsement, &public)?.key_handle,
            Some(handle) => bare.persistent(Hierarchy::Endorsement, &public, handle)?,
        };
        let attestation_name =
            bare.run(NONE, |context| context.tr_get_name(attestation_key.into()))?;
        Ok(Self {
            context,
            tcti: tcti.to_owned(),
            pulse: Arc::clone(pulse),
            attestation_key,
            attestation_name,
            tls_key: config.tls_key.clone(),
            tls_handle: None,
            parent: None,
            bank: config.pcr_bank,
            tls_pcrs: config.tls_pcrs.clone(),
            storage_root: config.handles.storage_root,
            registers: None,
            unfit: false,
        })
    }

    /// Whether the failed request should be tried on a new connection. Without a resource manager,
    /// after a restart of the TPM our handles may stand for other keys than ours.
    fn is_worn_out(&mut self, error: &TpmError) -> bool {
        if error.is_stale() || error.is_out_of_slots() {
            return true;
        }
        // A PIN is not spent twice.
        if matches!(error, TpmError::WrongPin { .. } | TpmError::PinLocked { .. }) {
            return false;
        }
        let signer = self.attestation_key;
        match self.plain(|context| context.read_public(signer)) {
            Ok((_, name, _)) => name != self.attestation_name,
            Err(error) if error.is_stale() => true,
            Err(_) => {
                self.unfit = true;
                false
            }
        }
    }

    /// The AK's handle must still stand for the AK.
    pub(super) fn check_is_ours(&self, name: &Name) -> Result<(), TpmError> {
        match *name == self.attestation_name {
            true => Ok(()),
            false => Err(TpmError::Protocol(ResponseCode::GONE)),
        }
    }

    /// Whether a self-test has passed since we started.
    pub(super) fn self_tested(&self) -> bool {
        self.pulse.record.self_tested()
    }

    pub(super) fn note_self_test(&self, result: &Result<(), TpmError>) {
        self.pulse.record.note_self_test(result);
    }

    pub(super) fn note_lockout(&self, lockout: Lockout) {
        self.pulse.record.note_lockout(lockout);
    }

    fn bare(&mut self) -> Bare<'_> {
        Bare { context: &mut self.context, tcti: &self.tcti, pulse: &self.pulse }
    }

    /// One command without authorisation.
    pub(super) fn plain<T>(
        &mut self,
        command: impl Fn(&mut Context) -> tss_esapi::Result<T>,
    ) -> Result<T, TpmError> {
        self.authorised((None, None, None), command)
    }

    /// One command with `count` (1 or 2) empty passwords.
    pub(super) fn password<T>(
        &mut self,
        count: u8,
        command: impl Fn(&mut Context) -> tss_esapi::Result<T>,
    ) -> Result<T, TpmError> {
        let second = (count > 1).then_some(AuthSession::Password);
        self.authorised((Some(AuthSession::Password), second, None), command)
    }

    /// One command with these sessions.
    pub(super) fn authorised<T>(
        &mut self,
        sessions: Sessions,
        command: impl Fn(&mut Context) -> tss_esapi::Result<T>,
    ) -> Result<T, TpmError> {
        self.bare().run(sessions, command)
    }

    /// Makes a primary key; whoever asks flushes it.
    pub(super) fn primary(
        &mut self,
        hierarchy: Hierarchy,
        public: &Public,
    ) -> Result<CreatePrimaryKeyResult, TpmError> {
        self.bare().primary(hierarchy, public)
    }

    /// The key at a persistent handle; see [`Bare::persistent`].
    pub(super) fn persistent(
        &mut self,
        hierarchy: Hierarchy,
        public: &Public,
        handle: u32,
    ) -> Result<KeyHandle, TpmError> {
        self.bare().persistent(hierarchy, public, handle)
    }

    /// Makes a primary key for the time of `work`, and flushes it whatever happens.
    pub(super) fn with_primary<T>(
        &mut self,
        hierarchy: Hierarchy,
        public: &Public,
        work: impl FnOnce(&mut Self, &CreatePrimaryKeyResult) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let primary = self.primary(hierarchy, public)?;
        let result = work(self, &primary);
        self.flush(primary.key_handle.into(), result)
    }

    /// Opens a session salted with `salt_key` that encrypts the first parameter both ways, and
    /// flushes it whatever happens: ESYS keeps a session after use. Unsalted, libtss2 4.2.0
    /// returns success with a wrong secret.
    pub(super) fn with_salted_session<T>(
        &mut self,
        salt_key: KeyHandle,
        kind: SessionType,
        work: impl FnOnce(&mut Self, AuthSession) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let session = self
            .plain(|context| {
                context.start_auth_session(
                    Some(salt_key),
                    None,
                    None,
                    kind,
                    SymmetricDefinition::AES_128_CFB,
                    HashingAlgorithm::Sha256,
                )
            })?
            .ok_or(TpmError::MalformedResponse)?;
        let (attributes, mask) =
            SessionAttributesBuilder::new().with_decrypt(true).with_encrypt(true).build();
        let result = self
            .plain(|context| context.tr_sess_set_attributes(session, attributes, mask))
            .and_then(|()| work(self, session));
        self.flush(SessionHandle::from(session).into(), result)
    }

    /// Opens a policy session without salt that protects nothing, and flushes it whatever happens.
    pub(super) fn with_bare_policy_session<T>(
        &mut self,
        work: impl FnOnce(&mut Self, AuthSession) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let (kind, hash) = (SessionType::Policy, HashingAlgorithm::Sha256);
        let session = self
            .plain(|context| {
                let cipher = SymmetricDefinition::Null;
                context.start_auth_session(None, None, None, kind, cipher, hash)
            })?
            .ok_or(TpmError::MalformedResponse)?;
        let result = work(self, session);
        self.flush(SessionHandle::from(session).into(), result)
    }

    /// Opens a salted policy session whose `nonceTPM` is told to `work`, and flushes it whatever
    /// happens. It encrypts nothing, so that cpHash is the hash of the parameters as they are known
    /// here. The library has no `Esys_TRSess_GetNonceTPM`; the nonce is in the session's saved
    /// context. A wrong one would be refused by the TPM.
    pub(super) fn with_readable_session<T>(
        &mut self,
        salt_key: KeyHandle,
        work: impl FnOnce(&mut Self, AuthSession, &[u8]) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let kind = SessionType::Policy;
        let hash = HashingAlgorithm::Sha256;
        let opened = self
            .plain(|context| {
                let cipher = SymmetricDefinition::AES_128_CFB;
                context.start_auth_session(Some(salt_key), None, None, kind, cipher, hash)
            })?
            .ok_or(TpmError::MalformedResponse)?;
        let opened = SessionHandle::from(opened);
        let saved = match self.plain(|context| context.context_save(opened.into())) {
            Ok(saved) => saved,
            Err(error) => return self.flush(opened.into(), Err(error)),
        };
        let nonce = session::nonce(saved.context_blob()).ok_or(TpmError::MalformedResponse);
        let loaded = self.plain(|context| context.context_load(saved.clone()));
        // A session that stays saved has no handle to flush it by.
        self.unfit |= loaded.is_err();
        let handle = loaded?;
        let session = AuthSession::create(kind, SessionHandle::from(handle), hash);
        let result = nonce.and_then(|nonce| {
            let session = session.ok_or(TpmError::MalformedResponse)?;
            work(self, session, &nonce)
        });
        self.flush(handle, result)
    }

    /// Flushes `handle`; the first failure wins.
    pub(super) fn flush<T>(
        &mut self,
        handle: ObjectHandle,
        result: Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        if matches!(&result, Err(error) if error.lost_connection()) {
            return result;
        }
        let flushed = self.plain(|context| context.flush_context(handle));
        self.unfit |= flushed.is_err();
        result.and_then(|value| flushed.map(|()| value))
    }

    /// Forgets an object that is not to be flushed (an NV index).
    pub(super) fn close(&mut self, handle: &mut ObjectHandle) -> Result<(), TpmError> {
        self.context.tr_close(handle).map_err(|error| TpmError::from_stack(error, &self.tcti))
    }

    /// Sorts a library error that did not come from a command.
    pub(super) fn explain(&self, error: tss_esapi::Error) -> TpmError {
        TpmError::from_stack(error, &self.tcti)
    }
}

/// The sessions of one command.
pub(super) type Sessions = (Option<AuthSession>, Option<AuthSession>, Option<AuthSession>);

const NONE: Sessions = (None, None, None);
const PASSWORD: Sessions = (Some(AuthSession::Password), None, None);

/// The parts of a [`Link`] that a command needs, also while the link is still being opened.
struct Bare<'a> {
    context: &'a mut Context,
    tcti: &'a str,
    pulse: &'a Pulse,
}

impl Bare<'_> {
    /// Sends one command, again with a pause while the TPM is busy.
    fn run<T>(
        &mut self,
        sessions: Sessions,
        command: impl Fn(&mut Context) -> tss_esapi::Result<T>,
    ) -> Result<T, TpmError> {
        let mut pause = BUSY_PAUSE;
        for _ in 0..=BUSY_ATTEMPTS {
            match self.once(sessions, &command) {
                Err(TpmError::Protocol(code)) if code.is_busy() => {
                    std::thread::sleep(pause);
                    pause *= 2;
                }
                Err(TpmError::Protocol(code)) if code.is_failure() => {
                    return Err(self.explain_failure(code));
                }
                result => return result,
            }
        }
        Err(TpmError::Busy)
    }

    /// Some commands answer TPM_RC_FAILURE to what they cannot read; in failure mode the TPM answers
    /// hardly anything else.
    fn explain_failure(&mut self, code: ResponseCode) -> TpmError {
        match self.once((None, None, None), |context| context.get_test_result()) {
            Ok((_, Ok(()))) => TpmError::Protocol(code),
            Err(error) if error.lost_connection() => error,
            _ => TpmError::FailureMode,
        }
    }

    fn once<T>(
        &mut self,
        sessions: Sessions,
        command: impl Fn(&mut Context) -> tss_esapi::Result<T>,
    ) -> Result<T, TpmError> {
        self.pulse.beat();
        let result = self.context.execute_with_sessions(sessions, |context| command(context));
        self.pulse.beat();
        result.map_err(|error| TpmError::from_stack(error, self.tcti))
    }

    fn primary(
        &mut self,
        hierarchy: Hierarchy,
        public: &Public,
    ) -> Result<CreatePrimaryKeyResult, TpmError> {
        self.run(PASSWORD, |context| {
            context.create_primary(hierarchy, public.clone(), None, None, None, None)
        })
    }

    /// The key at this handle, which is not to be flushed. Where nothing is, a primary key is made and
    /// kept there; that takes the owner's authorisation.
    fn persistent(
        &mut self,
        hierarchy: Hierarchy,
        public: &Public,
        handle: u32,
    ) -> Result<KeyHandle, TpmError> {
        let place = PersistentTpmHandle::new(handle);
        let place = place.map_err(|error| TpmError::from_stack(error, self.tcti))?;
        let found =
            |context: &mut Context| context.tr_from_tpm_public(TpmHandle::Persistent(place));
        match self.run(NONE, found) {
            Ok(object) => {
                let key = KeyHandle::from(object);
                let (there, ..) = self.run(NONE, |context| context.read_public(key))?;
                let fits = template::fits(&there, public);
                if fits { Ok(key) } else { Err(TpmError::HandleTaken { handle }) }
            }
            // TPM_RC_HANDLE: nothing is there.
            Err(error) if error.is_stale() => {
                let made = ObjectHandle::from(self.primary(hierarchy, public)?.key_handle);
                let kept = self.run(PASSWORD, |context| {
                    context.evict_control(Provision::Owner, made, Persistent::Persistent(place))
                });
                let flushed = self.run(NONE, |context| context.flush_context(made));
                kept.and_then(|kept| flushed.map(|()| KeyHandle::from(kept)))
            }
            Err(error) => Err(error),
        }
    }
}

/// Refuses a transport that the library does not know.
pub(super) fn check_tcti(tcti: &str) -> Result<(), TpmError> {
    parse_tcti(tcti).map(drop)
}

fn parse_tcti(tcti: &str) -> Result<TctiNameConf, TpmError> {
    TctiNameConf::from_str(tcti).map_err(|_| TpmError::InvalidTcti { tcti: tcti.to_owned() })
}

/// Says what is wrong with a device node; the library only says "I/O error".
fn explain_missing_device(tcti: &str) -> Result<(), TpmError> {
    let Some(path) = tcti.strip_prefix("device:").filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let opened = File::options().read(true).write(true).open(path);
    let tcti = tcti.to_owned();
    match opened.map_err(|error| error.kind()) {
        Err(ErrorKind::NotFound) => Err(TpmError::NotFound { tcti }),
        Err(ErrorKind::PermissionDenied) => Err(TpmError::AccessDenied { tcti }),
        _ => Ok(()),
    }
}
