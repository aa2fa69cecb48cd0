//! A port of the loopback interface: each way in which tools carry the secret, and everybody without it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;

use super::{Proxy, STAGING, curled, got, socket};
use crate::gateway::logged_in;

/// What a browser makes of a PAC file: one line for each URL.
const FIND: &str = r#"
import dukpy, sys
from urllib.parse import urlsplit
engine = dukpy.JSInterpreter()
engine.evaljs(sys.stdin.read())
for url in sys.argv[1:]:
    ask = "FindProxyForURL(dukpy.url, dukpy.host)"
    print(engine.evaljs(ask, url=url, host=urlsplit(url).hostname))
"#;

/// Nobody's user and group ids.
const NOBODY: &str = "65534";
/// Connects, and is told nothing.
const HANG_UP: &str = r#"
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
print("connected", end=", ")
try:
    s.send(b"GET /v1/namespaces/sandbox/routes/web HTTP/1.1\r\nhost: localhost\r\n\r\n")
    print(s.recv(1) or "hung up")
except OSError:
    print("hung up")
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_carry_the_secret_as_they_can() {
    let house = logged_in().await;
    let proxy = Proxy::start(&house, &["--listen", "127.0.0.1:0"]).await;
    let (address, secret) = (proxy.address(), proxy.secret());
    let here = format!("http://{address}{STAGING}");
    let there = format!("http://localhost{STAGING}");
    let as_proxy = format!("http://signet:{secret}@{address}");
    let (bearer, user) = (format!("Authorization: Bearer {secret}"), format!("any:{secret}"));
    let in_path = format!("http://{address}/~{secret}{STAGING}");
    for tool in [
        &["--proxy", as_proxy.as_str(), there.as_str()][..],
        &[&here, "--header", &bearer],
        &[&here, "--user", &user],
        &[&in_path],
        // Websockets of browsers come so: plain HTTP in a tunnel.
        &["--proxytunnel", "--proxy", &as_proxy, &there],
    ] {
        let got = curled(tool).await;
        assert_eq!(got.status, 200, "{tool:?}: {got:?}");
        let received = got.json();
        assert_eq!(received["target"], STAGING, "{tool:?}");
        let shown = received.to_string();
        assert!(!shown.contains(&secret), "{tool:?}: {shown}");
    }
    let before = house.upstream.received().len();
    for (tool, expected) in [
        (&["--proxy", &format!("http://{address}"), there.as_str()][..], (407, "secret")),
        (&[&here], (401, "secret")),
        (&[&here, "--user", "any:guess"], (401, "secret")),
        (&[&format!("http://{address}/~guess{STAGING}")], (401, "secret")),
        (&["--proxy", &as_proxy, "http://evil.example/"], (403, "not-a-target")),
        (
            &["--proxy", &as_proxy, &there, "--header", "Authorization: Bearer mine"],
            (400, "authorization-sent"),
        ),
        // A page of another site, with the browser's memory of the password.
        (&["--proxy", &as_proxy, &there, "-H", "Origin: http://evil.example"], (403, "cross-site")),
        (&["--proxy", &as_proxy, &there, "-H", "Sec-Fetch-Site: cross-site"], (403, "cross-site")),
        // A name of another site that was bound to this machine's address.
        (&[&here, "--user", &user, "-H", "Host: evil.example"], (403, "not-a-target")),
        (&[&in_path, "-H", "Sec-Fetch-Site: none"], (403, "browser-path")),
    ] {
        let (status, code) = curled(tool).await.code();
        assert_eq!((status, code.as_str()), expected, "{tool:?}");
    }
    assert_eq!(house.upstream.received().len(), before);

    let pac = curled(&[&format!("http://{address}/~{secret}/.signet/proxy.pac")]).await;
    assert!(pac.head.contains("application/x-ns-proxy-autoconfig"), "{pac:?}");
    assert!(pac.body.contains(&format!("PROXY {address}")), "{pac:?}");
    directs(&pac.body, house.envoy.address().port(), &address).await;
    let pac = curled(&[&format!("http://{address}/.signet/proxy.pac")]).await;
    assert_eq!(pac.code(), (401, "secret".to_owned()));
}

/// What is for the target goes to the proxy, and nothing else.
async fn directs(pac: &str, port: u16, address: &str) {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/python");
    let here = format!("PROXY {address}");
    let all = [
        (format!("https://localhost:{port}/a/https://b/"), here.as_str()),
        (format!("https://LOCALHOST:{port}/"), &here),
        (format!("wss://localhost:{port}/stream"), &here),
        ("http://localhost/".into(), &here),
        ("ws://localhost:80/".into(), &here),
        ("https://localhost/".into(), "DIRECT"),
        ("https://localhost:443/".into(), "DIRECT"),
        (format!("https://sub.localhost:{port}/"), "DIRECT"),
        (format!("https://evil.example/https://localhost:{port}/"), "DIRECT"),
        (format!("https://localhost:{port}@evil.example/"), "DIRECT"),
        (format!("ftp://localhost:{port}/"), "DIRECT"),
        ("https://constructor/".into(), "DIRECT"),
        ("https://__proto__/".into(), "DIRECT"),
    ];
    let mut command = tokio::process::Command::new(python);
    command.args(["-c", FIND]).args(all.iter().map(|(url, _)| url));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(pac.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let found = String::from_utf8(output.stdout).unwrap();
    let found: Vec<&str> = found.lines().collect();
    let expected: Vec<&str> = all.iter().map(|(_, where_to)| *where_to).collect();
    assert_eq!(found, expected, "{pac}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_user_of_the_machine_gets_nowhere() {
    if !rustix::process::geteuid().is_root() {
        // Only root can be another user.
        return;
    }
    let house = logged_in().await;
    // In a folder that everybody reaches, with a mode that lets everybody in: the peer is still looked at.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let open = folder.path().join("open.sock");
    let listen = format!("unix:{}", open.display());
    let proxy = Proxy::start(&house, &["--listen", "127.0.0.1:0", "--listen", &listen]).await;
    let mode = std::fs::metadata(&open).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let as_nobody = |arguments: &[&str]| {
        let mut command = tokio::process::Command::new("setpriv");
        command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
        command.args(["curl", "--disable", "--silent", "--show-error", "--include"]);
        command.args(arguments).kill_on_drop(true);
        command
    };
    let url = format!("http://localhost{STAGING}");
    let open_path = open.display().to_string();
    let by_socket = ["--unix-socket", open_path.as_str(), &url];
    let output = as_nobody(&by_socket).output().await.unwrap();
    assert_eq!(output.status.code(), Some(7), "mode 0600 keeps others out: {output:?}");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o666)).unwrap();
    let mut connects = tokio::process::Command::new("setpriv");
    connects.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "python3", "-c"]);
    let output = connects.args([HANG_UP, &open_path]).output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "connected, hung up\n", "{output:?}");
    // The user's own socket lies in a folder of mode 0700.
    let own = socket(&house);
    let mode = std::fs::metadata(own.parent().unwrap()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let here = format!("http://{}{STAGING}", proxy.address());
    let output = as_nobody(&[&here]).output().await.unwrap();
    assert_eq!(got(&output).code(), (401, "secret".to_owned()));
    let mut command = tokio::process::Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "cat"]);
    let output = command.arg(proxy.ready["secret_file"].as_str().unwrap()).output().await.unwrap();
    assert_eq!((output.status.code(), output.stdout), (Some(1), Vec::new()));
    assert_eq!(house.upstream.received(), []);
}
