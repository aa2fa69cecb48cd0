//! What can go wrong with a TPM, sorted by what a person should do about it.

use std::time::Duration;

use super::attestation::PcrBank;
use bitfield::BitRange;
use tss_esapi::constants::response_code::Tss2ResponseCode;
use tss_esapi::{Error as TssError, WrapperErrorKind};

/// A raw response code of the TPM or of the TPM software stack (TPM 2.0 part 2 §6.6; TSS 2.0
/// overview §3: bits 16 to 23 name the layer, zero is the TPM itself).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("response code {0:#010x}")]
pub struct ResponseCode(pub u32);

const LAYER_ESYS: u32 = 7;
const LAYER_TRANSPORT: u32 = 10;
const LAYER_RESOURCE_MANAGER: u32 = 11;
const LAYER_RESOURCE_MANAGER_TPM: u32 = 12;
/// ESYS found a wrong HMAC on a response (TSS2_BASE_RC_RSP_AUTH_FAILED, and the encryption twin).
const ESYS_RESPONSE_AUTH_FAILED: u32 = 0x1b;

impl ResponseCode {
    /// TPM_RC_REFERENCE_H0: the first handle is not loaded.
    pub(super) const GONE: Self = Self(0x910);

    fn from_stack(code: Tss2ResponseCode) -> Self {
        match code {
            Tss2ResponseCode::Success => Self(0),
            Tss2ResponseCode::FormatZero(raw) => Self(raw.bit_range(31, 0)),
            Tss2ResponseCode::FormatOne(raw) => Self(raw.bit_range(31, 0)),
        }
    }

    fn layer(self) -> u32 {
        (self.0 >> 16) & 0xff
    }

    /// Whether the TPM itself (perhaps through a resource manager) answered.
    fn is_from_tpm(self) -> bool {
        matches!(self.layer(), 0 | LAYER_RESOURCE_MANAGER | LAYER_RESOURCE_MANAGER_TPM)
    }

    /// The TPM's code without the number of the handle, parameter or session it is about.
    fn tpm_base(self) -> Option<u32> {
        if !self.is_from_tpm() {
            return None;
        }
        let code = self.0 & 0xfff;
        Some(if code & 0x080 != 0 { code & 0x0bf } else { code })
    }

    /// TPM_RC_INTEGRITY: a blob's HMAC is wrong.
    pub(super) fn is_integrity(self) -> bool {
        self.tpm_base() == Some(0x09f)
    }

    /// The code is about a parameter of the command, not about a handle, a session or the TPM.
    pub(super) fn is_about_parameter(self) -> bool {
        self.is_from_tpm() && self.0 & 0x0c0 == 0x0c0
    }

    /// What TPM2_ActivateCredential says of a credential that it cannot open: TPM_RC_INTEGRITY for
    /// another Name or a changed blob; TPM_RC_VALUE, _SIZE, _INSUFFICIENT, _ECC_POINT, and
    /// _FAILURE from a failed RSA decryption, for a changed secret.
    pub(super) fn is_credential_fault(self) -> bool {
        self.is_integrity()
            || matches!(self.tpm_base(), Some(0x084 | 0x095 | 0x09a | 0x0a7 | 0x101))
    }

    /// What TPM2_PolicySigned says of an authorisation that is not for this session, this command
    /// or by this key, or TPM2_Sign of a policy that another key fulfilled: TPM_RC_SIGNATURE,
    /// _NONCE, _EXPIRED, _CPHASH, _POLICY_FAIL.
    pub(super) fn is_authorisation_fault(self) -> bool {
        matches!(self.tpm_base(), Some(0x08f | 0x09b | 0x09d | 0x0a3 | 0x151))
    }

    /// TPM_RC_POLICY_FAIL, TPM_RC_PCR_CHANGED: a policy is not fulfilled.
    pub(super) fn is_policy_failure(self) -> bool {
        matches!(self.tpm_base(), Some(0x09d | 0x128))
    }

    /// TPM_RC_YIELDED, TPM_RC_TESTING, TPM_RC_NV_RATE, TPM_RC_RETRY, TPM_RC_NV_UNAVAILABLE: ask
    /// again.
    pub(super) fn is_busy(self) -> bool {
        matches!(self.tpm_base(), Some(0x908 | 0x90a | 0x920 | 0x922 | 0x923))
    }

    /// TPM_RC_FAILURE: failure mode, unless `TPM2_GetTestResult` says otherwise.
    pub(super) fn is_failure(self) -> bool {
        self.tpm_base() == Some(0x101)
    }

    /// TPM_RC_HANDLE, TPM_RC_REFERENCE_H0..S6, TPM_RC_CONTEXT_GAP: what we had loaded is gone,
    /// because the TPM restarted behind our back.
    pub(super) fn is_stale(self) -> bool {
        matches!(self.tpm_base(), Some(0x08b | 0x901 | 0x910..=0x91e))
    }

    /// TPM_RC_VALUE, _CURVE, _KEY_SIZE, _ASYMMETRIC, _TYPE, _HASH, _SYMMETRIC, _SIZE: the TPM does
    /// not know the template.
    pub(super) fn is_unsupported_template(self) -> bool {
        matches!(
            self.tpm_base(),
            Some(0x081 | 0x083 | 0x084 | 0x087 | 0x08a | 0x095 | 0x096 | 0x0a6)
        )
    }

    /// TPM_RC_NV_UNINITIALIZED, _NV_AUTHORIZATION, _NV_LOCKED, _AUTH_UNAVAILABLE: the index is
    /// there and cannot be read.
    pub(super) fn is_unreadable_nv(self) -> bool {
        matches!(self.tpm_base(), Some(0x148 | 0x149 | 0x14a | 0x12f))
    }
}

/// Why a stored TLS key cannot be read as one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BlobError {
    /// It ends before its last field, or goes on after it.
    #[error("the stored tls key has a wrong length")]
    Length,
    /// It starts with another tag: not a TLS key of this program, or of a later version.
    #[error("the stored tls key has an unknown format")]
    Format,
}

/// Why the TPM did not do what was asked. `Clone`, so that one failure can be told to several
/// waiting callers.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TpmError {
    /// The configured transport is not one of `device:`, `swtpm:`, `mssim:`, `tabrmd:`.
    #[error("{tcti:?} names no tpm transport: use device:/dev/tpmrm0")]
    InvalidTcti {
        /// As configured.
        tcti: String,
    },
    /// The device node does not exist.
    #[error(
        "no TPM at {tcti}: check that the TPM is enabled in the firmware and that signetd is in group tss"
    )]
    NotFound {
        /// As configured.
        tcti: String,
    },
    /// The device node exists and may not be opened.
    #[error("no access to the TPM at {tcti}: add signetd's user to group tss")]
    AccessDenied {
        /// As configured.
        tcti: String,
    },
    /// Nothing answers there, or it stopped answering during the request. The next request tries
    /// to connect again.
    #[error(
        "the TPM at {tcti} does not answer: check that it is running and that nobody else holds it, then try again"
    )]
    Unreachable {
        /// As configured.
        tcti: String,
        /// What the transport said.
        #[source]
        source: ResponseCode,
    },
    /// One command took longer than the limit. Requests fail at once until the TPM answers again.
    #[error(
        "the TPM did not answer in time: try again; if this stays, restart the machine and check its firmware"
    )]
    Timeout,
    /// Too many requests are waiting.
    #[error("too many requests are waiting for the TPM: try again")]
    QueueFull,
    /// Too many requests of this caller are waiting: of all programs of one Unix user.
    #[error("too many requests of this user are waiting for the TPM: wait for their answers")]
    CallerLimit,
    /// It went on saying that it has no time (TPM_RC_RETRY, _YIELDED, _TESTING, _NV_RATE).
    #[error("the TPM is busy with itself: try again in a minute")]
    Busy,
    /// It found a fault in itself and does nothing more (TPM_RC_FAILURE; TPM 2.0 part 1 §12.3).
    #[error(
        "the TPM reports that it is broken: switch the machine off and on again; if this stays, update the TPM's firmware or have it repaired"
    )]
    FailureMode,
    /// The TPM thread ended.
    #[error("the TPM thread has stopped: restart signetd")]
    Stopped,
    /// The TPM thread could not be started.
    #[error("the TPM thread could not be started: check the limits of the service")]
    NoThread,
    /// The TPM refuses protected keys after too many wrong PINs (TPM_RC_LOCKOUT).
    #[error(
        "the TPM is locked after too many wrong attempts: wait for its recovery time (see status); nothing else clears it safely"
    )]
    Lockout,
    /// The PIN of a user key is wrong; the TPM has counted it (TPM_RC_AUTH_FAIL).
    #[error("wrong PIN: tries left before no PIN is taken for a while: {tries_left}")]
    WrongPin {
        /// Tries left.
        tries_left: u32,
    },
    /// No PIN is taken for a while: the TPM is locked, or one more wrong PIN would soon lock it.
    #[error(
        "too many wrong PINs: wait, one more try is taken {} from now at the latest; only the TPM's owner can end this earlier, by tpm2_dictionarylockout",
        duration(*wait)
    )]
    PinLocked {
        /// The time after which the TPM has forgotten enough wrong attempts.
        wait: Duration,
    },
    /// A user key cannot be loaded: the TPM was cleared or replaced, or the stored key was changed.
    #[error(
        "the platform key is lost because the TPM was cleared or the stored key is damaged: enrol another with `signet key add --platform`"
    )]
    UserKeyLost,
    /// No authorisation was given for a fingerprint key, or one for another session, digest or key.
    #[error("the TPM was shown no valid authorisation for this signature: repeat the request")]
    AuthorisationRefused,
    /// No room for another object (TPM_RC_OBJECT_MEMORY).
    #[error(
        "the TPM has no free object slot: use the resource manager (device:/dev/tpmrm0), or stop the program that holds keys in it"
    )]
    ObjectSlots,
    /// No room for another session (TPM_RC_SESSION_MEMORY, TPM_RC_SESSION_HANDLES).
    #[error(
        "the TPM has no free session slot: use the resource manager (device:/dev/tpmrm0), or stop the program that holds sessions in it"
    )]
    SessionSlots,
    /// The TPM carries no certificate for any of its endorsement keys.
    #[error(
        "the TPM holds no endorsement certificate: fetch it from the maker, or let an administrator enrol the key by its fingerprint"
    )]
    NoEndorsementCertificate,
    /// This TPM has no endorsement key of that kind.
    #[error("the TPM has no endorsement key of that kind: use one that it lists")]
    NoEndorsementKey,
    /// The owner or endorsement hierarchy has a password.
    #[error(
        "the TPM's hierarchies are protected with a password: clear the endorsement and owner authorization, or clear the TPM in the firmware"
    )]
    HierarchyPassword,
    /// A configured persistent handle holds something else.
    #[error(
        "the TPM holds another key at {handle:#010x}: remove it with tpm2_evictcontrol, or configure another handle"
    )]
    HandleTaken {
        /// The handle.
        handle: u32,
    },
    /// No TLS key has been made or loaded.
    #[error("there is no TLS key yet: enrol this machine")]
    NoTlsKey,
    /// The TPM was cleared or replaced since the TLS key was made.
    #[error("the TPM was cleared or replaced: enrol this machine again")]
    Cleared,
    /// The stored TLS key was changed or damaged; the TPM itself is the same.
    #[error(
        "the stored TLS key is damaged: restore the file from a backup, or enrol this machine again"
    )]
    Tampered,
    /// The registers that the TLS key is bound to hold something else than when it was made.
    #[error(
        "this machine did not boot as it did when its TLS key was made: undo what was changed, or enrol this machine again"
    )]
    BootChanged,
    /// A credential was made for another attestation key or another TPM, or was changed on its
    /// way (TPM_RC_INTEGRITY in TPM2_ActivateCredential).
    #[error("the credential is not for this machine's attestation key: start the enrolment again")]
    CredentialRefused,
    /// A credential is not a `TPM2B_ID_OBJECT` with a `TPM2B_ENCRYPTED_SECRET`.
    #[error(
        "the credential is malformed: the authority and this machine do not speak the same version"
    )]
    MalformedCredential,
    /// Somebody changed a protected answer between the TPM and us.
    #[error(
        "an answer of the TPM was changed on its way: treat the machine as attacked, do not retry"
    )]
    ResponseForged,
    /// No SHA-256 and no SHA-384 bank is switched on.
    #[error("the TPM measures neither in SHA-256 nor in SHA-384: switch a bank on in the firmware")]
    NoPcrBank,
    /// The configured bank is switched off.
    #[error(
        "the TPM does not measure in {bank}: switch that bank on in the firmware, or set another pcr_bank"
    )]
    PcrBankOff {
        /// As configured.
        bank: PcrBank,
    },
    /// A register above 23 was asked for, or none.
    #[error("registers are numbered 0 to 23 and at least one is needed")]
    PcrSelection,
    /// The registers went on changing while they were quoted.
    #[error("the TPM's registers keep changing: try again when the machine has finished starting")]
    PcrsUnstable,
    /// The self-test found a wrong result: the TPM or the software stack cannot be trusted.
    #[error(
        "the TPM's self-test gave a wrong result: do not enrol this machine, update its TPM firmware and libtss2"
    )]
    SelfTest,
    /// The TPM library refused or could not read a structure.
    #[error("the TPM gave an answer that cannot be read: update its firmware and libtss2")]
    MalformedResponse,
    /// Any other answer.
    #[error("the TPM refused the command: look the code up with tpm2_rc_decode")]
    Protocol(#[source] ResponseCode),
}

/// In words, rounded up to minutes above two of them.
fn duration(time: Duration) -> String {
    match time.as_secs() {
        0..=120 => format!("{} seconds", time.as_secs()),
        seconds => format!("{} minutes", seconds.div_ceil(60)),
    }
}

impl TpmError {
    /// Sorts an error of the library; `tcti` is for the message.
    pub(super) fn from_stack(error: TssError, tcti: &str) -> Self {
        let code = match error {
            TssError::Tss2Error(code) => ResponseCode::from_stack(code),
            TssError::WrapperError(WrapperErrorKind::MissingAuthSession) => {
                return Self::SessionSlots;
            }
            TssError::WrapperError(_) => return Self::MalformedResponse,
        };
        if code.layer() == LAYER_TRANSPORT {
            return Self::Unreachable { tcti: tcti.to_owned(), source: code };
        }
        if code.layer() == LAYER_ESYS && code.0 & 0xffff == ESYS_RESPONSE_AUTH_FAILED {
            return Self::ResponseForged;
        }
        match code.tpm_base() {
            Some(0x902) => Self::ObjectSlots,
            Some(0x903 | 0x905) => Self::SessionSlots,
            Some(0x921) => Self::Lockout,
            Some(0x08e | 0x0a2) => Self::HierarchyPassword,
            _ => Self::Protocol(code),
        }
    }

    /// The code, where one was given.
    pub(super) fn code(&self) -> Option<ResponseCode> {
        match self {
            Self::Protocol(code) => Some(*code),
            _ => None,
        }
    }

    /// Whether the connection is of no more use.
    pub(super) fn lost_connection(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Whether there is no room in the TPM for what a request needs.
    pub(super) fn is_out_of_slots(&self) -> bool {
        matches!(self, Self::ObjectSlots | Self::SessionSlots)
    }

    /// Whether our loaded keys are gone, so that connecting again helps.
    pub(super) fn is_stale(&self) -> bool {
        self.code().is_some_and(ResponseCode::is_stale)
    }
}
