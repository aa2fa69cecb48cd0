//! The commands of docs/proxy.md, as they stand there but for names of this house.

use std::path::Path;
use std::process::Stdio;

use super::Proxy;
use crate::gateway::logged_in;

/// Every curl command of the document.
fn commands() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/proxy.md");
    let text = std::fs::read_to_string(path).unwrap();
    let spans = text.split('`').filter(|span| span.contains("curl ") && !span.contains('\n'));
    let spans = spans.filter(|span| span.contains("http://"));
    let lines = text.lines().filter_map(|line| line.strip_prefix("$ "));
    let lines = lines.filter(|line| line.contains("curl "));
    spans.chain(lines).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_commands_work() {
    let house = logged_in().await;
    let proxy = Proxy::start(&house, &["--listen", "127.0.0.1:0", "--listen", "unix"]).await;
    let commands = commands();
    assert_eq!(commands.len(), 6, "{commands:?}");
    let ca = house.alice.signet(&["proxy", "ca", "--to", &house.url("")]).await.unwrap();
    std::fs::write(house.alice.file("ca.pem"), ca.stdout).unwrap();
    for (number, command) in commands.iter().enumerate() {
        let command = command
            .replace("127.0.0.1:8123", &proxy.address())
            .replace("https://ctl.mesh.example", &house.url(""))
            .replace("ctl.mesh.example", "localhost");
        let mut shell = tokio::process::Command::new("sh");
        shell.args(["-ec", &command]).envs(house.alice.environment());
        shell
            .current_dir(house.alice.file(""))
            .env("secret", proxy.secret())
            .env("CURL_HOME", "/nonexistent")
            .stdin(Stdio::null());
        let output = shell.kill_on_drop(true).output().await.unwrap();
        let received = house.upstream.received();
        assert_eq!(received.len(), number + 1, "{command}: {output:?}");
        assert!(received[number].target.starts_with("/v1/"), "{command}: {received:?}");
    }
}
