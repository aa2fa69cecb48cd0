//! The TPM actor through a resource manager in user space, tpm2-abrmd, on a private bus.

#![expect(clippy::unwrap_used, reason = "helpers of a test may fail as the test does")]
#![expect(clippy::disallowed_methods, reason = "a test starts programs, signetd does not")]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use signet_daemon::tpm::{Health, PinValue, Tpm, TpmConfig, TpmError};
use signet_tests::bus::PrivateBus;
use signet_tests::swtpm::Swtpm;

const NONCE: [u8; 32] = [0x11; 32];
const TCTI: &str = "tabrmd:bus_name=com.intel.tss2.Tabrmd,bus_type=session";
const SESSION_BUS: &str = "DBUS_SESSION_BUS_ADDRESS";
const INNER: &str = "SIGNET_TEST_THROUGH_TABRMD";
const NAME: &str = "every_operation_works_through_tabrmd_and_its_restart";

/// A running tpm2-abrmd on the session bus of this process; killed when dropped.
struct ResourceManager(Child);

impl ResourceManager {
    fn start(swtpm: &Swtpm) -> Self {
        let process = Command::new("tpm2-abrmd")
            .args(["--session", "--allow-root", "--flush-all"])
            .arg(format!("--tcti={}", swtpm.tcti()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("install the package tpm2-abrmd");
        let manager = Self(process);
        let deadline = Instant::now() + Duration::from_secs(30);
        while !through_tabrmd(swtpm, "tpm2_getrandom", &["8"]) {
            assert!(Instant::now() < deadline, "tpm2-abrmd does not serve");
            std::thread::sleep(Duration::from_millis(20));
        }
        manager
    }
}

impl Drop for ResourceManager {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a command of tpm2-tools works through the resource manager.
fn through_tabrmd(swtpm: &Swtpm, program: &str, arguments: &[&str]) -> bool {
    let mut command = swtpm.tool(program, arguments);
    command.env("TPM2TOOLS_TCTI", TCTI).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().unwrap().success()
}

/// libtss2 finds the bus by an environment variable, which a test cannot set for itself: it runs
/// itself once more, with it.
#[test]
fn every_operation_works_through_tabrmd_and_its_restart() {
    if std::env::var_os(INNER).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(inner());
    }
    let bus = PrivateBus::start().unwrap();
    let again = Command::new(std::env::current_exe().unwrap())
        .args([NAME, "--exact", "--nocapture"])
        .env(SESSION_BUS, bus.address())
        .env(INNER, "1")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&again.stdout) + String::from_utf8_lossy(&again.stderr);
    assert!(again.status.success(), "{printed}");
    assert!(printed.contains("1 passed"), "{printed}");
}

async fn inner() {
    let swtpm = Swtpm::copy().unwrap();
    let manager = ResourceManager::start(&swtpm);
    let tpm = Tpm::start(TpmConfig::new(TCTI, [0x5a; 32])).unwrap();
    tpm.self_test().await.unwrap();
    let ak = tpm.attestation_key().await.unwrap();
    assert_eq!(tpm.endorsement().await.unwrap().keys.len(), 3);
    let key = tpm.create_tls_key().await.unwrap();
    let pin = || PinValue::of("123456");
    let person = tpm.create_pin_key(pin(), NONCE).await.unwrap().key;
    // Other programs have their own room.
    for round in 0..4 {
        let create = ["-C", "o", "-G", "ecc", "-c", "other.ctx"];
        assert!(through_tabrmd(&swtpm, "tpm2_createprimary", &create));
        tpm.prepare(&[0, 7]).await.unwrap();
        let whole = move |quote, certified| ((quote, certified), [round; 32]);
        let ((quote, certified), _) = tpm.attest(NONCE, &[0, 7], true, whole).await.unwrap();
        assert_eq!((quote.pcrs.len(), certified.unwrap().public), (2, key.public.clone()));
        tpm.sign_tls([round; 32]).await.unwrap();
        tpm.sign_with_pin(person.clone(), pin(), [round; 32]).await.unwrap();
    }
    let wrong = tpm.sign_with_pin(person.clone(), PinValue::of("654321"), [0; 32]).await;
    assert_eq!(wrong, Err(TpmError::WrongPin { tries_left: 1 }));
    let person = tpm.change_user_pin(person, pin(), PinValue::of("654321")).await.unwrap();

    drop(manager);
    match tpm.sign_tls([0; 32]).await {
        Err(TpmError::Unreachable { tcti, .. }) => assert_eq!(tcti, TCTI),
        other => panic!("{other:?}"),
    }
    assert_eq!(tpm.health().0, Health::Missing);
    let _manager = ResourceManager::start(&swtpm);
    // Whoever asks next notices nothing.
    tpm.sign_tls([0; 32]).await.unwrap();
    tpm.sign_with_pin(person, PinValue::of("654321"), [0; 32]).await.unwrap();
    assert_eq!(tpm.attestation_key().await.unwrap(), ak);
    assert_eq!(tpm.health(), (Health::Ok, None));
    tpm.close().await;
    assert!(through_tabrmd(&swtpm, "tpm2_getrandom", &["8"]));
    assert_eq!(swtpm.handles().unwrap(), [0, 0, 0]);
}
