//! Signing keys that change while the authority serves, keys in a PKCS#11 token (SoftHSM), and CAs under
//! a CA of the organisation: the program itself.
#![allow(clippy::unwrap_used)] // A test's helper may fail as its test may.

mod made;

use std::path::Path;
use std::process::Command;

use rcgen::{CertificateParams, CertificateSigningRequestParams, Issuer, KeyPair};
use serde_json::{Value, json};
use signet_authority::keys;
use signet_authority::state::system_clock;
use signet_verifier::certificate::{TrustAnchors, VerifiedPath};

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

/// Writes a file into the directory of keys that only its owner reads.
fn secret(made: &Made, file: &str, content: &str) {
    let path = made.dir().join("keys").join(file);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// Puts a key that lies in a file into the token, as the page on operating says.
fn import(tool: impl Fn(&[&str]), made: &Made, file: &str, object: &str) {
    let (key, der) = (made.dir().join("keys").join(file), made.folder.path().join("key.der"));
    let done = Command::new("openssl")
        .args(["pkcs8", "-topk8", "-nocrypt", "-outform", "DER", "-in"])
        .arg(&key)
        .arg("-out")
        .arg(&der)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    tool(&["--write-object", der.to_str().unwrap(), "--type", "privkey", "--label", object]);
    let public = Command::new("openssl")
        .args(["pkey", "-inform", "DER", "-pubout", "-outform", "DER", "-in"])
        .arg(&der)
        .output()
        .unwrap();
    std::fs::write(&der, public.stdout).unwrap();
    tool(&["--write-object", der.to_str().unwrap(), "--type", "pubkey", "--label", object]);
}

/// Where each key lies, by its file.
fn places(made: &Made) -> std::collections::BTreeMap<String, String> {
    let word = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
    made.json(&["keys", "list"]).iter().map(|one| (word(one, "file"), word(one, "place"))).collect()
}

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
        let kinds =
            [("EC:prime256v1", "token-1"), ("EC:prime256v1", "ca-1"), ("EC:edwards25519", "log-1")];
        for (kind, name) in kinds {
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
        for (file, content) in [
            ("pkcs11.pin", "1234\n".to_owned()),
            ("token.key", Self::uri("token-1")),
            ("log.key", Self::uri("log-1")),
        ] {
            secret(made, file, &content);
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

    // Two PINs that are each said to lie in an object that the other opens, and one that is its own.
    let data =
        |pin: &str| SoftToken::uri("pin").replace('?', ";type=data?").replace("pkcs11.pin", pin);
    for (file, pin) in [("one.pin", "two.pin"), ("two.pin", "one.pin"), ("own.pin", "own.pin")] {
        secret(&made, file, &data(pin));
    }
    let key = made.dir().join("keys/token.key");
    for (text_of_file, said) in [
        (
            SoftToken::uri("token-1").replace("pkcs11.pin", "one.pin"),
            "\"one.pin\" is itself in a token",
        ),
        (
            SoftToken::uri("token-1").replace("pkcs11.pin", "own.pin"),
            "\"own.pin\" is itself in a token",
        ),
        (data("own.pin"), "\"own.pin\" is itself in a token"),
        (
            SoftToken::uri("token-1").replace("pkcs11.pin", "pkcs11:token=signet;object=pin"),
            "\"pkcs11:token=signet;object=pin\" is itself in a token",
        ),
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

fn take(made: &Made, pem: &str) -> std::process::Output {
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
    let imported = take(&made, &good);
    assert!(imported.status.success(), "{}", text(&imported.stderr));
    let now = std::fs::read_to_string(made.dir().join("keys/gateway-ca.pem")).unwrap();
    let der = |pem: &str| pem.lines().filter(|line| !line.starts_with('-')).collect::<String>();
    assert_eq!(der(&now), der(&good.replace('\r', "")));
    let out = made.folder.path().join("edge");
    made.json(&["gateway", "edge", "--out", out.to_str().unwrap()]);
    assert_eq!(made.json(&["config", "check"]), [json!({"ok": true})]);

    let other = text(&made.run(&["keys", "request", "device"]).stdout);
    let refused = take(&made, &certify(&other));
    assert!(
        text(&refused.stderr).contains("not a CA certificate of this key and name"),
        "{}",
        text(&refused.stderr)
    );
    let refused = take(&made, "none");
    assert!(!refused.status.success());
    assert_eq!(std::fs::read_to_string(made.dir().join("keys/gateway-ca.pem")).unwrap(), now);
    assert!(Path::new(&out.join("authority-log.vkey")).exists());
}

const PIN: [&str; 6] = ["--login", "--pin", "1234", "--token-label", "signet", "--module"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_can_be_in_a_token_and_is_used_there() {
    let mut made = Made::new();
    let token = SoftToken::new(&made);
    made.environment = vec![("SOFTHSM2_CONF".into(), token.settings.clone().into())];
    let tool = |arguments: &[&str]| {
        token.tool("pkcs11-tool", &[&PIN[..], &[MODULE], arguments].concat());
    };
    // A CA goes on with the key that it has; secrets that no token can use are kept in objects.
    import(tool, &made, "gateway-ca.key", "gateway-ca");
    secret(&made, "gateway-ca.key", &SoftToken::uri("gateway-ca"));
    let integrity = made.dir().join("keys/integrity.key");
    let data = integrity.to_str().unwrap();
    tool(&["--write-object", data, "--type", "data", "--label", "integrity", "--private"]);
    let uri = SoftToken::uri("integrity").replace('?', ";type=data?");
    secret(&made, "integrity.key", &uri);
    let out = made.folder.path().join("edge");
    made.json(&["gateway", "edge", "--out", out.to_str().unwrap()]);
    let certified = Command::new("openssl")
        .arg("verify")
        .arg("-CAfile")
        .arg(made.dir().join("keys/gateway-ca.pem"))
        .arg(out.join("edge.pem"))
        .output()
        .unwrap();
    assert!(certified.status.success(), "{}", text(&certified.stderr));
    let places = places(&made);
    for file in ["token.key", "log.key", "gateway-ca.key", "integrity.key"] {
        assert_eq!(places[file], "token", "{file}");
    }
    assert_eq!(places["device-ca.key"], "file");
    // The log's next key is made there, too.
    let rotated = &made.json(&["keys", "rotate", "log"])[0];
    let file = made.dir().join("keys").join(rotated["file"].as_str().unwrap());
    assert!(std::fs::read_to_string(file).unwrap().starts_with("pkcs11:token=signet;object=log-"));
    // And so is a CA's: with two keys of it in the token, the later one issues.
    let rotated = &made.json(&["keys", "rotate", "gateway-ca", "--ahead", "0s"])[0];
    let file = made.dir().join("keys").join(rotated["file"].as_str().unwrap());
    let uri = std::fs::read_to_string(file).unwrap();
    assert!(uri.starts_with("pkcs11:token=signet;object=gateway-ca-"), "{uri}");
    made.json(&["gateway", "later", "--out", out.to_str().unwrap()]);
    let bundle = keys::read_certificates(&made.dir().join("keys/gateway-ca.pem")).unwrap();
    assert_eq!(bundle.len(), 2);
    for (name, issuer) in [("edge", 0), ("later", 1)] {
        let leaf = keys::read_certificates(&out.join(format!("{name}.pem"))).unwrap();
        let anchors = TrustAnchors::from_der([&bundle[issuer]]).unwrap();
        VerifiedPath::verify(&leaf[0], &[], &anchors, None, system_clock()()).unwrap();
    }
    // A key that is not the certificate's is no CA's.
    secret(&made, "gateway-ca.key", &SoftToken::uri("ca-1"));
    let refused = text(&made.run(&["gateway", "other", "--out", out.to_str().unwrap()]).stderr);
    assert!(refused.contains("gateway-ca.pem does not hold what its name says"), "{refused}");
}

/// A software TPM, for tpm2-pkcs11.
struct SoftTpm(std::process::Child, u16);

impl Drop for SoftTpm {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl SoftTpm {
    fn start(folder: &Path) -> Self {
        // The TSS looks for the control channel on the next port.
        let port = loop {
            let one = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let port = one.local_addr().unwrap().port();
            if std::net::TcpListener::bind(("127.0.0.1", port.saturating_add(1))).is_ok() {
                break port;
            }
        };
        let pid = folder.join("pid");
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={}", folder.display()))
            .arg("--server")
            .arg(format!("type=tcp,port={port},bindaddr=127.0.0.1,disconnect=no"))
            .arg("--ctrl")
            .arg(format!("type=tcp,port={},bindaddr=127.0.0.1", port + 1))
            .arg("--pid")
            .arg(format!("file={}", pid.display()))
            .spawn()
            .unwrap();
        // It listens before it writes this.
        while !pid.exists() {
            std::thread::yield_now();
        }
        Self(child, port)
    }
}

const TPM_MODULE: &str = "/usr/lib/x86_64-linux-gnu/pkcs11/libtpm2_pkcs11.so";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_in_a_tpm_sign_by_tpm2_pkcs11() {
    let mut made = Made::new();
    let folder = made.folder.path().join("tpm");
    std::fs::create_dir_all(folder.join("store")).unwrap();
    let tpm = SoftTpm::start(&folder);
    made.environment = vec![
        ("TPM2_PKCS11_STORE".into(), folder.join("store").into()),
        ("TPM2_PKCS11_TCTI".into(), format!("swtpm:host=127.0.0.1,port={}", tpm.1).into()),
        ("TSS2_LOG".into(), "all+none".into()),
    ];
    let tool = |arguments: &[&str]| {
        let output = Command::new("pkcs11-tool")
            .args(["--module", TPM_MODULE])
            .args(arguments)
            .envs(made.environment.iter().cloned())
            .output()
            .unwrap();
        let said = text(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}; install libtpm2-pkcs11-1");
    };
    tool(&["--slot-index", "0", "--init-token", "--label", "signet", "--so-pin", "0000"]);
    let so = ["--token-label", "signet", "--login", "--login-type", "so", "--so-pin", "0000"];
    tool(&[&so[..], &["--init-pin", "--pin", "1234"]].concat());
    let user = &PIN[..5];
    let make = ["--keypairgen", "--key-type", "EC:prime256v1", "--label", "token-1"];
    tool(&[user, &make].concat());
    // A TPM has no Ed25519: it keeps the log's key for us.
    let log = made.dir().join("keys/log.key");
    let kept = ["--write-object", log.to_str().unwrap(), "--type", "data", "--label", "log-1"];
    tool(&[user, &kept, &["--private"]].concat());
    let uri = |object: &str| SoftToken::uri(object).replace(MODULE, TPM_MODULE);
    secret(&made, "pkcs11.pin", "1234\n");
    secret(&made, "token.key", &uri("token-1"));
    let before = made.json(&["audit", "key"]);
    secret(&made, "log.key", &uri("log-1").replace('?', ";type=data?"));
    assert_eq!(made.json(&["audit", "key"]), before);
    // The next keys are made in the same places: in the TPM, and kept by it.
    made.json(&["keys", "rotate"]);
    let rotated = &made.json(&["keys", "rotate", "log"])[0];
    let places = places(&made);
    assert_eq!(places[rotated["file"].as_str().unwrap()], "token");
    assert_eq!(places["token.key"], "token");
    let serving = made.serve();
    let client = made.client();
    let status = client.get(format!("https://{}/status/0", serving.address)).send().await.unwrap();
    assert_eq!(status.status(), reqwest::StatusCode::OK, "it signs");
    assert_eq!(published(&client, &serving).await.len(), 2);
}

#[test]
fn keys_under_a_passphrase_open_with_the_credential_only() {
    let mut made = Made::new();
    let provided = made.folder.path().join("provided");
    std::fs::create_dir(&provided).unwrap();
    std::fs::write(provided.join("passphrase"), "correct horse\n").unwrap();
    let key = made.json(&["audit", "key"]);
    let without = std::mem::take(&mut made.environment);
    made.environment = vec![("CREDENTIALS_DIRECTORY".into(), provided.clone().into())];
    let files = made.json(&["keys", "protect"])[0]["files"].as_array().unwrap().len();
    assert_eq!(files, 8, "token, log, challenge, integrity and four CAs");
    let sealed = std::fs::read_to_string(made.dir().join("keys/device-ca.key")).unwrap();
    assert!(sealed.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"), "{sealed}");
    assert_eq!(mode(&made.dir().join("keys/device-ca.key")), 0o600);
    assert_eq!(made.json(&["audit", "key"]), key);
    assert_eq!(made.json(&["keys", "protect"])[0]["files"], json!([]), "all are");
    // New keys are under it, too; it serves.
    let rotated = &made.json(&["keys", "rotate", "log"])[0];
    assert_eq!(places(&made)[rotated["file"].as_str().unwrap()], "passphrase");
    drop(made.serve());
    // Others read the same form.
    let openssl = |file: &str| {
        Command::new("openssl")
            .args(["pkey", "-noout", "-passin"])
            .arg(format!("file:{}", provided.join("passphrase").display()))
            .arg("-in")
            .arg(made.dir().join("keys").join(file))
            .output()
            .unwrap()
    };
    assert!(openssl("device-ca.key").status.success());
    let by_openssl = Command::new("openssl")
        .args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"])
        .args(["-aes-256-cbc", "-pass"])
        .arg(format!("file:{}", provided.join("passphrase").display()))
        .output()
        .unwrap();
    secret(&made, "token.key", &text(&by_openssl.stdout));
    assert_eq!(places(&made)["token.key"], "passphrase");
    // Nobody is at a terminal, and a wrong one opens nothing.
    made.environment = without;
    let refused = text(&made.command(&["audit", "key"]).output().unwrap().stderr);
    assert!(refused.contains("provide the credential"), "{refused}");
    std::fs::write(provided.join("passphrase"), "battery staple").unwrap();
    made.environment = vec![("CREDENTIALS_DIRECTORY".into(), provided.clone().into())];
    let refused = text(&made.run(&["audit", "key"]).stderr);
    assert!(refused.contains("the passphrase is wrong"), "{refused}");
    std::fs::write(provided.join("passphrase"), "correct horse").unwrap();
    made.json(&["keys", "protect", "--remove"]);
    made.environment = Vec::new();
    assert_eq!(places(&made)["challenge.key"], "file");
}

/// A person at a terminal: `script` gives the program one, and types.
#[test]
fn a_person_is_asked_for_the_passphrase() {
    let made = Made::new();
    let typed = |arguments: &str, lines: &str| {
        let program = format!(
            "{} {arguments} --config {}",
            made::PROGRAM,
            made.dir().join("authority.toml").display()
        );
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--echo", "never", "--command", &program, "/dev/null"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut said = String::new();
        // What is typed before the question is thrown away.
        for line in lines.lines() {
            let asked = said.matches(": ").count();
            let mut byte = [0];
            while said.matches(": ").count() == asked {
                std::io::Read::read_exact(&mut out, &mut byte).unwrap();
                said.push(char::from(byte[0]));
            }
            std::io::Write::write_all(&mut input, format!("{line}\n").as_bytes()).unwrap();
        }
        std::io::Read::read_to_string(&mut out, &mut said).unwrap();
        (child.wait().unwrap().success(), said)
    };
    let (done, said) = typed("keys protect", "correct horse\nbattery staple\n");
    assert!(!done && said.contains("the two are not the same"), "{said}");
    let (done, said) = typed("keys protect", "correct horse\ncorrect horse\n");
    assert!(done && !said.contains("correct"), "{said}");
    let (done, said) = typed("audit key", "correct horse\n");
    assert!(done && said.contains("localhost/log+"), "{said}");
    let (done, said) = typed("audit key", "battery staple\n");
    assert!(!done && said.contains("the passphrase is wrong"), "{said}");
}
