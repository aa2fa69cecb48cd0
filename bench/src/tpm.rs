//! What signetd adds to the TPM's own commands where somebody waits: evidence for a session, evidence
//! for a renewal, a TLS signature.
//!
//! Both sides speak to the same software TPM through the same transport and library, in turns, with the
//! same loaded keys. The bare side sends the commands that have to be sent and does nothing else. The
//! daemon's side is everything from the touch (or the call) to the finished bytes: statement, queue and
//! thread, hashes, encoding, and the check that the registers are those that were quoted. The bus is not
//! in it, and a software TPM is a hundred times faster than hardware: on hardware the ratio is near 1.

use std::str::FromStr;
use std::time::{Duration, Instant};

use signet_daemon::boot_log::BootLog;
use signet_daemon::presence::{Answers, Prepared, Request};
use signet_daemon::state::{Base64, Enrolment, Stored, StoredKey};
use signet_daemon::tls_message::certificate_verify_digest;
use signet_daemon::tpm::{Tpm, TpmConfig, Urgency};
use signet_evidence::{DeviceId, Purpose, SessionId, UnixTime};
use signet_tests::swtpm::Swtpm;
use tokio::runtime::Runtime;
use tss_esapi::Context;
use tss_esapi::constants::tss::{TPM2_RH_NULL, TPM2_ST_HASHCHECK};
use tss_esapi::handles::{KeyHandle, TpmHandle, TransientTpmHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{
    Data, Digest, HashScheme, HashcheckTicket, PcrSelectionList, PcrSelectionListBuilder, PcrSlot,
    SignatureScheme,
};
use tss_esapi::tcti_ldr::TctiNameConf;
use tss_esapi::traits::Marshall;
use tss_esapi::tss2_esys::TPMT_TK_HASHCHECK;

use crate::{Bench, Contest, Failure, Unit};

const BAR: f64 = 1.15;
const ROUNDS: usize = 150;
const PCRS: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
const SALT: [u8; 32] = [0x5a; 32];

/// From the touch to the evidence of a session.
pub const SESSION: Bench = Bench {
    name: "tpm-session",
    about: "session start: from touch to evidence, and the TPM commands Quote, Certify, Sign alone",
    bar: BAR,
    rounds: ROUNDS,
    unit: Unit::Time,
    prepare: |_, _| Ok(Box::new(Race::prepare(Operation::Session)?)),
};

/// From the call to the evidence of a renewal.
pub const RENEWAL: Bench = Bench {
    name: "tpm-renewal",
    about: "renewal: from call to evidence, and the TPM commands Quote, Sign alone",
    bar: BAR,
    rounds: ROUNDS,
    unit: Unit::Time,
    prepare: |_, _| Ok(Box::new(Race::prepare(Operation::Renewal)?)),
};

/// From the message of a TLS handshake to its signature.
pub const SIGNATURE: Bench = Bench {
    name: "tpm-signature",
    about: "TLS signature: from message to signature, and the TPM command Sign alone",
    bar: BAR,
    rounds: ROUNDS,
    unit: Unit::Time,
    prepare: |_, _| Ok(Box::new(Race::prepare(Operation::Signature)?)),
};

#[derive(Clone, Copy)]
enum Operation {
    Session,
    Renewal,
    Signature,
}

struct Race {
    operation: Operation,
    /// One thread, as signetd's.
    runtime: Runtime,
    bare: Bare,
    tpm: Tpm,
    stored: Stored,
    /// None there: as on a machine without firmware that measures.
    boot_log: BootLog,
    message: Vec<u8>,
    _swtpm: Swtpm,
}

impl Race {
    fn prepare(operation: Operation) -> Result<Self, Failure> {
        let swtpm = Swtpm::copy()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let tpm = Tpm::start(TpmConfig::new(swtpm.tcti(), SALT))?;
        let stored = runtime.block_on(enrolled(&tpm))?;
        runtime.block_on(tpm.prepare(&PCRS))?;
        let bare = Bare::open(&swtpm.tcti(), &stored)?;
        let tpm = tpm.on_behalf_of("uid 1000", Urgency::Person);
        let message = [&[0x20; 64][..], b"TLS 1.3, client CertificateVerify\0", &[7; 32]].concat();
        let boot_log = BootLog::new(&swtpm.scratch().join("no-boot-log"));
        Ok(Self { operation, runtime, bare, tpm, stored, boot_log, message, _swtpm: swtpm })
    }

    async fn ours(&self) -> Result<Duration, Failure> {
        match self.operation {
            Operation::Session => {
                let prepared = request(&self.stored, Purpose::Session)?;
                // While the person reaches for the key.
                self.tpm.prepare(&PCRS).await?;
                let start = Instant::now();
                prepared.prove(&self.tpm, &PCRS, &self.boot_log, Answers::default()).await?;
                Ok(start.elapsed())
            }
            Operation::Renewal => {
                let start = Instant::now();
                let prepared = request(&self.stored, Purpose::Renew)?;
                prepared.prove(&self.tpm, &PCRS, &self.boot_log, Answers::default()).await?;
                Ok(start.elapsed())
            }
            Operation::Signature => {
                let start = Instant::now();
                let digest = certificate_verify_digest(&self.message)?;
                self.tpm.sign_tls(digest).await?;
                Ok(start.elapsed())
            }
        }
    }
}

impl Contest for Race {
    fn base(&mut self) -> Result<Duration, Failure> {
        let start = Instant::now();
        match self.operation {
            Operation::Session => {
                self.bare.quote()?;
                self.bare.certify()?;
            }
            Operation::Renewal => self.bare.quote()?,
            Operation::Signature => {}
        }
        self.bare.sign()?;
        Ok(start.elapsed())
    }

    fn ours(&mut self) -> Result<Duration, Failure> {
        self.runtime.block_on(Self::ours(self))
    }
}

/// As after an enrolment; the certificates are not looked at here.
async fn enrolled(tpm: &Tpm) -> Result<Stored, Failure> {
    let tls_key = StoredKey(tpm.create_tls_key().await?);
    let certificate = vec![Base64(vec![0x30; 600]), Base64(vec![0x30; 400])];
    let enrolment = Enrolment {
        tls_key,
        device_chain: certificate.clone(),
        ak_chain: certificate,
        device_id: DeviceId::from_bytes(&[1; 17]).ok_or("a device id")?,
        authority: "https://authority.example".to_owned(),
        audience: "https://authority.example".to_owned(),
        rp_id: "presence.example".to_owned(),
        operator: "bob".to_owned(),
        ca: Vec::new(),
        issuers: Vec::new(),
    };
    let (pending_key, enrolment) = (None, Some(enrolment));
    Ok(Stored { ak_salt: SALT, pending_key, enrolment, platform_keys: Vec::new() })
}

fn request(stored: &Stored, purpose: Purpose) -> Result<Prepared, Failure> {
    let request = Request {
        purpose,
        challenge: vec![7; 39],
        subject: Some("bob".to_owned()),
        scope: Some("mesh.read mesh.write".to_owned()),
        acr: None,
        action: None,
        session: (purpose == Purpose::Renew).then_some(SessionId([3; 16])),
        allow_credentials: vec![vec![9; 48]],
        touch_credentials: Vec::new(),
        exclude_credentials: Vec::new(),
        user_verification: true,
        certify: purpose == Purpose::Session,
        known_event_log: None,
        means: None,
        reason: None,
        remote: None,
    };
    Ok(Prepared::new(request, None, stored, UnixTime(1_800_000_000))?)
}

/// The commands alone, with the keys that the daemon has loaded.
struct Bare {
    context: Context,
    ak: KeyHandle,
    tls_key: KeyHandle,
    selection: PcrSelectionList,
    data: Data,
    digest: Digest,
    ticket: HashcheckTicket,
}

impl Bare {
    fn open(tcti: &str, stored: &Stored) -> Result<Self, Failure> {
        let mut context = Context::new(TctiNameConf::from_str(tcti)?)?;
        let tls_public = stored.enrolment.as_ref().map(|enrolment| &enrolment.tls_key.0.public);
        let (mut ak, mut tls_key) = (None, None);
        // A TPM has room for three; one place is free.
        for handle in 0x8000_0000..=0x8000_0002 {
            let handle = TpmHandle::Transient(TransientTpmHandle::new(handle)?);
            let Ok(object) = context.tr_from_tpm_public(handle) else {
                continue;
            };
            let object = KeyHandle::from(object);
            let (public, ..) = context.read_public(object)?;
            let found =
                if Some(&public.marshall()?) == tls_public { &mut tls_key } else { &mut ak };
            *found = Some(object);
        }
        let slots = PCRS.map(|pcr| PcrSlot::try_from(1_u32 << pcr));
        let slots = slots.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            ak: ak.ok_or("the keys of signetd are not loaded")?,
            tls_key: tls_key.ok_or("the keys of signetd are not loaded")?,
            selection: PcrSelectionListBuilder::new()
                .with_selection(HashingAlgorithm::Sha256, &slots)
                .build()?,
            data: Data::try_from(vec![5; 32])?,
            digest: Digest::try_from(vec![6; 32])?,
            ticket: HashcheckTicket::try_from(TPMT_TK_HASHCHECK {
                tag: TPM2_ST_HASHCHECK,
                hierarchy: TPM2_RH_NULL,
                digest: Default::default(),
            })?,
            context,
        })
    }

    fn quote(&mut self) -> tss_esapi::Result<()> {
        let (ak, data, selection) = (self.ak, self.data.clone(), self.selection.clone());
        let quote =
            |context: &mut Context| context.quote(ak, data, SignatureScheme::Null, selection);
        let password = Some(AuthSession::Password);
        self.context.execute_with_sessions((password, None, None), quote).map(drop)
    }

    fn certify(&mut self) -> tss_esapi::Result<()> {
        let (ak, key, data) = (self.ak, self.tls_key, self.data.clone());
        let certify =
            |context: &mut Context| context.certify(key.into(), ak, data, SignatureScheme::Null);
        let password = Some(AuthSession::Password);
        self.context.execute_with_sessions((password, password, None), certify).map(drop)
    }

    fn sign(&mut self) -> tss_esapi::Result<()> {
        let (key, digest, ticket) = (self.tls_key, self.digest.clone(), self.ticket.clone());
        let scheme =
            SignatureScheme::EcDsa { hash_scheme: HashScheme::new(HashingAlgorithm::Sha256) };
        let sign = |context: &mut Context| context.sign(key, digest, scheme, ticket);
        let password = Some(AuthSession::Password);
        self.context.execute_with_sessions((password, None, None), sign).map(drop)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // The keys are the daemon's: forget them, do not flush them.
        for key in [self.ak, self.tls_key] {
            let _ = self.context.tr_close(&mut key.into());
        }
    }
}
