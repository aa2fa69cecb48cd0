//! `signet request` on a far host, through the workstation's forwarded socket; and far hosts that want
//! more than one approved request.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use signet_client::Bus;
use signet_client::remote::{Frame, FrameError, FrameReader, FrameWriter, Kind, Station};
use signet_tests::house::{House, Ran};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::process::{Child, Command};

const STAGING: &str = "/v1/namespaces/sandbox/routes/web";
const PRODUCTION: &str = "/v1/namespaces/payments/routes/api";
/// Far above what anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A house whose operator sits at the workstation with an agent on a terminal, and a far host.
struct Scene {
    house: House,
    agent: Child,
    screen: Arc<Mutex<String>>,
    far: TempDir,
    /// All bytes that passed the forwarded socket, towards the workstation and back.
    passed: Arc<Mutex<(Vec<u8>, Vec<u8>)>>,
}

impl Scene {
    async fn new() -> Self {
        let house = House::start().await.unwrap();
        let ran = house.enrol(&house.alice, house.authority.first_ticket()).await.unwrap();
        assert_eq!(ran.code, Some(0), "{ran:?}");
        house.alice.put_finger().unwrap();
        let ran = house.alice.signet(&["key", "add"]).await.unwrap();
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let folder = house.alice.file("config/signet");
        std::fs::create_dir_all(&folder).unwrap();
        let settings = format!("gateway_ca = {:?}\n", house.mesh.ca);
        std::fs::write(folder.join("client.toml"), settings).unwrap();

        // Whoever runs the tests may ignore the signal that ends programs with their terminal.
        let mut agent = Command::new("env");
        agent.args(["--default-signal=HUP", "script"]);
        let program = house.alice.program().display().to_string();
        let command = format!("{program} agent --terminal");
        agent.args(["--quiet", "--flush", "--return", "--command", &command, "/dev/null"]);
        agent.envs(house.alice.environment()).env("NO_COLOR", "1").env("TERM", "xterm");
        agent.current_dir(house.alice.file(".")).kill_on_drop(true);
        let mut agent = agent
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut shown, shared) = (agent.stdout.take().unwrap(), screen.clone());
        tokio::spawn(async move {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = shown.read(&mut piece).await {
                shared.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..length]));
            }
        });
        let scene = Self {
            house,
            agent,
            screen,
            far: tempfile::tempdir().unwrap(),
            passed: Arc::default(),
        };
        let deadline = Instant::now() + PATIENCE;
        scene.until("registered").await;
        while UnixStream::connect(scene.socket()).await.is_err() {
            assert!(Instant::now() < deadline, "{}", scene.screen.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        scene.forward();
        scene
    }

    /// The agent's own socket.
    fn socket(&self) -> PathBuf {
        self.house.alice.file("run/signet/remote.sock")
    }

    fn forwarded(&self) -> PathBuf {
        self.far.path().join("signet.sock")
    }

    /// What `ssh -R` does, and keeps what passes.
    fn forward(&self) {
        let listener = UnixListener::bind(self.forwarded()).unwrap();
        let (target, passed) = (self.socket(), self.passed.clone());
        tokio::spawn(async move {
            while let Ok((far, _)) = listener.accept().await {
                let near = UnixStream::connect(&target).await.unwrap();
                let (far_reader, far_writer) = far.into_split();
                let (near_reader, near_writer) = near.into_split();
                let (up, down) = (passed.clone(), passed.clone());
                tokio::spawn(copy(far_reader, near_writer, move |bytes| {
                    up.lock().unwrap().0.extend_from_slice(bytes);
                }));
                tokio::spawn(copy(near_reader, far_writer, move |bytes| {
                    down.lock().unwrap().1.extend_from_slice(bytes);
                }));
            }
        });
    }

    /// `signet` at the far host: another home, nothing of the workstation's but the socket.
    async fn at_far_host(&self, arguments: &[&str]) -> Ran {
        let home = self.far.path().join("home");
        std::fs::create_dir_all(&home).unwrap();
        let mut command = Command::new(self.house.alice.program());
        command.args(arguments).env_clear().env("HOME", &home).current_dir(self.far.path());
        command.env("SIGNET_SOCKET", self.forwarded()).stdin(Stdio::null());
        let output = command.kill_on_drop(true).output().await.unwrap();
        assert_eq!(std::fs::read_dir(&home).unwrap().count(), 0, "something was left at home");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Waits until the workstation's terminal shows this.
    async fn until(&self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.screen.lock().unwrap().contains(words) {
            let shown = || self.screen.lock().unwrap().clone();
            assert!(Instant::now() < deadline, "{words:?} not in {}", shown());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// A touch for nobody: this firmware hears no cancel while it waits for a finger.
    fn free_key(&self) {
        self.house.alice.put_finger().unwrap();
    }

    /// How many action tokens the authority has given.
    fn approved(&self) -> usize {
        let records = self.house.authority.audit().unwrap();
        let given = |event: &str, decision: &str| event == "token-action" && decision == "allowed";
        records.iter().filter(|record| given(&record.event, &record.decision)).count()
    }

    /// A far host that speaks for itself.
    async fn line(&self) -> Line {
        Line::open(&self.socket()).await
    }

    fn ask(&self) -> Value {
        json!({
            "kind": "ask", "purpose": "action", "method": "PUT",
            "url": self.house.url(PRODUCTION), "actions": ["mesh.route.update"],
        })
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    keep: impl Fn(&[u8]) + Send + 'static,
) {
    let mut piece = vec![0; 65536];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        keep(&piece[..length]);
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// A connection to the workstation, frame by frame.
struct Line {
    reader: FrameReader<OwnedReadHalf>,
    writer: FrameWriter<OwnedWriteHalf>,
}

impl Line {
    async fn open(socket: &Path) -> Self {
        let (reader, writer) = UnixStream::connect(socket).await.unwrap().into_split();
        Self { reader: FrameReader::new(reader), writer: FrameWriter::new(writer) }
    }

    /// As [`Self::open`], with the hellos said.
    async fn greeted(socket: &Path) -> Self {
        let mut line = Self::open(socket).await;
        line.say(&json!({ "kind": "hello", "version": 1, "host": "bastion" })).await;
        assert_eq!(line.heard().await, json!({ "kind": "hello", "version": 1 }));
        line
    }

    async fn say(&mut self, message: &Value) {
        let content = message.to_string().into_bytes();
        // The workstation may have hung up already.
        let _ = self.writer.send(&Frame { kind: Kind::Control, content }).await;
    }

    async fn frame(&mut self) -> Frame {
        tokio::time::timeout(PATIENCE, self.reader.next()).await.unwrap().unwrap()
    }

    async fn heard(&mut self) -> Value {
        let frame = self.frame().await;
        assert_eq!(frame.kind, Kind::Control);
        serde_json::from_slice(&frame.content).unwrap()
    }

    /// Up to the first message of this kind.
    async fn until(&mut self, kind: &str) -> Value {
        loop {
            let message = self.heard().await;
            if message["kind"] == kind {
                return message;
            }
            assert_eq!(message["kind"], "progress", "{message}");
        }
    }

    /// Says this, and has the operator touch when the key waits for it; up to `connect`.
    async fn approved(&mut self, scene: &Scene, ask: &Value) {
        self.say(ask).await;
        loop {
            let message = self.heard().await;
            if message["kind"] == "connect" {
                // A touch that was meant for the request before.
                return;
            }
            assert_eq!(message["kind"], "progress", "{message}");
            if message["words"].as_str().unwrap().contains("place your finger") {
                break;
            }
        }
        scene.house.alice.put_finger().unwrap();
        self.until("connect").await;
    }

    /// Expects to be refused so, and the connection to end.
    async fn refused(&mut self, code: &str) {
        let message = self.until("refused").await;
        assert_eq!(message["code"], code, "{message}");
        let ended = self.reader.next().await;
        assert!(matches!(ended, Err(FrameError::Closed | FrameError::Io(_))), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_far_host_has_one_request_approved_and_sent() {
    let scene = Scene::new().await;
    std::fs::write(scene.far.path().join("body"), "{\"weight\": 10}").unwrap();
    let url = scene.house.url(PRODUCTION);
    let request = [
        "--json",
        "request",
        "PUT",
        &url,
        "--body",
        "body",
        "--action",
        "mesh.route.update",
        "-H",
        "content-type: application/json",
    ];
    scene.house.alice.put_finger().unwrap();
    let ran = scene.at_far_host(&request).await;
    assert_eq!((ran.code, ran.json()["status"].as_u64()), (Some(0), Some(200)), "{ran:?}");
    assert!(ran.stderr.contains("at the workstation: "), "{ran:?}");
    let received = scene.house.upstream.received().pop().unwrap();
    assert_eq!((received.method.as_str(), received.body.as_str()), ("PUT", "{\"weight\": 10}"));
    assert_eq!(received.header("content-type"), ["application/json"]);
    assert_eq!(scene.approved(), 1);
    // The workstation said what is asked, in its own words, and who claims to ask.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for words in ["mesh.route.update", PRODUCTION, host.trim()] {
        scene.until(words).await;
    }
    // Each request has its own touch.
    scene.house.alice.put_finger().unwrap();
    let ran = scene.at_far_host(&request).await;
    assert_eq!((ran.code, scene.approved()), (Some(0), 2), "{ran:?}");
    // No token, no certificate's key, no evidence passed the socket in clear, either way.
    let (up, down) = &*scene.passed.lock().unwrap();
    for bytes in [up, down] {
        let text = String::from_utf8_lossy(bytes);
        for secret in ["Bearer", "eyJ", "signature", "authorization"] {
            assert!(!text.contains(secret), "{secret}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_recorded_brings_nothing_a_second_time() {
    let scene = Scene::new().await;
    let url = scene.house.url(PRODUCTION);
    scene.house.alice.put_finger().unwrap();
    let ran =
        scene.at_far_host(&["request", "DELETE", &url, "--action", "mesh.route.update"]).await;
    assert_eq!((ran.code, scene.approved()), (Some(0), 1), "{ran:?}");
    let recorded = scene.passed.lock().unwrap().0.clone();
    let (reader, mut writer) = UnixStream::connect(scene.socket()).await.unwrap().into_split();
    writer.write_all(&recorded).await.unwrap();
    let mut line = Line { reader: FrameReader::new(reader), writer: FrameWriter::new(writer) };
    // It speaks out of turn, so the prompt is gone before anybody could touch.
    line.until("hello").await;
    line.refused("malformed").await;
    assert_eq!((scene.approved(), scene.house.upstream.received().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_but_single_requests_is_served() {
    let scene = Scene::new().await;
    let socket = scene.socket();
    for purpose in ["session", "renew", "workload", "enrol-key", "enrol-device", ""] {
        let mut line = Line::greeted(&socket).await;
        let mut ask = scene.ask();
        ask["purpose"] = purpose.into();
        line.say(&ask).await;
        line.refused("not-served").await;
    }
    for message in [
        json!({ "kind": "sign-tls", "message": "AAAA" }),
        json!({ "kind": "connected" }),
        json!({ "kind": "ask", "purpose": "action", "challenge": "AAAA" }),
    ] {
        let mut line = Line::greeted(&socket).await;
        line.say(&message).await;
        line.refused("malformed").await;
    }
    for (member, value, code) in [
        ("url", json!("https://a.example/a%2fb"), "action"),
        ("url", json!("http://a.example/"), "action"),
        ("url", json!("https://u@a.example/"), "action"),
        ("method", json!("PUT /x HTTP/1.1\r\nhost: b"), "action"),
        ("actions", json!([]), "action"),
        ("actions", json!(["trust me"]), "action"),
        ("headers", json!([["authorization", "Bearer x"]]), "header"),
        ("headers", json!([["x-http-method-override", "DELETE"]]), "header"),
        ("headers", json!([["accept", "a\r\nhost: b"]]), "header"),
        ("body_length", json!(1024 * 1024 + 1), "too-large"),
        ("body_length", json!(u64::MAX), "too-large"),
    ] {
        let mut line = Line::greeted(&socket).await;
        let mut ask = scene.ask();
        ask[member] = value;
        line.say(&ask).await;
        line.refused(code).await;
    }
    for (hello, code) in [
        (json!({ "kind": "hello", "version": 2, "host": "a" }), "version"),
        (json!({ "kind": "hello", "version": 1, "host": "a\u{202e}b" }), "malformed"),
        (json!({ "kind": "hello", "version": 1, "host": "" }), "malformed"),
    ] {
        let mut line = scene.line().await;
        line.say(&hello).await;
        line.refused(code).await;
    }
    assert_eq!(scene.approved(), 0);
    let screen = scene.screen.lock().unwrap().clone();
    assert!(!screen.contains("mesh.route"), "{screen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_touch_serves_the_request_that_was_shown_and_no_other() {
    let scene = Scene::new().await;
    // Another request in the middle of the prompt.
    let mut line = Line::greeted(&scene.socket()).await;
    line.say(&scene.ask()).await;
    scene.until("mesh.route.update").await;
    let mut other = scene.ask();
    other["method"] = "DELETE".into();
    line.say(&other).await;
    line.refused("malformed").await;
    assert_eq!(scene.approved(), 0);
    scene.free_key();
    // Another request after the touch, in place of the connection.
    let mut line = Line::greeted(&scene.socket()).await;
    line.approved(&scene, &scene.ask()).await;
    line.say(&other).await;
    line.refused("malformed").await;
    // The connection led to something else that is called localhost: the authority, where this
    // machine's key opens much.
    let mut line = Line::greeted(&scene.socket()).await;
    line.approved(&scene, &scene.ask()).await;
    line.say(&json!({ "kind": "connected" })).await;
    let audited = scene.house.authority.audit().unwrap().len();
    let mut wrong = TcpStream::connect(scene.house.authority.address()).await.unwrap();
    loop {
        let frame = line.frame().await;
        if frame.kind == Kind::Control {
            let message: Value = serde_json::from_slice(&frame.content).unwrap();
            assert_eq!(message["code"], "gateway-untrusted", "{message}");
            break;
        }
        wrong.write_all(&frame.content).await.unwrap();
        let mut piece = vec![0; 65536];
        let length = wrong.read(&mut piece).await.unwrap();
        let content = piece[..length].to_vec();
        let _ = line.writer.send(&Frame { kind: Kind::Tunnel, content }).await;
    }
    assert_eq!(scene.house.authority.audit().unwrap().len(), audited);
    assert_eq!(scene.house.upstream.received(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_halves_and_giants_hurt_only_themselves() {
    let scene = Scene::new().await;
    let socket = scene.socket();
    // Frames that are too long or of no kind, and all that can be cut off.
    for bytes in [&[0, 0xff, 0xff, 0xff, 0xff][..], &[7, 0, 0, 0, 1, 0], &[1, 0, 0, 0, 0]] {
        let (reader, mut writer) = UnixStream::connect(&socket).await.unwrap().into_split();
        writer.write_all(bytes).await.unwrap();
        let mut line = Line { reader: FrameReader::new(reader), writer: FrameWriter::new(writer) };
        line.refused("malformed").await;
    }
    let hello = br#"{"kind":"hello","version":1,"host":"a"}"#;
    for cut in 1..hello.len() {
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        stream.write_all(&[0, 0, 0, 0, u8::try_from(hello.len()).unwrap()]).await.unwrap();
        stream.write_all(&hello[..cut]).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(String::from_utf8_lossy(&rest).contains("malformed"), "{cut}");
    }
    // Who holds all seats keeps others out, and is shown the door after its time.
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(Line::greeted(&socket).await);
    }
    let mut fifth = scene.line().await;
    fifth.refused("busy").await;
    drop(held.pop());
    let deadline = Instant::now() + PATIENCE;
    while {
        let mut line = scene.line().await;
        line.say(&json!({ "kind": "hello", "version": 1, "host": "a" })).await;
        line.heard().await["kind"] != "hello"
    } {
        assert!(Instant::now() < deadline, "the seat is not free again");
    }
    for mut line in held {
        line.refused("too-slow").await;
    }
    // The agent is as it was.
    scene.house.alice.put_finger().unwrap();
    let url = scene.house.url(STAGING);
    let ran = scene.at_far_host(&["request", "GET", &url, "--action", "mesh.route.view"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_who_says_no_is_left_in_peace() {
    let mut scene = Scene::new().await;
    let mut line = Line::greeted(&scene.socket()).await;
    line.say(&scene.ask()).await;
    scene.until("refuses it").await;
    scene.agent.stdin.as_mut().unwrap().write_all(b"r\n").await.unwrap();
    line.refused("Cancelled").await;
    let mut line = Line::greeted(&scene.socket()).await;
    let mut other = scene.ask();
    other["method"] = "DELETE".into();
    line.say(&other).await;
    line.refused("resting").await;
    assert_eq!(scene.approved(), 0);
    scene.free_key();
    // At the workstation itself everything goes on.
    scene.screen.lock().unwrap().clear();
    let touched = async {
        scene.until("place it on your key").await;
        scene.house.alice.put_finger().unwrap();
    };
    let (ran, ()) = tokio::join!(scene.house.alice.signet(&["login"]), touched);
    let ran = ran.unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_that_nobody_shows_at_the_workstation_is_refused() {
    let mut scene = Scene::new().await;
    let modes = |path: &Path| {
        let metadata = std::fs::metadata(path).unwrap();
        std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777
    };
    assert_eq!(modes(&scene.socket()), 0o600);
    assert_eq!(modes(scene.socket().parent().unwrap()), 0o700);
    // No agent any more, but somebody who serves its socket.
    drop(scene.agent.stdin.take());
    scene.agent.kill().await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    let listener = loop {
        match Station::listen(Some(&scene.house.alice.file("run"))).await {
            Ok(listener) => break listener,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    loop {
        let report = scene.house.alice.signet(&["--json", "doctor"]).await.unwrap().json();
        let checks = report["checks"].as_array().unwrap();
        if checks.iter().any(|check| check["check"] == "agent" && check["state"] == "warn") {
            break;
        }
        assert!(Instant::now() < deadline, "signetd still knows the agent");
    }
    let bus = Bus::Address(scene.house.alice.bus.address().to_owned());
    tokio::spawn(Arc::new(Station::new(bus, None)).serve(listener));
    let mut line = Line::greeted(&scene.socket()).await;
    line.say(&scene.ask()).await;
    line.refused("CannotPrompt").await;
    assert_eq!(scene.approved(), 0);
}
