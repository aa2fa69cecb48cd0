//! Device enrolment over the bus, with a stand-in for the authority.

use std::fs;

use futures_util::StreamExt;

use crate::authority::{AUTHORITY, DEVICE_ID, point};
use crate::client::{bytes, refusal, text};
use crate::world::{World, renewal, with};

#[tokio::test]
async fn a_machine_is_enrolled_by_every_kind_of_endorsement_key() {
    for kind in ["rsa-2048", "ecc-p256"] {
        let world = World::with_keys(vec![]);
        let caller = world.caller().await;
        let introduction = caller.daemon.begin_enrolment().await.unwrap();
        let exchange = world.authority.challenge(&world.tpm, &introduction, kind);
        let activated = caller.daemon.activate_enrolment(&exchange.options()).await.unwrap();
        assert!(!caller.daemon.enrolled().await.unwrap(), "{kind}");
        let admission = world.authority.admit(&exchange, &activated);
        caller.daemon.complete_enrolment(&admission).await.unwrap();
        assert!(caller.daemon.enrolled().await.unwrap(), "{kind}");
        let status = caller.daemon.status().await.unwrap();
        let hex = signet_evidence::thumbprint::hex(&DEVICE_ID);
        assert_eq!(text(&status, "device_id"), hex);
        assert_eq!(text(&status, "operator"), "alice");
        assert_eq!(text(&status, "authority"), AUTHORITY);
    }
}

#[tokio::test]
async fn an_enrolment_is_announced() {
    let world = World::with_keys(vec![]);
    let caller = world.caller().await;
    let cached = crate::client::Presence1Proxy::new(&caller.connection).await.unwrap();
    let mut changes = cached.receive_enrolled_changed().await;
    assert!(!changes.next().await.unwrap().get().await.unwrap());
    world.enrol(&caller).await;
    assert!(changes.next().await.unwrap().get().await.unwrap());
}

#[tokio::test]
async fn a_machine_answers_no_transcript_about_another() {
    let world = World::with_keys(vec![]);
    let caller = world.caller().await;
    let introduction = caller.daemon.begin_enrolment().await.unwrap();
    let exchange = world.authority.challenge(&world.tpm, &introduction, "ecc-p256");
    let at = |part: &[u8]| {
        exchange.transcript.windows(part.len()).position(|window| window == part).unwrap()
    };
    let parts = [
        ("attestation key", at(&exchange.ak_public)),
        ("tls key", at(&exchange.tls_public)),
        ("credential", at(&exchange.credential_blob)),
        ("secret", at(&exchange.encrypted_secret)),
        ("nonce", at(&crate::authority::NONCE)),
    ];
    for (name, position) in parts {
        let mut changed = exchange.clone();
        changed.transcript[position + 2] ^= 1;
        let error = caller.daemon.activate_enrolment(&changed.options()).await.unwrap_err();
        let (error, words) = refusal(error);
        assert_eq!(error, "InvalidArgument", "{name}");
        assert!(words.contains(&format!("names another {name}")), "{words}");
    }
    let options = with(exchange.options(), "ek_kind", "ecc-p384".into());
    let error = caller.daemon.activate_enrolment(&options).await.unwrap_err();
    assert_eq!(refusal(error).0, "InvalidArgument");
    // The true one still works afterwards.
    caller.daemon.activate_enrolment(&exchange.options()).await.unwrap();
}

#[tokio::test]
async fn certificates_for_other_keys_are_not_stored() {
    let world = World::with_keys(vec![]);
    let caller = world.caller().await;
    let introduction = caller.daemon.begin_enrolment().await.unwrap();
    let (ak, tls) = (bytes(&introduction, "ak_public"), bytes(&introduction, "tls_public"));
    assert_ne!(point(&ak), point(&tls));
    let certify = |public: &[u8]| world.authority.certify(public);
    for (device, attestation, name) in
        [(certify(&ak), certify(&ak), "device_chain"), (certify(&tls), certify(&tls), "ak_chain")]
    {
        let options = world.authority.admission(device, attestation);
        let (error, words) = refusal(caller.daemon.complete_enrolment(&options).await.unwrap_err());
        assert_eq!(error, "InvalidArgument");
        assert!(words.contains(&format!("the leaf of {name}")), "{words}");
    }
    let good = world.authority.admission(certify(&tls), certify(&ak));
    for (member, value) in [
        ("authority", "http://authority.example".into()),
        ("rp_id", "Presence.Example/".into()),
        ("operator", "".into()),
        ("device_id", vec![2u8; 17].into()),
        ("device_chain", Vec::<Vec<u8>>::new().into()),
    ] {
        let options = with(good.clone_all(), member, value);
        let (error, words) = refusal(caller.daemon.complete_enrolment(&options).await.unwrap_err());
        assert_eq!(error, "InvalidArgument");
        assert!(words.contains(member), "{words}");
    }
    assert!(!caller.daemon.enrolled().await.unwrap());
    caller.daemon.complete_enrolment(&good).await.unwrap();
}

trait CloneAll {
    fn clone_all(&self) -> Self;
}

impl CloneAll for crate::client::Options {
    fn clone_all(&self) -> Self {
        self.iter().map(|(name, value)| (*name, value.try_clone().unwrap())).collect()
    }
}

#[tokio::test]
async fn fresh_certificates_replace_old_ones_but_another_enrolment_does_not() {
    let world = World::enrolled(vec![], "").await;
    let caller = world.caller().await;
    let before = caller.daemon.device_certificates().await.unwrap();
    world.enrol(&caller).await;
    let after = caller.daemon.device_certificates().await.unwrap();
    assert_ne!(before[0], after[0]);
    let introduction = caller.daemon.begin_enrolment().await.unwrap();
    let (ak, tls) = (bytes(&introduction, "ak_public"), bytes(&introduction, "tls_public"));
    let admission =
        world.authority.admission(world.authority.certify(&tls), world.authority.certify(&ak));
    let elsewhere = with(admission, "authority", "https://other.example".into());
    let (error, words) = refusal(caller.daemon.complete_enrolment(&elsewhere).await.unwrap_err());
    assert_eq!(error, "AlreadyEnrolled");
    assert!(words.contains("signetd --forget") && words.contains(AUTHORITY), "{words}");
    assert_eq!(caller.daemon.device_certificates().await.unwrap(), after);
}

#[tokio::test]
async fn a_kill_between_any_two_steps_leaves_nothing_half_enrolled() {
    let mut world = World::with_keys(vec![]);
    let caller = world.caller().await;
    let introduction = caller.daemon.begin_enrolment().await.unwrap();
    world.signetd.restart().unwrap();
    assert!(!caller.daemon.enrolled().await.unwrap());
    // The pending key outlived the kill, so the authority's answer still fits.
    let exchange = world.authority.challenge(&world.tpm, &introduction, "ecc-p256");
    let activated = caller.daemon.activate_enrolment(&exchange.options()).await.unwrap();
    world.signetd.restart().unwrap();
    assert!(!caller.daemon.enrolled().await.unwrap());
    let admission = world.authority.admit(&exchange, &activated);
    caller.daemon.complete_enrolment(&admission).await.unwrap();
    world.signetd.restart().unwrap();
    assert!(caller.daemon.enrolled().await.unwrap());
    let mut pending = caller.presence("renew", &renewal()).await.unwrap();
    pending.results().await;
}

#[tokio::test]
async fn a_full_disk_is_named_and_nothing_is_lost() {
    let mut world = World::with_keys(vec![]);
    let caller = world.caller().await;
    let introduction = caller.daemon.begin_enrolment().await.unwrap();
    let exchange = world.authority.challenge(&world.tpm, &introduction, "ecc-p256");
    let activated = caller.daemon.activate_enrolment(&exchange.options()).await.unwrap();
    let admission = world.authority.admit(&exchange, &activated);
    world.signetd.limit_file_size(Some(512));
    world.signetd.restart().unwrap();
    let (error, words) = refusal(caller.daemon.complete_enrolment(&admission).await.unwrap_err());
    assert_eq!(error, "StateUnwritable");
    let file = world.signetd.state_dir().join("state");
    assert!(words.contains(file.to_str().unwrap()) && words.contains("free some space"), "{words}");
    assert!(!caller.daemon.enrolled().await.unwrap());
    world.signetd.limit_file_size(None);
    world.signetd.restart().unwrap();
    caller.daemon.complete_enrolment(&admission).await.unwrap();
    assert!(caller.daemon.enrolled().await.unwrap());
}

#[tokio::test]
async fn a_damaged_state_file_stops_the_start_and_says_so() {
    let mut world = World::enrolled(vec![], "").await;
    world.signetd.kill();
    let file = world.signetd.state_dir().join("state");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let error = world.signetd.restart().unwrap_err().to_string();
    assert!(error.contains(file.to_str().unwrap()) && error.contains("--forget"), "{error}");
    fs::write(&file, &whole).unwrap();
    world.signetd.restart().unwrap();
    assert!(world.caller().await.daemon.enrolled().await.unwrap());
}

#[tokio::test]
async fn a_cleared_tpm_is_seen_and_the_machine_can_be_enrolled_again() {
    let mut world = World::enrolled(vec![], "").await;
    world.signetd.kill();
    world.tpm.run_tool("tpm2_clear", &["-c", "p"]).unwrap();
    world.signetd.restart().unwrap();
    let caller = world.caller().await;
    let mut pending = caller.presence("renew", &renewal()).await.unwrap();
    let (outcome, words) = pending.outcome().await;
    assert_eq!(outcome, "TpmCleared");
    assert!(words.contains("enrol this machine again"), "{words}");
    world.enrol(&caller).await;
    let mut pending = caller.presence("again", &renewal()).await.unwrap();
    pending.results().await;
}
