//! What the columns have in common.

use serde_json::Value;
use signet_client::inspection::UnverifiedJwt;
use signet_test_authenticators::{VirtualKey, command};
use signet_tests::house::{Pending, Ran};

use crate::bench::Bench;
use crate::document::Outcome;

pub(crate) const ROUTE: &str = "https://ctl.mesh.example/v1/namespaces/payments/routes/ledger";

/// A command that brought a token, or wrote one to the cache.
pub(crate) fn done(ran: &Ran) -> Value {
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.stderr, ran.stdout);
    ran.json()
}

/// The session's token says what the table promises for `authenticator`.
pub(crate) async fn session_is_as_documented(bench: &Bench, authenticator: &str) {
    let token = bench.good(&["token"]).await;
    is_as_documented(token["access_token"].as_str().unwrap(), authenticator);
}

/// A token says what the table promises for `authenticator`.
pub(crate) fn is_as_documented(token: &str, authenticator: &str) {
    let claims = UnverifiedJwt::parse(token).unwrap().claims;
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
    };
    let found =
        Outcome { acr: claims["acr"].as_str().unwrap().to_owned(), amr: texts(&claims["amr"]) };
    assert_eq!(found, Outcome::documented(authenticator), "{authenticator}");
}

/// The arguments that approve an action on a route.
pub(crate) fn approve() -> [&'static str; 5] {
    ["approve", "PUT", ROUTE, "--action", "mesh.route.update"]
}

/// Waits until the key asks for a person.
pub(crate) async fn blinks(key: &VirtualKey) {
    let control = key.control_socket();
    let waited = tokio::task::spawn_blocking(move || command(&control, "wait"));
    waited.await.unwrap().unwrap();
}

/// Begins `signet --json login` and returns once the key blinks.
pub(crate) async fn login_under_way(bench: &Bench, key: &VirtualKey) -> Pending {
    let pending = bench.station.begin(&["--json", "login"], b"").await.unwrap();
    blinks(key).await;
    pending
}
