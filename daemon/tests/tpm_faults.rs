//! The TPM actor when the TPM is missing, dies, hangs, restarts, or when its keys are asked for
//! what they must refuse.

#![expect(clippy::unwrap_used, reason = "helpers of a test may fail as the test does")]

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::str::FromStr;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use signet_daemon::tpm::{Tpm, TpmConfig, TpmError};
use signet_tests::swtpm::Swtpm;
use tss_esapi::Context;
use tss_esapi::constants::response_code::Tss2ResponseCodeKind;
use tss_esapi::constants::tss::{TPM2_RH_NULL, TPM2_ST_HASHCHECK};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{
    Digest, EccParameter, EccPoint, HashScheme, HashcheckTicket, Public, SignatureScheme,
};
use tss_esapi::tcti_ldr::TctiNameConf;
use tss_esapi::traits::{Marshall, UnMarshall};
use tss_esapi::tss2_esys::TPMT_TK_HASHCHECK;

const SALT: [u8; 32] = [0x5a; 32];
const NONCE: [u8; 32] = [0x11; 32];

fn config(swtpm: &Swtpm) -> TpmConfig {
    TpmConfig::new(swtpm.tcti(), SALT)
}

fn start(swtpm: &Swtpm) -> Tpm {
    Tpm::start(config(swtpm)).unwrap()
}

fn assert_unreachable<T: std::fmt::Debug>(swtpm: &Swtpm, result: Result<T, TpmError>) {
    match result {
        Err(TpmError::Unreachable { tcti, .. }) => assert_eq!(tcti, swtpm.tcti()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_missing_tpm_is_named_with_what_to_do() {
    let tpm = Tpm::start(TpmConfig::new("device:/dev/no-such-tpm", SALT)).unwrap();
    let error = tpm.attestation_key().await.unwrap_err();
    let tcti = "device:/dev/no-such-tpm".to_owned();
    assert_eq!(error, TpmError::NotFound { tcti });
    assert_eq!(
        error.to_string(),
        "no TPM at device:/dev/no-such-tpm: check that the TPM is enabled in the firmware and \
         that signetd is in group tss"
    );
}

#[tokio::test]
async fn a_device_that_is_no_tpm_does_not_answer() {
    let tpm = Tpm::start(TpmConfig::new("device:/dev/null", SALT)).unwrap();
    match tpm.attestation_key().await {
        Err(TpmError::Unreachable { tcti, .. }) => assert_eq!(tcti, "device:/dev/null"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_unknown_transport_is_refused_at_once() {
    for tcti in ["", "tpm0", "/dev/tpmrm0", "swtpm:port=none"] {
        let refused = Tpm::start(TpmConfig::new(tcti, SALT)).unwrap_err();
        let tcti = tcti.to_owned();
        assert_eq!(refused, TpmError::InvalidTcti { tcti });
    }
}

#[tokio::test]
async fn a_reboot_keeps_both_keys_and_is_counted() {
    let mut swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    let ak = tpm.attestation_key().await.unwrap();
    let key = tpm.create_tls_key().await.unwrap();
    let before = tpm.properties().await.unwrap().clock;
    for reboot in 1..=3 {
        swtpm.restart().unwrap();
        // The handle does not know yet that its keys are gone, whatever it is asked first.
        match reboot {
            1 => assert_eq!(tpm.sign_tls([1; 32]).await.map(|s| s.len()), Ok(64)),
            2 => assert_eq!(tpm.certify_tls_key(NONCE).await.unwrap().public, key.public),
            _ => assert_eq!(tpm.quote(NONCE, &[0]).await.unwrap().pcrs.len(), 1),
        }
        assert_eq!(tpm.attestation_key().await.unwrap(), ak);
        assert_eq!(tpm.tls_key().await.unwrap(), key);
        let after = tpm.properties().await.unwrap().clock;
        assert_eq!(after.reset_count, before.reset_count + reboot);
    }
}

#[tokio::test]
async fn a_tpm_that_dies_between_requests_comes_back() {
    let mut swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    let ak = tpm.attestation_key().await.unwrap();
    let key = tpm.create_tls_key().await.unwrap();
    swtpm.kill().unwrap();
    assert_unreachable(&swtpm, tpm.quote(NONCE, &[0]).await);
    assert_unreachable(&swtpm, tpm.sign_tls([1; 32]).await);
    swtpm.restart().unwrap();
    tpm.sign_tls([1; 32]).await.unwrap();
    assert_eq!(tpm.attestation_key().await.unwrap(), ak);
    assert_eq!(tpm.tls_key().await.unwrap(), key);
}

#[tokio::test]
async fn a_tpm_killed_during_a_request_is_an_error_at_once() {
    let mut swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    tpm.create_tls_key().await.unwrap();
    swtpm.pause().unwrap();
    let waiting = tokio::spawn({
        let tpm = tpm.clone();
        async move { tpm.sign_tls([1; 32]).await }
    });
    // Let the task put its request in the queue.
    tokio::task::yield_now().await;
    swtpm.wait_for_command().unwrap();
    swtpm.kill().unwrap();
    assert_unreachable(&swtpm, waiting.await.unwrap());
    swtpm.restart().unwrap();
    tpm.sign_tls([1; 32]).await.unwrap();
}

#[tokio::test]
async fn a_tpm_that_hangs_does_not_hang_us_and_is_used_again_when_it_answers() {
    let swtpm = Swtpm::copy().unwrap();
    let mut config = config(&swtpm);
    config.command_timeout = Duration::from_secs(1);
    let tpm = Tpm::start(config).unwrap();
    let ak = tpm.attestation_key().await.unwrap();
    swtpm.pause().unwrap();
    assert_eq!(tpm.attestation_key().await, Err(TpmError::Timeout));
    // Now it is known: nobody waits again.
    let asked = pin!(tpm.quote(NONCE, &[0])).poll(&mut TaskContext::from_waker(Waker::noop()));
    assert_eq!(asked, Poll::Ready(Err(TpmError::Timeout)));
    swtpm.resume().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match tpm.attestation_key().await {
            Err(TpmError::Timeout) if Instant::now() < deadline => tokio::task::yield_now().await,
            answer => break assert_eq!(answer.unwrap(), ak),
        }
    }
}

#[tokio::test]
async fn more_requests_than_the_queue_holds_are_refused() {
    let swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    tpm.attestation_key().await.unwrap();
    swtpm.pause().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let tpm = tpm.clone();
        tasks.spawn(async move { tpm.attestation_key().await });
    }
    // One is with the TPM, 32 wait; which of the rest is refused depends on the thread's start.
    let first = tasks.join_next().await.unwrap().unwrap();
    assert_eq!(first, Err(TpmError::QueueFull));
    swtpm.resume().unwrap();
    let served = tasks.join_all().await;
    assert!(served.iter().filter(|answer| answer.is_ok()).count() >= 32);
    tpm.attestation_key().await.unwrap();
}

#[tokio::test]
async fn keys_left_by_a_killed_daemon_are_flushed() {
    let swtpm = Swtpm::copy().unwrap();
    for _ in 0..3 {
        let create = ["-C", "o", "-G", "ecc"];
        swtpm.run_tool("tpm2_createprimary", &create).unwrap();
        swtpm.run_tool("tpm2_startauthsession", &["-S", "session"]).unwrap();
    }
    assert_eq!(listed(&swtpm, "handles-transient").lines().count(), 3);
    assert_eq!(listed(&swtpm, "handles-saved-session").lines().count(), 3);
    let tpm = start(&swtpm);
    tpm.create_tls_key().await.unwrap();
    tpm.close().await;
    assert!(listed(&swtpm, "handles-transient").is_empty());
    assert!(listed(&swtpm, "handles-saved-session").is_empty());
}

#[tokio::test]
async fn closing_flushes_and_the_next_request_connects_again() {
    let swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    let key = tpm.create_tls_key().await.unwrap();
    assert_eq!(listed(&swtpm, "handles-transient").lines().count(), 2);
    tpm.close().await;
    assert!(listed(&swtpm, "handles-transient").is_empty());
    assert_eq!(tpm.tls_key().await, Ok(key));
}

fn listed(swtpm: &Swtpm, kind: &str) -> String {
    let output = swtpm.run_tool("tpm2_getcap", &[kind]).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_hierarchy_with_a_password_is_explained() {
    let swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    tpm.attestation_key().await.unwrap();
    let set = ["-c", "owner", "secret"];
    swtpm.run_tool("tpm2_changeauth", &set).unwrap();
    let refused = tpm.create_tls_key().await;
    assert_eq!(refused, Err(TpmError::HierarchyPassword));
    tpm.attestation_key().await.unwrap();
    let set = ["-c", "endorsement", "secret"];
    swtpm.run_tool("tpm2_changeauth", &set).unwrap();
    let refused = tpm.endorsement().await;
    assert_eq!(refused, Err(TpmError::HierarchyPassword));
    let refused = start(&swtpm).attestation_key().await;
    assert_eq!(refused, Err(TpmError::HierarchyPassword));
}

/// The same template gives the same key to anybody who may use the endorsement hierarchy, so the
/// test can hold the AK itself and ask it for what the actor has no request for.
#[tokio::test]
async fn the_attestation_key_refuses_a_foreign_digest() {
    let swtpm = Swtpm::copy().unwrap();
    let tpm = start(&swtpm);
    let ak = tpm.attestation_key().await.unwrap();
    tpm.close().await;

    let mut context = Context::new(TctiNameConf::from_str(&swtpm.tcti()).unwrap()).unwrap();
    let Public::Ecc { object_attributes, name_hashing_algorithm, auth_policy, parameters, .. } =
        Public::unmarshall(&ak.public).unwrap()
    else {
        panic!("not an ECC key");
    };
    assert!(object_attributes.restricted() && object_attributes.sign_encrypt());
    assert!(object_attributes.fixed_tpm() && object_attributes.fixed_parent());
    assert!(object_attributes.sensitive_data_origin() && object_attributes.no_da());
    assert!(!object_attributes.decrypt());
    let template = Public::Ecc {
        object_attributes,
        name_hashing_algorithm,
        auth_policy,
        parameters,
        unique: EccPoint::new(
            EccParameter::try_from(SALT.to_vec()).unwrap(),
            EccParameter::try_from(vec![0; 32]).unwrap(),
        ),
    };
    let refused = context.execute_with_session(Some(AuthSession::Password), |context| {
        let made = context
            .create_primary(Hierarchy::Endorsement, template, None, None, None, None)
            .unwrap();
        assert_eq!(made.out_public.marshall().unwrap(), ak.public);
        let ticket = HashcheckTicket::try_from(TPMT_TK_HASHCHECK {
            tag: TPM2_ST_HASHCHECK,
            hierarchy: TPM2_RH_NULL,
            digest: Default::default(),
        });
        let scheme =
            SignatureScheme::EcDsa { hash_scheme: HashScheme::new(HashingAlgorithm::Sha256) };
        let digest = Digest::try_from(vec![7; 32]).unwrap();
        context.sign(made.key_handle, digest, scheme, ticket.unwrap())
    });
    match refused {
        Err(tss_esapi::Error::Tss2Error(code)) => {
            assert_eq!(code.kind(), Some(Tss2ResponseCodeKind::Ticket));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_harness_leaves_nothing_behind() {
    let mut swtpm = Swtpm::copy().unwrap();
    let folder = swtpm.scratch().to_owned();
    assert!(folder.is_dir());
    swtpm.kill().unwrap();
    assert_eq!(swtpm.pause().unwrap_err().kind(), std::io::ErrorKind::NotFound);
    drop(swtpm);
    assert!(!Path::new(&folder).exists());
}
