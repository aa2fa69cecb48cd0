//! Parts that are missing or unwilling from the start: each says what to do in its own words.

use super::{failed, login_works, ready};
use signet_tests::house::House;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_tpm() {
    let mut house = ready().await;
    house.alice.reconfigure(|options| options.tcti = "device:/nonexistent/tpmrm0".into()).unwrap();
    let advice = "no TPM at device:/nonexistent/tpmrm0: check that the TPM is enabled in the \
                  firmware and that signetd is in group tss";
    let status = house.alice.signet(&["--json", "status"]).await.unwrap().json();
    assert_eq!(status["tpm"], advice);
    let ran = house.alice.signet(&["--json", "login"]).await.unwrap();
    let message = format!(
        "this machine's key could not be used for the connection: {advice}: signetd did not sign \
         the TLS handshake"
    );
    failed(&ran, 3, "unavailable", &message);
    house.alice.reconfigure(|_| {}).unwrap();
    login_works(&house).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_tpm_to_enrol_with() {
    let mut house = House::start().await.unwrap();
    house.alice.reconfigure(|options| options.tcti = "device:/nonexistent/tpmrm0".into()).unwrap();
    let ran = house.enrol(&house.alice, house.authority.first_ticket()).await.unwrap();
    let message = "no TPM at device:/nonexistent/tpmrm0: check that the TPM is enabled in the \
                   firmware and that signetd is in group tss";
    failed(&ran, 3, "TpmMissing", message);
    house.alice.reconfigure(|_| {}).unwrap();
    // The ticket was not used up.
    let ran = house.enrol(&house.alice, house.authority.first_ticket()).await.unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_room_on_the_disk_to_enrol() {
    let mut house = House::start().await.unwrap();
    house.alice.signetd.limit_file_size(Some(512));
    house.alice.signetd.restart().unwrap();
    let ran = house.enrol(&house.alice, house.authority.first_ticket()).await.unwrap();
    let file = house.alice.signetd.state_dir().join("state");
    let message = format!(
        "cannot write {}: free some space on the disk, or give signetd the right to write there, \
         then try again (file too large)",
        file.display()
    );
    failed(&ran, 3, "StateUnwritable", &message);
    house.alice.signetd.limit_file_size(None);
    house.alice.signetd.restart().unwrap();
    // The ticket was not used up.
    let ran = house.enrol(&house.alice, house.authority.first_ticket()).await.unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_security_key() {
    let mut house = ready().await;
    house.alice.reconfigure(|options| options.authenticators.clear()).unwrap();
    let ran = house.alice.signet(&["--json", "login"]).await.unwrap();
    let message = "no security key is plugged in: plug in yours and try again";
    failed(&ran, 3, "NoAuthenticator", message);
    house.alice.reconfigure(|_| {}).unwrap();
    login_works(&house).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_to_ask() {
    let mut house = ready().await;
    house.alice.reconfigure(|options| options.extra = "prompts = \"none\"".into()).unwrap();
    let ran = house.alice.signet(&["--json", "login"]).await.unwrap();
    let message = "nobody can be asked at this machine: repeat where someone sits, or set \
                   prompts = \"caller\" in signetd's configuration";
    failed(&ran, 3, "CannotPrompt", message);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_terminal_for_the_pin_and_a_locked_pin() {
    let mut house = ready().await;
    // The sensor gives up after wrong fingers; then the key wants its PIN.
    for _ in 0..8 {
        house.alice.key.finger("left-thumb").unwrap();
    }
    let mut command = tokio::process::Command::new("setsid");
    command.arg(house.alice.program()).args(["--json", "login"]);
    command.envs(house.alice.environment()).stdin(std::process::Stdio::null());
    let output = command.output().await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(
        stderr.contains(
            "could not ask: a PIN is needed, but there is no terminal to ask at: run this at a \
             terminal, or give the PIN with --pin-fd"
        ),
        "{stderr}"
    );
    let mut last = None;
    for _ in 0..12 {
        let arguments = ["--json", "--pin-fd", "0", "login"];
        let ran = house.alice.signet_given(&arguments, b"000000\n").await.unwrap();
        let (code, message) = ran.error().unwrap();
        last = Some((ran.code, code, message.clone()));
        if message.contains("is locked") {
            break;
        }
        // After three wrong PINs a key wants to be plugged in anew.
        house.alice.key.replug().unwrap();
    }
    let message = "the key's PIN is locked: reset the key (this erases it) and enrol it again";
    assert_eq!(last, Some((Some(1), "PinBlocked".to_owned(), message.to_owned())));
}

/// `signet login` by a clock that is off by so much.
async fn login_at(house: &House, offset: &str) -> (Option<i32>, String) {
    let mut command = tokio::process::Command::new("faketime");
    command.args(["-f", offset]).arg(house.alice.program()).arg("login");
    command.envs(house.alice.environment()).stdin(std::process::Stdio::null());
    let output = command.output().await.unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_clock_on_the_workstation() {
    let house = ready().await;
    let url = house.authority.url();
    for (offset, advice) in [
        (
            "-400d",
            "its certificate is not valid yet, so this machine's clock is behind; set the clock",
        ),
        (
            "+4000d",
            "its certificate has run out, or this machine's clock is ahead; check the clock",
        ),
    ] {
        let (code, stderr) = login_at(&house, offset).await;
        assert_eq!(code, Some(1), "{stderr}");
        let expected = format!("signet: the authority at {url} is not to be trusted: {advice}");
        assert_eq!(stderr.trim(), expected);
    }
    login_works(&house).await;
}
