//! Sessions: login, the cache, renewal by the TPM, logout.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use signet_client::inspection::UnverifiedJwt;

use crate::bench::{Bench, refused};

fn claims(token: &Value) -> serde_json::Map<String, Value> {
    UnverifiedJwt::parse(token["access_token"].as_str().unwrap()).unwrap().claims
}

#[tokio::test(flavor = "multi_thread")]
async fn a_touch_begins_a_session_and_the_tpm_renews_it() {
    let (bench, session) = Bench::logged_in().await;
    assert_eq!((&session["subject"], &session["acr"]), (&"alice".into(), &"signet.uv-hw".into()));
    assert!(session.get("access_token").is_none(), "login prints no token");
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(bench.cache()), 0o600);
    assert_eq!(mode(bench.cache().parent().unwrap().to_owned()), 0o700);

    let first = bench.good(&["token"]).await;
    assert_eq!(bench.good(&["token"]).await["access_token"], first["access_token"]);
    assert_eq!(claims(&first)["sid"], session["session"]);
    let audience = claims(&first)["aud"].as_str().unwrap().to_owned();
    bench.good(&["token", "--audience", &audience]).await;
    bench.bad(&["token", "--audience", "elsewhere"], 1, "failed").await;

    // Nobody touches anything from here on.
    bench.set_cached("renew_at", 0);
    let second = bench.good(&["token"]).await;
    assert_ne!(second["access_token"], first["access_token"]);
    for kept in ["sid", "auth_time", "sub", "acr"] {
        assert_eq!(claims(&second)[kept], claims(&first)[kept], "{kept}");
    }
    bench.set_cached("expires", 0);
    let third = bench.good(&["token"]).await;
    assert_ne!(third["access_token"], second["access_token"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_that_ran_out_asks_for_a_touch_in_the_same_session() {
    let (bench, session) = Bench::logged_in().await;
    bench.set_cached("presence_expires", 0);
    // The token that is there serves to its end.
    bench.good(&["token"]).await;
    bench.age_cached(301);
    let message = bench.bad(&["token"], 1, "presence-over").await;
    assert!(message.contains("signet login"), "{message}");
    bench.station.put_finger().unwrap();
    let again = bench.good(&["login"]).await;
    assert_eq!(again["session"], session["session"]);
    bench.station.put_finger().unwrap();
    let other = bench.good(&["login", "--new"]).await;
    assert_ne!(other["session"], session["session"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_and_one_renewal() {
    let (bench, _) = Bench::logged_in().await;
    let before = bench.tokens_given();
    bench.set_cached("renew_at", 0);
    let tokens = tokens_of_callers(&bench, 6).await;
    assert_eq!((tokens.len(), bench.tokens_given() - before), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_was_away_is_survived() {
    let (mut bench, _) = Bench::logged_in().await;
    bench.authority.kill();
    // A token that is good is used; one that has run out is missed, with the reason.
    bench.set_cached("renew_at", 0);
    bench.good(&["token"]).await;
    bench.set_cached("expires", 0);
    let message = bench.bad(&["token"], 3, "unavailable").await;
    assert!(message.contains("cannot reach the authority"), "{message}");
    bench.authority.serve().unwrap();
    bench.good(&["token"]).await;
}

/// The tokens that so many callers at once get.
async fn tokens_of_callers(bench: &Bench, callers: usize) -> std::collections::HashSet<String> {
    let mut waiting = Vec::new();
    for _ in 0..callers {
        waiting.push(bench.station.begin(&["--json", "token"], b"").await.unwrap());
    }
    let mut tokens = std::collections::HashSet::new();
    for pending in waiting {
        let ran = pending.finish().await.unwrap();
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        tokens.insert(ran.json()["access_token"].as_str().unwrap().to_owned());
    }
    tokens
}

#[tokio::test(flavor = "multi_thread")]
async fn renewals_survive_a_restarted_authority_one_at_a_time() {
    let (mut bench, session) = Bench::logged_in().await;
    let before = bench.tokens_given();
    let first = bench.good(&["token"]).await;
    bench.authority.kill();
    bench.set_cached("renew_at", 0);
    // A renewal is due and nobody answers: the token that is there serves all.
    let meanwhile = tokens_of_callers(&bench, 3).await;
    assert_eq!(meanwhile, [first["access_token"].as_str().unwrap().to_owned()].into());
    bench.authority.serve().unwrap();
    bench.set_cached("renew_at", 0);
    let tokens = tokens_of_callers(&bench, 6).await;
    assert_eq!((tokens.len(), bench.tokens_given() - before), (1, 1));
    assert!(tokens.is_disjoint(&meanwhile));
    assert_eq!(claims(&bench.good(&["token"]).await)["sid"], session["session"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_revokes_and_forgets() {
    let (bench, _) = Bench::logged_in().await;
    bench.good(&["logout"]).await;
    assert!(!bench.cache().exists());
    bench.bad(&["token"], 1, "not-logged-in").await;
    bench.good(&["logout"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_session_is_not_renewed_and_login_begins_another() {
    let (bench, session) = Bench::logged_in().await;
    let id = session["session"].as_str().unwrap();
    bench.authority.revoke("session", id).unwrap();
    bench.set_cached("expires", 0);
    bench.bad(&["token"], 1, "session-ended").await;
    // One finger for the session that turns out to be over, one for the new one.
    bench.station.put_finger().unwrap();
    bench.station.put_finger().unwrap();
    let again = bench.good(&["login"]).await;
    assert_ne!(again["session"].as_str().unwrap(), id);
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_goes_to_a_file_and_can_be_read() {
    let bench = Bench::ready().await;
    bench.station.put_finger().unwrap();
    let made = bench.good(&["present", "-o", "evidence"]).await;
    assert_eq!((&made["purpose"], &made["subject"]), (&"session".into(), &"alice".into()));
    let shown = bench.good(&["inspect", "evidence"]).await;
    let content = &shown["content"];
    assert_eq!(content["statement"]["subject"], "alice");
    assert_eq!(content["assertion"]["authenticator_data"]["user_verified"], true);
    assert_eq!(content["tpm"]["quote"]["refers_to_this_statement"], true);
    assert_eq!(content["tpm"]["certification"]["refers_to_this_statement"], true);
    let ran = bench.station.signet(&["inspect", "evidence"]).await.unwrap();
    assert!(ran.stderr.starts_with("NOT VERIFIED"), "{}", ran.stderr);
    assert!(ran.stdout.contains("user_verified: yes"), "{}", ran.stdout);

    let made = bench.good(&["present", "--purpose", "workload", "-o", "workload"]).await;
    assert_eq!(made["purpose"], "workload");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_is_approved_by_a_touch_of_its_own() {
    let bench = Bench::ready().await;
    let url = "https://ctl.mesh.example/v1/namespaces/payments/routes/ledger?dry=0";
    std::fs::write(bench.station.file("body"), "{\"weight\": 10}").unwrap();
    let approve = ["approve", "PUT", url, "--body", "body", "--action", "mesh.route.update"];
    bench.station.put_finger().unwrap();
    let ran = bench.station.signet(&approve).await.unwrap();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for line in [
        "You approve mesh.route.update",
        "PUT https://ctl.mesh.example/v1/namespaces/payments/routes/ledger?dry=0",
    ] {
        assert!(ran.stderr.contains(line), "{line:?} in {}", ran.stderr);
    }
    let claims = UnverifiedJwt::parse(ran.stdout.trim()).unwrap().claims;
    let action = &claims["authorization_details"][0];
    assert_eq!(
        (&action["method"], &action["path"]),
        (&"PUT".into(), &"/v1/namespaces/payments/routes/ledger?dry=0".into())
    );
    assert!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap() <= 60);
    // No session came of it.
    bench.bad(&["token"], 1, "not-logged-in").await;

    // A touch cannot approve what policy lets pass nowhere.
    bench.station.put_finger().unwrap();
    let nowhere = "https://ctl.mesh.example/v1/everything";
    bench
        .bad(&["approve", "DELETE", nowhere, "--action", "mesh.route.update"], 1, "policy-denied")
        .await;

    let ambiguous = ["approve", "PUT", "https://a.example/a%2fb", "--action", "a.b"];
    refused(&bench.run(&ambiguous).await, 2, "failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ended_with_the_boot_is_forgotten_and_one_touch_begins_another() {
    let (mut bench, session) = Bench::logged_in().await;
    bench.station.tpm.restart().unwrap();
    bench.station.signetd.restart().unwrap();
    bench.bad(&["token", "--renew"], 1, "tpm-rebooted").await;
    assert!(!bench.cache().exists());
    bench.bad(&["token"], 1, "not-logged-in").await;
    // One touch: none is spent on the session that is over.
    bench.station.put_finger().unwrap();
    let again = bench.good(&["login"]).await;
    assert_ne!(again["session"], session["session"]);
}
