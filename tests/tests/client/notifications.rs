//! The agent's notifications on a real notification server: dunst, under an X server without a screen.
//!
//! Needs `dunst` and `xvfb`.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use signet_tests::house::PIN;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use zbus::wire::DynamicType;

use crate::agent::{
    NOTIFICATIONS, NOTIFICATIONS_PATH, PATIENCE, Session, Terminal, approval, shown_number, signet,
    with_numbers, with_pin_key,
};
use crate::bench::Bench;

/// dunst, and what it has shown.
struct Dunst {
    folder: TempDir,
    _display: Child,
    _server: Child,
}

/// What it showed at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    id: String,
    title: String,
    body: String,
    urgency: String,
}

impl Dunst {
    async fn start(session: &Session) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        // dunst runs this whenever a notification comes up, and when it is replaced.
        let keep = "printf '%s\\0%s\\0%s\\0%s\\0' \"$DUNST_ID\" \"$DUNST_SUMMARY\" \
                    \"$DUNST_BODY\" \"$DUNST_URGENCY\" >> \"${0%/*}/shown\"";
        // And this to let a person choose one of several buttons: lines such as `#47 (title) [1,47]`.
        let choose = "grep -m 1 \"^#$(cat \"${0%/*}/wish\") \"";
        for (name, script) in [("keep", keep), ("choose", choose)] {
            std::fs::write(path(name), format!("#!/bin/sh\n{script}\n")).unwrap();
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(path(name), mode).unwrap();
        }
        std::fs::write(path("shown"), "").unwrap();
        let settings = format!(
            "[global]\nmarkup = full\ndmenu = {}\n[keep]\nsummary = \"*\"\nscript = {}\n",
            path("choose"),
            path("keep")
        );
        std::fs::write(path("dunstrc"), settings).unwrap();

        let mut display = Command::new("Xvfb");
        display.args(["-displayfd", "1", "-screen", "0", "640x480x24", "-nolisten", "tcp"]);
        display.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut display = display.kill_on_drop(true).spawn().expect("the package xvfb is needed");
        let mut number = String::new();
        let mut said = BufReader::new(display.stdout.take().unwrap());
        said.read_line(&mut number).await.unwrap();

        let log = std::fs::File::create(path("log")).unwrap();
        let mut server = Command::new("dunst");
        server.args(["-config", &path("dunstrc"), "-startup_notification", "false"]);
        server.env("DISPLAY", format!(":{}", number.trim())).env_remove("WAYLAND_DISPLAY");
        server.env("DBUS_SESSION_BUS_ADDRESS", session.bus.address());
        server.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let server = server.kill_on_drop(true).spawn().expect("the package dunst is needed");
        session.owned(NOTIFICATIONS).await;
        Self { folder, _display: display, _server: server }
    }

    /// All that was shown, oldest first.
    fn shown(&self) -> Vec<Shown> {
        let text = std::fs::read_to_string(self.folder.path().join("shown")).unwrap();
        let fields: Vec<&str> = text.split_terminator('\0').collect();
        let read = |fields: &[&str]| match fields {
            [id, title, body, urgency] => Shown {
                id: (*id).to_owned(),
                title: (*title).to_owned(),
                body: (*body).to_owned(),
                urgency: (*urgency).to_owned(),
            },
            _ => panic!("half a line: {fields:?}"),
        };
        fields.chunks(4).map(read).collect()
    }

    /// Waits until something like this was shown.
    async fn until(&self, like: impl Fn(&Shown) -> bool) -> Shown {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self.shown().into_iter().find(&like) {
                return found;
            }
            assert!(Instant::now() < deadline, "{:?}", self.shown());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn until_body(&self, words: &str) -> Shown {
        self.until(|shown| shown.body.contains(words)).await
    }

    async fn until_title(&self, title: &str) -> Shown {
        self.until(|shown| shown.title == title).await
    }

    /// What a person does with the mouse.
    async fn command(
        &self,
        session: &Session,
        name: &str,
        body: &(impl serde::Serialize + DynamicType),
    ) {
        let (service, path) = (Some(NOTIFICATIONS), NOTIFICATIONS_PATH);
        let called = session.connection.call_method(
            service,
            path,
            Some("org.dunstproject.cmd0"),
            name,
            body,
        );
        called.await.unwrap();
    }

    /// The person presses the button.
    async fn press(&self, session: &Session, button: &str) {
        std::fs::write(self.folder.path().join("wish"), button).unwrap();
        self.command(session, "NotificationAction", &0_u32).await;
    }

    /// The person closes the notification.
    async fn close(&self, session: &Session) {
        self.command(session, "NotificationCloseLast", &()).await;
    }

    /// How many are on the screen.
    async fn on_screen(&self, session: &Session) -> u32 {
        let properties = zbus::fdo::PropertiesProxy::builder(&session.connection)
            .destination(NOTIFICATIONS)
            .path(NOTIFICATIONS_PATH)
            .build()
            .await
            .unwrap();
        let interface = "org.dunstproject.cmd0".try_into().unwrap();
        properties.get(interface, "displayedLength").await.unwrap().try_into().unwrap()
    }

    /// It never met markup that it could not read.
    fn understood_everything(&self) {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
        assert!(!log.contains("markup"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_shows_each_stage_in_one_place() {
    let (bench, _key) = with_pin_key().await;
    let session = Session::start(None).await;
    let dunst = Dunst::start(&session).await;
    let mut agent = Terminal::start(&bench, Some(&session), "agent");
    agent.until("registered").await;

    let reason = "<b>5</b> & 6";
    let login = signet(&bench, &session, &["--json", "--reason", reason, "login"]).output();
    let person = async {
        let first = dunst.until_title("Sign in").await;
        assert!(first.body.starts_with("new session at "), "{first:?}");
        assert_eq!(first.urgency, "CRITICAL", "it stays until it is answered");
        let asked = dunst.until_body("PIN needed").await;
        let quoted = "own words: “&lt;b&gt;5&lt;/b&gt; &amp; 6”";
        assert!(asked.body.ends_with(quoted), "{asked:?}");
        agent.until("PIN of your key").await;
        agent.type_in("000000\r").await;
        dunst.until_body("Wrong PIN, ").await;
        agent.until("Wrong PIN, ").await;
        agent.until("PIN of your key").await;
        assert_eq!(dunst.on_screen(&session).await, 1);
        // The pinentry is where it is answered: to close the notification only makes room.
        dunst.close(&session).await;
        agent.type_in(&format!("{PIN}\r")).await;
        dunst.until_title("Done").await;
    };
    let (login, ()) = tokio::join!(login, person);
    let login = login.unwrap();
    let errors = String::from_utf8_lossy(&login.stderr);
    assert_eq!(login.status.code(), Some(0), "{errors}");
    let shown = dunst.shown();
    let ids: HashSet<&String> = shown.iter().map(|shown| &shown.id).collect();
    assert_eq!(ids.len(), 1, "{shown:?}");
    assert!(!format!("{shown:?}").contains(PIN));
    dunst.understood_everything();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_button_of_a_real_server_refuses() {
    let (bench, _key) = with_pin_key().await;
    let session = Session::start(None).await;
    let dunst = Dunst::start(&session).await;
    let mut agent = Terminal::start(&bench, Some(&session), "agent");
    agent.until("registered").await;

    let login = signet(&bench, &session, &["--json", "login"]).output();
    let person = async {
        dunst.until_body("PIN needed").await;
        dunst.press(&session, "Refuse").await;
        dunst.until_body("refused at the prompt").await
    };
    let (login, last) = tokio::join!(login, person);
    refused(&login.unwrap());
    assert_eq!((last.title.as_str(), last.urgency.as_str()), ("Not done: Sign in", "LOW"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_closes_the_only_prompt_refuses() {
    let bench = Bench::ready().await;
    let session = Session::start(None).await;
    let dunst = Dunst::start(&session).await;
    let mut agent = signet(&bench, &session, &["agent"]);
    let _agent = agent.env("PINENTRY", "/nonexistent").spawn().unwrap();
    session.owned("org.signet.Agent1").await;

    let login = signet(&bench, &session, &["--json", "login"]).output();
    let person = async {
        dunst.until_body("Finger needed").await;
        dunst.close(&session).await;
        dunst.until_body("refused at the prompt").await
    };
    let (login, last) = tokio::join!(login, person);
    refused(&login.unwrap());
    assert_eq!(last.title, "Not done: Sign in");
}

fn refused(login: &std::process::Output) {
    let errors = String::from_utf8_lossy(&login.stderr);
    assert_eq!(login.status.code(), Some(1), "{errors}");
    assert!(errors.contains("\"Cancelled\""), "{errors}");
    assert!(errors.contains("refused at the prompt"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_chosen_at_a_real_server() {
    let (bench, _key) = with_numbers().await;
    let session = Session::start(None).await;
    let dunst = Dunst::start(&session).await;
    let mut agent = Terminal::start(&bench, Some(&session), "agent");
    agent.until("registered").await;

    let mut approve = approval(&bench, &session);
    let offered = dunst.until_body("Which number").await;
    // The program's own words held markup already: the person sees them as they are.
    assert!(offered.body.contains("“&lt;b&gt;&amp;amp;now&lt;/b&gt;”"), "{offered:?}");
    let number = shown_number(&mut approve).await;
    dunst.press(&session, &number).await;
    let next = dunst.until_body("PIN needed").await;
    assert_eq!(next.id, offered.id);
    agent.until("PIN of your key").await;
    agent.type_in(&format!("{PIN}\r")).await;
    let approve = approve.wait_with_output().await.unwrap();
    let errors = String::from_utf8_lossy(&approve.stderr).into_owned();
    assert_eq!(approve.status.code(), Some(0), "{errors}");
    dunst.understood_everything();
}
