//! Signing keys that change while the authority serves, keys in a PKCS#11 token (SoftHSM), and CAs under
//! a CA of the organisation: the program itself.
#![allow(clippy::unwrap_used)] // A test's helper may fail as its test may.

mod made;

use std::path::Path;
use std::process::Command;

use rcgen::{CertificateParams, CertificateSigningRequestParams, Issuer, KeyPair};
use serde_json::{Value, json};

use made::{Made, Serving, mode, text};

/// What the authority publishes now.
async fn published(client: &reqwest::Client, serving: &Serving) -> Vec<Value> {
    let url = format!("https://{}/jwks.json", serving.address);
    let set: Value = client.get(url).send().await.unwrap().json().await.unwrap();
    set["keys"].as_array().unwrap().clone()
}

/// Returns once the keys are as `good` says: the authority looks each second.
async fn until(
    client: &reqwest::Client,
    serving: &Serving,
    good: impl Fn(&[Value]) -> bool,
) -> Vec<Value> {
    loop {
        let keys = published(client, serving).await;
        if good(&keys) {
            return keys;
        }
        tokio::task::yield_now().await;
    }
}

fn kids(made: &Made) -> Vec<(String, String)> {
    let listed = made.json(&["keys", "list"]);
    let tokens = listed.iter().filter(|one| one["use"] == "token");
    let text = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
    tokens.map(|one| (text(one, "kid"), text(one, "state"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_serving_authority_takes_up_new_token_keys() {
    let made = Made::new();
    let serving = made.serve();
    let client = made.client();
    let first = published(&client, &serving).await;
    assert_eq!(first.len(), 1);
    let rotated = &made.json(&["keys", "rotate"])[0];
    let file = made.dir().join("keys").join(rotated["file"].as_str().unwrap());
    assert_eq!(mode(&file), 0o600);
    let both = until(&client, &serving, |keys| keys.len() == 2).await;
    assert_eq!(both[0], first[0]);
    let states: Vec<String> = kids(&made).into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, ["signing", "next"]);
    let again = made.run(&["keys", "rotate"]);
    assert!(text(&again.stderr).contains("about to take over already"));

    made.json(&["keys", "rotate", "--emergency"]);
    let only = until(&client, &serving, |keys| keys.len() == 1).await;
    assert!(!both.contains(&only[0]));
    assert_eq!(kids(&made), [(only[0]["kid"].as_str().unwrap().to_owned(), "signing".into())]);
    assert!(!file.exists() && !made.dir().join("keys/token.key").exists());
    let events = made.json(&["audit", "list", "--event", "keys"]);
    assert_eq!(events.len(), 2);
    assert!(events[1]["detail"].as_str().unwrap().contains("at once"));
}

/// A SoftHSM token with a P-256 key and an Ed25519 key, whose PIN lies beside the keys.
struct SoftToken {
    settings: std::path::PathBuf,
}

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

impl SoftToken {
    fn new(made: &Made) -> Self {
        let folder = made.folder.path();
        std::fs::create_dir(folder.join("tokens")).unwrap();
        let settings = folder.join("softhsm2.conf");
        let text = format!("directories.tokendir = {}\n", folder.join("tokens").display());
        std::fs::write(&settings, text).unwrap();
        let token = Self { settings };
        token.tool(
            "softhsm2-util",
            &["--init-token", "--free", "--label", "signet", "--so-pin", "0000", "--pin", "1234"],
        );
        for (kind, name) in [("EC:prime256v1", "token-1"), ("EC:edwards25519", "log-1")] {
            token.tool(
                "pkcs11-tool",
                &[
                    "--module",
                    MODULE,
                    "--login",
                    "--pin",
                    "1234",
                    "--token-label",
                    "signet",
                    "--keypairgen",
                    "--key-type",
                    kind,
                    "--label",
                    name,
                ],
            );
        }
        let keys = made.dir().join("keys");
        for (file, content) in [
            ("pkcs11.pin", "1234\n".to_owned()),
            ("token.key", Self::uri("token-1")),
            ("log.key", Self::uri("log-1")),
        ] {
            let path = keys.join(file);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
                .unwrap();
        }
        token
    }

    fn uri(object: &str) -> String {
        format!("pkcs11:token=signet;object={object}?module-path={MODULE}&pin-source=pkcs11.pin\n")
    }

    fn tool(&self, program: &str, arguments: &[&str]) {
        let output = Command::new(program)
            .args(arguments)
            .env("SOFTHSM2_CONF", &self.settings)
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}; install softhsm2 and opensc"));
        assert!(output.status.success(), "{program}: {}", text(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_in_a_token_sign_and_are_rotated_there() {
    let mut made = Made::new();
    let token = SoftToken::new(&made);
    made.environment = vec![("SOFTHSM2_CONF".into(), token.settings.clone().into())];
    let serving = made.serve();
    let client = made.client();
    let first = published(&client, &serving).await;
    let status = client.get(format!("https://{}/status/0", serving.address)).send().await.unwrap();
    assert_eq!(status.status(), reqwest::StatusCode::OK, "it signs");
    let list = status.text().await.unwrap();
    let header: Value = {
        use base64::Engine;
        let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        serde_json::from_slice(&engine.decode(list.split('.').next().unwrap()).unwrap()).unwrap()
    };
    assert_eq!(header["kid"], first[0]["kid"]);
    // A record, and a checkpoint signed in the token.
    made.json(&["keys", "rotate"]);
    until(&client, &serving, |keys| keys.len() == 2).await;
    let all_signed = || {
        let report = made.json(&["audit", "verify"]).remove(0);
        report["signed"] == report["records"]
    };
    while !all_signed() {
        tokio::task::yield_now().await;
    }
    let made_file = made.json(&["keys", "list"])[1]["file"].as_str().unwrap().to_owned();
    let uri = std::fs::read_to_string(made.dir().join("keys").join(made_file)).unwrap();
    assert!(uri.starts_with("pkcs11:token=signet;object=token-"), "{uri}");
    drop(serving);

    let key = made.dir().join("keys/token.key");
    for (text_of_file, said) in [
        (SoftToken::uri("token-9"), "has no private key called \"token-9\""),
        (SoftToken::uri("log-1"), "has no suitable key called \"log-1\""),
        (
            SoftToken::uri("token-1").replace("token=signet", "token=other"),
            "no token called \"other\"",
        ),
        ("pkcs11:token=signet\n".to_owned(), "not a URI such as"),
    ] {
        std::fs::write(&key, text_of_file).unwrap();
        let refused = text(&made.run(&["serve"]).stderr);
        assert!(refused.contains(said), "{said}: {refused}");
    }
}

fn import(made: &Made, pem: &str) -> std::process::Output {
    let file = made.folder.path().join("certificate.pem");
    std::fs::write(&file, pem).unwrap();
    made.run(&["keys", "import", "gateway", file.to_str().unwrap()])
}

#[test]
fn a_ca_of_the_organisation_certifies_ours() {
    let made = Made::new();
    let request = text(&made.run(&["keys", "request", "gateway"]).stdout);
    assert!(request.starts_with("-----BEGIN CERTIFICATE REQUEST-----"), "{request}");
    let root_key = KeyPair::generate().unwrap();
    let root = Issuer::new(CertificateParams::default(), root_key);
    let certify = |request: &str| {
        let params = CertificateSigningRequestParams::from_pem(request).unwrap();
        params.signed_by(&root).unwrap().pem()
    };
    let good = certify(&request);
    let imported = import(&made, &good);
    assert!(imported.status.success(), "{}", text(&imported.stderr));
    let now = std::fs::read_to_string(made.dir().join("keys/gateway-ca.pem")).unwrap();
    let der = |pem: &str| pem.lines().filter(|line| !line.starts_with('-')).collect::<String>();
    assert_eq!(der(&now), der(&good.replace('\r', "")));
    let out = made.folder.path().join("edge");
    made.json(&["gateway", "edge", "--out", out.to_str().unwrap()]);
    assert_eq!(made.json(&["config", "check"]), [json!({"ok": true})]);

    let other = text(&made.run(&["keys", "request", "device"]).stdout);
    let refused = import(&made, &certify(&other));
    assert!(
        text(&refused.stderr).contains("not a CA certificate of this key and name"),
        "{}",
        text(&refused.stderr)
    );
    let refused = import(&made, "none");
    assert!(!refused.status.success());
    assert_eq!(std::fs::read_to_string(made.dir().join("keys/gateway-ca.pem")).unwrap(), now);
    assert!(Path::new(&out.join("authority-log.vkey")).exists());
}
