//! `kill -9` in the middle of a request: a clear error, nothing half done, and after a restart the
//! next request works.

use super::{enrolled, failed, light_is_on, login_under_way, login_works, ready, recorded};
use signet_tests::house::House;

fn unreachable(house: &House) -> String {
    format!(
        "cannot reach the authority at {}: check the network, or ask who runs it",
        house.authority.url()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signetd_while_the_person_is_asked() {
    let mut house = ready().await;
    let pending = login_under_way(&house.alice).await;
    house.alice.signetd.kill();
    let message = "signetd stopped before it answered; nothing was changed, try again once it runs";
    failed(&pending.finish().await.unwrap(), 3, "unavailable", message);
    let ran = house.alice.signet(&["--json", "login"]).await.unwrap();
    let message = "signetd is not running: start it with `systemctl start signetd`";
    failed(&ran, 3, "unavailable", message);
    assert_eq!(recorded(&house, "token-session", None), 0);
    house.alice.signetd.restart().unwrap();
    // The key still waits for what nobody wants any more: a finger ends that.
    house.alice.put_finger().unwrap();
    login_works(&house).await;
    assert_eq!(recorded(&house, "token-session", None), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signetd_while_a_machine_enrols() {
    let mut house = House::start().await.unwrap();
    let status = house.alice.signet(&["--json", "status"]).await.unwrap().json();
    assert_eq!(status["tpm"], "ok");
    house.alice.tpm.pause().unwrap();
    let url = house.authority.url();
    let ca = house.authority.server_ca().display().to_string();
    let arguments = ["--json", "enrol", "--authority", &url, "--ca", &ca, "--ticket-file", "-"];
    let ticket = house.authority.first_ticket().to_owned();
    let pending = house.alice.begin(&arguments, ticket.as_bytes()).await.unwrap();
    house.alice.tpm.wait_for_command().unwrap();
    house.alice.signetd.kill();
    let message = "signetd stopped before it answered; nothing was changed, try again once it runs";
    failed(&pending.finish().await.unwrap(), 3, "unavailable", message);
    house.alice.tpm.resume().unwrap();
    house.alice.signetd.restart().unwrap();
    let status = house.alice.signet(&["--json", "status"]).await.unwrap().json();
    assert_eq!(status["enrolled"], false);
    // The ticket was not used up.
    let ran = house.enrol(&house.alice, &ticket).await.unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authority_while_the_person_is_asked() {
    let mut house = ready().await;
    let pending = login_under_way(&house.alice).await;
    house.authority.kill();
    house.alice.put_finger().unwrap();
    let ran = pending.finish().await.unwrap();
    let (code, message) = ran.error().unwrap();
    assert_eq!((ran.code, code.as_str()), (Some(3), "unavailable"), "{message}");
    assert!(message.starts_with(&unreachable(&house)), "{message}");
    house.authority.serve().unwrap();
    assert_eq!(recorded(&house, "token-session", None), 0);
    login_works(&house).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authority_with_the_evidence_in_its_hands() {
    let mut house = ready().await;
    let pending = login_under_way(&house.alice).await;
    house.authority.pause().unwrap();
    house.alice.put_finger().unwrap();
    house.authority.wait_for_request().await.unwrap();
    house.authority.kill();
    let ran = pending.finish().await.unwrap();
    let (code, message) = ran.error().unwrap();
    assert_eq!((ran.code, code.as_str()), (Some(3), "unavailable"), "{message}");
    assert!(message.starts_with(&unreachable(&house)), "{message}");
    house.authority.serve().unwrap();
    assert_eq!(recorded(&house, "token-session", None), 0);
    login_works(&house).await;
    assert_eq!(recorded(&house, "token-session", None), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authority_between_the_halves_of_an_enrolment() {
    let mut house = House::start().await.unwrap();
    let url = house.authority.url();
    let ca = house.authority.server_ca().display().to_string();
    let arguments = ["--json", "enrol", "--authority", &url, "--ca", &ca, "--ticket-file", "-"];
    let ticket = house.authority.first_ticket().to_owned();
    let pending = house.alice.begin(&arguments, ticket.as_bytes()).await.unwrap();
    // The first half is on record before its answer leaves; the second takes the TPM a while.
    while recorded(&house, "device-enrol-begin", None) == 0 {
        tokio::task::yield_now().await;
    }
    house.authority.kill();
    let ran = pending.finish().await.unwrap();
    let (code, message) = ran.error().unwrap();
    assert_eq!((ran.code, code.as_str()), (Some(3), "unavailable"), "{message}");
    assert!(message.starts_with(&unreachable(&house)), "{message}");
    let status = house.alice.signet(&["--json", "status"]).await.unwrap().json();
    assert_eq!(status["enrolled"], false);
    house.authority.serve().unwrap();
    let ran = house.enrol(&house.alice, &ticket).await.unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tpm_while_the_person_is_asked() {
    let mut house = ready().await;
    let pending = login_under_way(&house.alice).await;
    house.alice.tpm.kill().unwrap();
    house.alice.put_finger().unwrap();
    let ran = pending.finish().await.unwrap();
    let message = format!(
        "the TPM at {} does not answer: check that it is running and that nobody else holds it, \
         then try again (response code 0x000a000a)",
        house.alice.tpm.tcti()
    );
    failed(&ran, 3, "TpmUnavailable", &message);
    assert_eq!(recorded(&house, "token-session", None), 0);
    house.alice.tpm.restart().unwrap();
    login_works(&house).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_while_its_person_is_asked() {
    let mut house = ready().await;
    let pending = login_under_way(&house.alice).await;
    house.alice.key.kill();
    let message = "the security key was removed: plug it in again and repeat";
    failed(&pending.finish().await.unwrap(), 3, "AuthenticatorRemoved", message);
    assert_eq!(recorded(&house, "token-session", None), 0);
    house.alice.key.restart().unwrap();
    login_works(&house).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_while_it_enrols() {
    let mut house = enrolled().await;
    let pending = house.alice.begin(&["--json", "key", "add"], b"").await.unwrap();
    light_is_on(&house.alice).await;
    house.alice.key.kill();
    let message = "the security key was removed: plug it in again and repeat";
    failed(&pending.finish().await.unwrap(), 3, "AuthenticatorRemoved", message);
    let listed = house.alice.signet(&["--json", "key", "list"]).await.unwrap().json();
    assert_eq!(listed["keys"], serde_json::json!([]));
    house.alice.key.restart().unwrap();
    house.alice.put_finger().unwrap();
    let ran = house.alice.signet(&["--json", "key", "add"]).await.unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(recorded(&house, "key-enrol", None), 1);
    login_works(&house).await;
}
