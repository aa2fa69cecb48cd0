//! `signet agent` with the real `signetd`, a session bus, a notification server and a pinentry.

use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use futures_util::StreamExt;
use signet_tests::bus::PrivateBus;
use signet_tests::house::PIN;
use signet_tests::signetd::SignetdOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use zbus::{Connection, MatchRule, MessageStream, OwnedVariant, connection};

use crate::bench::Bench;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const NOTIFICATIONS: &str = "org.freedesktop.Notifications";
pub(crate) const NOTIFICATIONS_PATH: &str = "/org/freedesktop/Notifications";

/// A session bus with a notification server.
pub(crate) struct Session {
    pub(crate) bus: PrivateBus,
    pub(crate) connection: Connection,
    _server: Option<Child>,
    calls: MessageStream,
}

/// What the notification server was given.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) replaces: u32,
    title: String,
    pub(crate) body: String,
    actions: Vec<String>,
}

impl Session {
    /// With a notification server that shows these; none at all for `None`.
    pub(crate) async fn start(capabilities: Option<&str>) -> Self {
        Self::start_with(capabilities, None).await
    }

    /// As [`Self::start`]; the bus starts what these files name.
    async fn start_with(capabilities: Option<&str>, services: Option<&Path>) -> Self {
        let bus = match services {
            Some(services) => PrivateBus::start_with_services(services).unwrap(),
            None => PrivateBus::start().unwrap(),
        };
        let connection = connection::Builder::address(bus.address()).build().await.unwrap();
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .interface("org.freedesktop.DBus.Mock")
            .member("MethodCalled")
            .build()
            .unwrap();
        let calls = MessageStream::for_match_rule(rule, &connection, NonZeroUsize::new(512));
        let calls = calls.await.unwrap();
        let mut server = None;
        if let Some(capabilities) = capabilities {
            let mut program = Command::new("/usr/bin/python3");
            program.args(["-m", "dbusmock", "--session", "--template", "notification_daemon"]);
            program.arg("--parameters").arg(format!("{{\"capabilities\": {capabilities:?}}}"));
            program.env("DBUS_SESSION_BUS_ADDRESS", bus.address());
            program.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
            server = Some(program.spawn().unwrap());
        }
        let session = Self { bus, connection, _server: server, calls };
        if capabilities.is_some() {
            session.owned(NOTIFICATIONS).await;
        }
        session
    }

    /// The bus.
    pub(crate) fn address(&self) -> &str {
        self.bus.address()
    }

    /// Waits until somebody owns this name.
    pub(crate) async fn owned(&self, name: &str) {
        let dbus = zbus::fdo::DBusProxy::new(&self.connection).await.unwrap();
        let mut owners = dbus.receive_name_owner_changed_with_args(&[(0, name)]).await.unwrap();
        let name = zbus::names::BusName::try_from(name).unwrap();
        if !dbus.name_has_owner(name).await.unwrap() {
            tokio::time::timeout(PATIENCE, owners.next()).await.unwrap().unwrap();
        }
    }

    /// What the server is given next.
    async fn next(&mut self) -> Shown {
        loop {
            let call = tokio::time::timeout(PATIENCE, self.calls.next()).await;
            let call = call.expect("a notification was due").unwrap().unwrap();
            let (method, arguments): (String, Vec<OwnedVariant>) =
                call.body().deserialize().unwrap();
            if method == "Notify" {
                let text = |index: usize| String::try_from(arguments[index].clone()).unwrap();
                return Shown {
                    replaces: u32::try_from(arguments[1].clone()).unwrap(),
                    title: text(3),
                    body: text(4),
                    actions: arguments[5].try_clone().unwrap().try_into().unwrap(),
                };
            }
        }
    }

    /// The next notification whose body holds this.
    pub(crate) async fn until(&mut self, words: &str) -> Shown {
        loop {
            let shown = self.next().await;
            if shown.body.contains(words) {
                return shown;
            }
        }
    }

    /// Presses a button of the notification.
    pub(crate) async fn press(&self, id: u32, key: &str) {
        let values = vec![zbus::Variant::from(id), zbus::Variant::from(key)];
        self.connection
            .call_method(
                Some(NOTIFICATIONS),
                NOTIFICATIONS_PATH,
                Some("org.freedesktop.DBus.Mock"),
                "EmitSignal",
                &(NOTIFICATIONS, "ActionInvoked", "us", values),
            )
            .await
            .unwrap();
    }
}

/// A program at a terminal of its own.
pub(crate) struct Terminal {
    process: Child,
    keyboard: ChildStdin,
    screen: ChildStdout,
    shown: Vec<u8>,
    read: usize,
}

impl Terminal {
    /// Runs `signet` with these arguments at a terminal that a pinentry may use too.
    pub(crate) fn start(bench: &Bench, session: Option<&Session>, arguments: &str) -> Self {
        let program = bench.station.program().display().to_string();
        let mut script = Command::new("script");
        let command = format!("{program} {arguments}");
        script.args(["--quiet", "--flush", "--return", "--command", &command, "/dev/null"]);
        script.envs(bench.station.environment());
        script.envs([("NO_COLOR", "1"), ("TERM", "xterm"), ("PINENTRY", "pinentry-curses")]);
        script.env_remove("DISPLAY").env_remove("GPG_TTY");
        script.env("DBUS_SESSION_BUS_ADDRESS", session.map_or("", |session| session.bus.address()));
        script.current_dir(bench.station.file(".")).kill_on_drop(true);
        let pipe = Stdio::piped;
        let mut process = script.stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn().unwrap();
        let keyboard = process.stdin.take().unwrap();
        let screen = process.stdout.take().unwrap();
        Self { process, keyboard, screen, shown: Vec::new(), read: 0 }
    }

    /// Reads the screen until this is shown after what was waited for before.
    pub(crate) async fn until(&mut self, words: &str) {
        loop {
            let fresh = &self.shown[self.read..];
            let mut windows = fresh.windows(words.len());
            if let Some(found) = windows.position(|window| window == words.as_bytes()) {
                self.read += found + words.len();
                return;
            }
            let read = tokio::time::timeout(PATIENCE, self.screen.read_buf(&mut self.shown)).await;
            let read =
                read.unwrap_or_else(|_| panic!("{words:?} never came, but: {}", self.text()));
            assert!(read.unwrap() > 0, "{words:?} never came, but: {}", self.text());
        }
    }

    pub(crate) async fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).await.unwrap();
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown).into_owned()
    }
}

/// `signet …` without a terminal, on this session bus.
pub(crate) fn signet(bench: &Bench, session: &Session, arguments: &[&str]) -> Command {
    let mut command = bench.station.command(arguments);
    command.env("DBUS_SESSION_BUS_ADDRESS", session.bus.address()).kill_on_drop(true);
    command
}

/// A workstation whose operator has a key with a PIN, and the key.
pub(crate) async fn with_pin_key() -> (Bench, signet_test_authenticators::VirtualKey) {
    let mut bench = Bench::enrolled().await;
    let key = bench.plug_pin_key().await;
    let added = bench.run_with_pin(PIN, &["key", "add", "--name", "pin key"]).await;
    assert_eq!(added.code, Some(0), "{}", added.stderr);
    (bench, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_shows_what_is_asked_and_a_pinentry_takes_the_pin() {
    let (bench, _key) = with_pin_key().await;
    let mut session = Session::start(Some("body actions body-markup")).await;
    let mut agent = Terminal::start(&bench, Some(&session), "agent");
    agent.until("registered").await;
    session.owned("org.signet.Agent1").await;

    let login = signet(&bench, &session, &["--json", "login"]).output();
    let person = async {
        let first = session.next().await;
        assert_eq!((first.replaces, first.title.as_str()), (0, "Sign in"));
        assert!(first.body.starts_with("new session at "), "{first:?}");
        assert!(first.body.contains("\nAsked by "), "{first:?}");
        assert_eq!(first.actions, ["refuse", "Refuse"]);
        let pin = session.until("PIN needed").await;
        assert_ne!(pin.replaces, 0, "the same notification");
        agent.until("PIN of your key").await;
        // A wrong one first.
        agent.type_in("000000\r").await;
        session.until("Wrong PIN, ").await;
        agent.until("Wrong PIN, ").await;
        agent.until("PIN of your key").await;
        agent.type_in(&format!("{PIN}\r")).await;
        loop {
            let shown = session.next().await;
            assert!(!shown.body.contains(PIN));
            if shown.title == "Done" {
                assert!(shown.actions.is_empty());
                break;
            }
        }
    };
    let (login, ()) = tokio::join!(login, person);
    let login = login.unwrap();
    let errors = String::from_utf8_lossy(&login.stderr);
    assert_eq!(login.status.code(), Some(0), "{errors}");
    assert!(errors.contains("Your session's agent asks for it."), "{errors}");
    for log in [agent.text(), bench.station.signetd.log()] {
        assert!(!log.contains(PIN), "{log}");
    }
    // A second agent in one session would ask twice.
    let second = signet(&bench, &session, &["--json", "agent"])
        .env("PINENTRY", "/nonexistent")
        .output()
        .await
        .unwrap();
    assert_eq!(second.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&second.stderr).contains("an agent runs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_reads_who_asks_and_refuses_with_a_button() {
    let (bench, _key) = with_pin_key().await;
    let mut session = Session::start(Some("body actions body-markup")).await;
    let mut agent = Terminal::start(&bench, Some(&session), "agent");
    agent.until("registered").await;

    let reason = "</b><a href='https://evil.example'>Approve</a>\u{202e}\n\u{1b}[2J”";
    let login = signet(&bench, &session, &["--json", "--reason", reason, "login"]).output();
    let person = async {
        session.next().await;
        let pin = session.until("PIN needed").await;
        let quoted = "In the program's own words: “&lt;/b&gt;&lt;a href='https://evil.example'&gt;\
                      Approve&lt;/a&gt;\\u{202e}\\u{a}\\u{1b}[2J\"”";
        assert!(pin.body.ends_with(quoted), "{}", pin.body);
        // Somebody else's notification is not ours.
        session.press(pin.replaces + 7, "refuse").await;
        session.press(pin.replaces, "refuse").await;
        session.until("refused at the prompt").await;
    };
    let (login, ()) = tokio::join!(login, person);
    let login = login.unwrap();
    assert_eq!(login.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&login.stderr).into_owned();
    assert!(
        errors.contains("\"Cancelled\"") && errors.contains("refused at the prompt"),
        "{errors}"
    );
    // The same words are not asked again at once.
    let again = signet(&bench, &session, &["--json", "login"]).output().await.unwrap();
    assert_eq!(again.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(errors.contains("\"CoolingDown\""), "{errors}");
}

/// As [`with_pin_key`], where actions of the mesh want a number.
pub(crate) async fn with_numbers() -> (Bench, signet_test_authenticators::VirtualKey) {
    let (mut bench, key) = with_pin_key().await;
    let numbers = |options: &mut SignetdOptions| {
        options.extra.insert_str(0, "number_matching = [\"mesh.*\"]\n");
        options.authenticators = vec![key.socket()];
    };
    bench.station.reconfigure(numbers).unwrap();
    (bench, key)
}

/// A program that asks for one of those actions.
pub(crate) fn approval(bench: &Bench, session: &Session) -> Child {
    let action = serde_json::json!([{
        "type": "signet_action", "actions": ["mesh.a"], "locations": ["https://ctl.mesh.example"],
        "method": "PUT", "path": "/v1/a",
        "content_digest": signet_evidence::action::content_digest(b""),
    }]);
    std::fs::write(bench.station.file("action.json"), action.to_string()).unwrap();
    let request = ["--reason", "<b>&amp;now</b>", "present", "--purpose", "action"];
    let files = ["--action-file", "action.json", "-o", "evidence"];
    let mut approve = signet(bench, session, &[&request[..], &files].concat());
    approve.current_dir(bench.station.file(".")).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_chosen_by_a_button() {
    let (bench, _key) = with_numbers().await;
    let mut session = Session::start(Some("body actions")).await;
    let mut agent = Terminal::start(&bench, Some(&session), "agent");
    agent.until("registered").await;

    let mut approve = approval(&bench, &session);
    let offered = session.until("Which number").await;
    // This server shows text as it is, or takes it for markup: nothing looks like it.
    assert!(offered.body.contains("“‹b›＆amp;now‹/b›”"), "{}", offered.body);
    assert!(!offered.body.contains(['<', '>', '&']), "{}", offered.body);
    assert_eq!(offered.actions.len(), 8, "{offered:?}");
    let number = shown_number(&mut approve).await;
    assert!(offered.actions.contains(&number), "{offered:?}, {number}");
    session.press(offered.replaces, &number).await;
    session.until("PIN needed").await;
    agent.until("PIN of your key").await;
    agent.type_in(&format!("{PIN}\r")).await;
    let approve = approve.wait_with_output().await.unwrap();
    let errors = String::from_utf8_lossy(&approve.stderr).into_owned();
    assert_eq!(approve.status.code(), Some(0), "{errors}");
}

/// Reads standard error up to the number that is to be chosen.
pub(crate) async fn shown_number(child: &mut Child) -> String {
    let mut text = Vec::new();
    let stderr = child.stderr.as_mut().unwrap();
    while stderr.read_buf(&mut text).await.unwrap() > 0 {
        let shown = String::from_utf8_lossy(&text);
        if let Some((_, rest)) = shown.split_once("it is ")
            && let Some((number, _)) = rest.split_once('.')
        {
            return number.to_owned();
        }
    }
    panic!("no number, but {}", String::from_utf8_lossy(&text));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_serves_where_there_is_no_desktop() {
    let (bench, _key) = with_pin_key().await;
    let session = Session::start(None).await;
    let mut agent = Terminal::start(&bench, None, "agent --terminal");
    agent.until("registered").await;

    let mut login = signet(&bench, &session, &["--json", "login"]).spawn().unwrap();
    agent.until("Sign in").await;
    agent.until("Asked by ").await;
    agent.until("characters): ").await;
    agent.type_in(&format!("{PIN}\n")).await;
    agent.until("Done").await;
    assert_eq!(login.wait().await.unwrap().code(), Some(0));
    assert!(!agent.text().contains(PIN), "{}", agent.text());

    let mut login = signet(&bench, &session, &["--json", "login", "--new"]).spawn().unwrap();
    agent.until("characters): ").await;
    agent.type_in("\n").await;
    agent.until("Not done").await;
    assert_eq!(login.wait().await.unwrap().code(), Some(1));
    // With its terminal the agent goes, and its user can be asked as before.
    agent.process.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_with_nothing_to_ask_with_says_so_and_does_not_run() {
    let bench = Bench::new().await;
    let session = Session::start(None).await;
    let mut agent = signet(&bench, &session, &["agent"]);
    let agent = agent.env("PINENTRY", "/nonexistent").env_remove("DISPLAY").output().await.unwrap();
    assert_eq!(agent.status.code(), Some(3));
    let errors = String::from_utf8_lossy(&agent.stderr);
    assert!(errors.contains("notification server or a pinentry"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn signet_has_the_session_bus_start_the_agent() {
    let (bench, _key) = with_pin_key().await;
    let services = tempfile::tempdir().unwrap();
    let written = include_str!("../../../client/dbus/org.signet.Agent1.service");
    let bus = bench.station.environment().into_iter().find(|(name, _)| *name == "SIGNET_BUS");
    let exec = format!(
        "Exec=/usr/bin/env SIGNET_BUS={} PINENTRY=/nonexistent {} agent",
        bus.unwrap().1,
        bench.station.program().display()
    );
    let service: String = written
        .lines()
        .filter(|line| !line.starts_with("SystemdService="))
        .map(|line| if line.starts_with("Exec=") { exec.as_str() } else { line })
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(services.path().join("org.signet.Agent1.service"), service).unwrap();
    let mut session = Session::start_with(Some("body actions"), Some(services.path())).await;
    // The agent has no pinentry: it shows what is asked, and signet takes the PIN.
    std::fs::write(bench.station.file("pin"), PIN).unwrap();
    let mut login = bench.shell(&["login"], true);
    login.env("DBUS_SESSION_BUS_ADDRESS", session.bus.address());
    let login = login.output().await.unwrap();
    assert_eq!(login.status.code(), Some(0), "{}", String::from_utf8_lossy(&login.stderr));
    assert_eq!(session.next().await.title, "Sign in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinentry_that_fails_is_nobodys_no_and_the_program_asks_instead() {
    let (bench, _key) = with_pin_key().await;
    // Greets and takes every setting, and cannot open its window.
    let broken = bench.station.file("pinentry");
    let script = "#!/bin/sh\necho OK\nwhile read -r command rest; do\n\
                  case $command in GETPIN) echo ERR 83886205 no window;; *) echo OK;; esac\ndone\n";
    std::fs::write(&broken, script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&broken, mode).unwrap();
    let mut session = Session::start(Some("body")).await;
    let mut agent = signet(&bench, &session, &["--json", "agent"]);
    let mut agent = agent.env("PINENTRY", &broken).env("DISPLAY", ":0").spawn().unwrap();
    session.owned("org.signet.Agent1").await;

    let mut login = Terminal::start(&bench, Some(&session), "login");
    login.until("agent asks for it").await;
    login.until("characters): ").await;
    session.until("Enter it in the program that asks.").await;
    login.type_in(&format!("{PIN}\n")).await;
    login.until("logged in as alice").await;
    let mut said = Vec::new();
    agent.kill().await.unwrap();
    agent.stdout.as_mut().unwrap().read_to_end(&mut said).await.unwrap();
    let said = String::from_utf8_lossy(&said).into_owned();
    let said = said.lines().map(|line| serde_json::from_str(line).unwrap());
    let said: Vec<serde_json::Value> = said.collect();
    let line =
        |pin| serde_json::json!({ "registered": true, "show": true, "pin": pin, "number": pin });
    assert_eq!(said, [line(true), line(false)]);
}
