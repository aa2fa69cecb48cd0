//! One connection to the TPM with the keys loaded through it.

use std::fs::File;
use std::io::ErrorKind;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tss_esapi::Context;
use tss_esapi::attributes::SessionAttributesBuilder;
use tss_esapi::constants::SessionType;
use tss_esapi::handles::{KeyHandle, ObjectHandle, SessionHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{CreatePrimaryKeyResult, Public, SymmetricDefinition};
use tss_esapi::tcti_ldr::TctiNameConf;

use super::actor::{Pulse, TpmConfig};
use super::error::TpmError;
use super::tls_key::TlsKey;
use super::{recovery, session, template};

/// How often a command is sent again when the TPM says that it is busy, after the five times of
/// libtss2 itself, and the first pause (it doubles).
const BUSY_ATTEMPTS: u32 = 6;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// The TPM as configured, connected or not. Lives on the TPM thread.
pub(super) struct Connection {
    tcti: String,
    salt: [u8; 32],
    tls_key: Option<TlsKey>,
    pulse: Arc<Pulse>,
    link: Option<Link>,
}

impl Connection {
    pub(super) fn new(config: TpmConfig, pulse: Arc<Pulse>) -> Self {
        Self {
            tcti: config.tcti,
            salt: config.attestation_salt,
            tls_key: config.tls_key,
            pulse,
            link: None,
        }
    }

    /// Runs one request, connecting first where needed. A request that finds our keys gone (the
    /// TPM restarted since the last one) runs once more on a new connection.
    pub(super) fn serve<T>(
        &mut self,
        work: &impl Fn(&mut Link) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        match self.attempt(work) {
            Err(error) if error.is_stale() => {
                tracing::info!("the TPM restarted: loading the keys again");
                self.disconnect();
                self.attempt(work)
            }
            result => result,
        }
    }

    fn attempt<T>(
        &mut self,
        work: &impl Fn(&mut Link) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let mut link = match self.link.take() {
            Some(link) => link,
            None => Link::open(&self.tcti, &self.salt, self.tls_key.clone(), &self.pulse)?,
        };
        let result = work(&mut link);
        self.tls_key.clone_from(&link.tls_key);
        match &result {
            Err(error) if error.lost_connection() => {
                tracing::warn!("lost the TPM: {error}");
            }
            _ => self.link = Some(link),
        }
        result
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
    /// The key as stored; `tls_handle` is set once it is loaded.
    pub(super) tls_key: Option<TlsKey>,
    pub(super) tls_handle: Option<KeyHandle>,
}

impl Link {
    fn open(
        tcti: &str,
        salt: &[u8; 32],
        tls_key: Option<TlsKey>,
        pulse: &Arc<Pulse>,
    ) -> Result<Self, TpmError> {
        let name = parse_tcti(tcti)?;
        explain_missing_device(tcti)?;
        let exclusive = matches!(name, TctiNameConf::Swtpm(_) | TctiNameConf::Mssim(_));
        pulse.beat();
        let mut context = Context::new(name).map_err(|e| TpmError::from_stack(e, tcti))?;
        pulse.beat();
        if exclusive {
            recovery::flush_leftovers(&mut context).map_err(|e| TpmError::from_stack(e, tcti))?;
        }
        let mut bare = Bare { context: &mut context, tcti, pulse };
        let public = template::attestation_key(salt).map_err(|e| TpmError::from_stack(e, tcti))?;
        let primary = bare.primary(Hierarchy::Endorsement, &public)?;
        Ok(Self {
            context,
            tcti: tcti.to_owned(),
            pulse: Arc::clone(pulse),
            attestation_key: primary.key_handle,
            tls_key,
            tls_handle: None,
        })
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

    /// Makes a primary key for the time of `work`, and flushes it whatever happens.
    pub(super) fn with_primary<T>(
        &mut self,
        hierarchy: Hierarchy,
        public: &Public,
        work: impl FnOnce(&mut Self, &CreatePrimaryKeyResult) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let primary = self.bare().primary(hierarchy, public)?;
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
        let handle = self.plain(|context| context.context_load(saved.clone()))?;
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
        for _ in 1..BUSY_ATTEMPTS {
            match self.once(sessions, &command) {
                Err(error) if error.code().is_some_and(|code| code.is_busy()) => {
                    std::thread::sleep(pause);
                    pause *= 2;
                }
                result => return result,
            }
        }
        self.once(sessions, &command)
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
        self.run((Some(AuthSession::Password), None, None), |context| {
            context.create_primary(hierarchy, public.clone(), None, None, None, None)
        })
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
