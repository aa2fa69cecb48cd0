//! Agents: who is asked, who may answer, what happens when an agent hangs, dies, or is somebody else's.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use tokio::sync::mpsc;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, connection, interface};

use crate::authority::PATIENCE;
use crate::client::{
    Answer, Caller, Options, Pending, Presence1Proxy, PromptProxy, Signal, pipe_with, refusal, text,
};
use crate::world::{PIN, World, another, ready, session, untouched_key, with};

/// What an agent was told.
#[derive(Debug)]
enum Told {
    Ask(OwnedObjectPath, Answer),
    Update(String, Answer),
    Withdraw(String, String),
}

struct Object {
    told: mpsc::UnboundedSender<Told>,
    /// Takes note of nothing, for ever.
    hangs: bool,
}

#[interface(name = "org.signet.Presence1.Agent", introspection_docs = false)]
impl Object {
    async fn ask(&self, prompt: OwnedObjectPath, details: HashMap<String, OwnedVariant>) {
        let _ = self.told.send(Told::Ask(prompt, details));
        if self.hangs {
            std::future::pending::<()>().await;
        }
    }

    async fn update(
        &self,
        prompt: OwnedObjectPath,
        stage: String,
        details: HashMap<String, OwnedVariant>,
    ) {
        let _ = prompt;
        let _ = self.told.send(Told::Update(stage, details));
    }

    async fn withdraw(&self, prompt: OwnedObjectPath, outcome: String, message: String) {
        let _ = prompt;
        let _ = self.told.send(Told::Withdraw(outcome, message));
    }
}

/// An agent of the user who runs the tests.
pub struct Agent {
    pub connection: Connection,
    told: mpsc::UnboundedReceiver<Told>,
}

impl Agent {
    async fn with(world: &World, abilities: &[&'static str], hangs: bool) -> Self {
        let (sender, told) = mpsc::unbounded_channel();
        let object = Object { told: sender, hangs };
        let connection = connection::Builder::address(world.bus.address());
        let connection = connection.serve_at("/org/signet/Agent", object).build().await.unwrap();
        let daemon = Presence1Proxy::new(&connection).await.unwrap();
        let options: Options = abilities.iter().map(|name| (*name, true.into())).collect();
        daemon.register_agent(&options).await.unwrap();
        Self { connection, told }
    }

    pub async fn new(world: &World) -> Self {
        Self::with(world, &["show", "pin", "number"], false).await
    }

    async fn next(&mut self) -> Told {
        let told = tokio::time::timeout(PATIENCE, self.told.recv()).await;
        told.expect("the agent was to be told something").unwrap()
    }

    pub async fn asked(&mut self) -> (PromptProxy<'static>, Answer) {
        match self.next().await {
            Told::Ask(path, details) => {
                let prompt = PromptProxy::builder(&self.connection).path(path).build();
                (prompt.await.unwrap(), details)
            }
            other => panic!("{other:?}"),
        }
    }

    async fn stage(&mut self, awaited: &str) -> Answer {
        loop {
            match self.next().await {
                Told::Update(stage, details) if stage == awaited => return details,
                Told::Update(..) => {}
                other => panic!("{other:?} before {awaited}"),
            }
        }
    }

    async fn withdrawn(&mut self) -> (String, String) {
        loop {
            match self.next().await {
                Told::Withdraw(outcome, message) => return (outcome, message),
                Told::Update(..) => {}
                other @ Told::Ask(..) => panic!("{other:?}"),
            }
        }
    }

    fn was_told_nothing(&mut self) -> bool {
        self.told.try_recv().is_err()
    }
}

fn agent_asks(details: &Answer) -> bool {
    details.get("agent").is_some_and(|agent| bool::try_from(agent.clone()).unwrap())
}

/// Waits for the stage with or without an agent that asks.
async fn stage_by(pending: &mut Pending, awaited: &str, agent: bool) {
    loop {
        match pending.next().await {
            Signal::Progress(stage, details)
                if stage == awaited && agent_asks(&details) == agent =>
            {
                return;
            }
            Signal::Progress(..) => {}
            Signal::Completed(outcome, words, _) => panic!("{outcome} {words} before {awaited}"),
        }
    }
}

#[tokio::test]
async fn the_agent_is_asked_in_the_words_of_the_action_and_its_pin_counts() {
    let (world, caller, credential) = ready(untouched_key().await, "").await;
    let mut agent = Agent::new(&world).await;
    let status = caller.daemon.status().await.unwrap();
    assert!(bool::try_from(status["agent"].clone()).unwrap());
    let mut asking = session(&credential);
    asking.insert("reason", "x\u{202e}”\n<b>Approve</b>".into());
    asking.insert("remote", "far.example".into());
    let mut pending = caller.presence("one", &asking).await.unwrap();
    let (prompt, details) = agent.asked().await;
    assert_eq!(text(&details, "title"), "Sign in");
    assert!(text(&details, "action").starts_with("new session at "));
    assert_eq!(text(&details, "reason"), "x\\u{202e}”\\u{a}<b>Approve</b>");
    assert_eq!(text(&details, "remote"), "far.example");
    let me = rustix::process::getuid().as_raw();
    assert_eq!(u32::try_from(details["uid"].clone()).unwrap(), me);
    assert_eq!(u32::try_from(details["pid"].clone()).unwrap(), std::process::id());
    assert!(details.contains_key("program"));

    stage_by(&mut pending, "pin-needed", true).await;
    let asked = agent.stage("pin-needed").await;
    assert_eq!(text(&asked, "title"), "Sign in");
    world.keys[0].touch_auto().unwrap();
    prompt.provide_pin(pipe_with(PIN)).await.unwrap();
    pending.results().await;
    assert_eq!(agent.withdrawn().await, ("ok".into(), String::new()));
    // The prompt is gone with its end.
    let gone = prompt.refuse().await.unwrap_err();
    let zbus::Error::FDO(gone) = gone else { panic!("{gone:?}") };
    assert!(matches!(*gone, zbus::fdo::Error::UnknownObject(_)), "{gone:?}");
    assert!(!world.signetd.log().contains(PIN));
}

#[tokio::test]
async fn only_the_agent_that_was_asked_answers() {
    let (world, caller, credential) = ready(untouched_key().await, "").await;
    let mut older = Agent::new(&world).await;
    let mut newer = Agent::new(&world).await;
    let mut pending = caller.presence("one", &session(&credential)).await.unwrap();
    let (prompt, _) = newer.asked().await;
    pending.stage("pin-needed").await;
    let path = prompt.inner().path().to_owned();
    for connection in [&older.connection, &caller.connection] {
        let foreign = PromptProxy::builder(connection).path(path.clone()).build().await.unwrap();
        for refused in [
            foreign.refuse().await,
            foreign.provide_pin(pipe_with("123456")).await,
            foreign.confirm_number(42).await,
        ] {
            let (name, words) = refusal(refused.unwrap_err());
            assert_eq!(name, "NotAllowed");
            assert!(words.contains("another agent"), "{words}");
        }
    }
    // Nor does the agent answer on the caller's own request, or give a number nobody asked for.
    let request = Caller { connection: newer.connection.clone(), daemon: caller.daemon.clone() };
    let request = request.request_at(pending.path.as_str()).await;
    assert_eq!(refusal(request.cancel().await.unwrap_err()).0, "NotAllowed");
    let (name, words) = refusal(prompt.confirm_number(42).await.unwrap_err());
    assert_eq!(name, "InvalidArgument");
    assert!(words.contains("no number was asked for"), "{words}");
    assert!(older.was_told_nothing());
    prompt.refuse().await.unwrap();
    let (outcome, words) = pending.outcome().await;
    assert_eq!(outcome, "Cancelled");
    assert!(words.contains("refused at the prompt"), "{words}");
}

#[tokio::test]
async fn a_refusal_cools_the_same_words_down_and_a_callers_cancel_does_not() {
    let config = "[timeouts]\ncool_down = 3600";
    let (world, caller, credential) = ready(untouched_key().await, config).await;
    let mut agent = Agent::new(&world).await;
    let mut pending = caller.presence("one", &session(&credential)).await.unwrap();
    let _asked = agent.asked().await;
    pending.stage("pin-needed").await;
    pending.request.cancel().await.unwrap();
    assert_eq!(pending.outcome().await.0, "Cancelled");
    assert_eq!(agent.withdrawn().await.0, "Cancelled");

    let mut pending = caller.presence("two", &session(&credential)).await.unwrap();
    let (prompt, _) = agent.asked().await;
    // Another challenge, the same words: waiting, it is refused with it.
    let mut waits = world.caller().await.presence("w", &another(&credential, 9)).await.unwrap();
    waits.stage("queued").await;
    prompt.refuse().await.unwrap();
    assert_eq!(pending.outcome().await.0, "Cancelled");
    let (outcome, words) = waits.outcome().await;
    assert_eq!(outcome, "CoolingDown");
    assert!(words.contains("asked again in 3600 s"), "{words}");
    let other = world.caller().await;
    let error = other.presence("three", &another(&credential, 7)).await.err().unwrap();
    let (name, words) = refusal(error);
    assert_eq!(name, "CoolingDown");
    assert!(words.contains("asked again in 3"), "{words}");
    // Other words are other words.
    let mut listed = caller.upkeep("ListCredentials", "list", &Options::new()).await.unwrap();
    listed.stage("pin-needed").await;
}

#[tokio::test]
async fn the_same_request_is_asked_once_and_answers_both_callers() {
    let (world, first, credential) = ready(untouched_key().await, "").await;
    let mut agent = Agent::new(&world).await;
    let second = world.caller().await;
    let mut one = first.presence("one", &session(&credential)).await.unwrap();
    let (prompt, _) = agent.asked().await;
    one.stage("pin-needed").await;
    let mut two = second.presence("two", &session(&credential)).await.unwrap();
    stage_by(&mut two, "pin-needed", true).await;
    world.keys[0].touch_auto().unwrap();
    prompt.provide_pin(pipe_with(PIN)).await.unwrap();
    let results = [one.results().await, two.results().await];
    assert_eq!(results[0]["evidence"], results[1]["evidence"]);
    assert_eq!(agent.withdrawn().await.0, "ok");
    assert!(agent.was_told_nothing());
}

#[tokio::test]
async fn an_agent_that_leaves_hands_over_to_the_next_and_then_to_the_caller() {
    let (world, caller, credential) = ready(untouched_key().await, "").await;
    let mut older = Agent::new(&world).await;
    let mut newer = Agent::new(&world).await;
    let mut pending = caller.presence("one", &session(&credential)).await.unwrap();
    newer.asked().await;
    newer.stage("pin-needed").await;
    stage_by(&mut pending, "pin-needed", true).await;
    newer.connection.close().await.unwrap();
    older.asked().await;
    // It is told at once what is wanted now.
    older.stage("pin-needed").await;
    stage_by(&mut pending, "pin-needed", true).await;
    older.connection.close().await.unwrap();
    stage_by(&mut pending, "pin-needed", false).await;
    world.keys[0].touch_auto().unwrap();
    pending.give_pin(PIN).await.unwrap();
    pending.results().await;
}

#[tokio::test]
async fn an_agent_that_hangs_is_passed_over() {
    let (world, caller, credential) = ready(untouched_key().await, "").await;
    let mut good = Agent::new(&world).await;
    let mut hanging = Agent::with(&world, &["show", "pin"], true).await;
    let mut pending = caller.presence("one", &session(&credential)).await.unwrap();
    let (late, _) = hanging.asked().await;
    let (prompt, _) = good.asked().await;
    good.stage("pin-needed").await;
    // What comes too late is no answer.
    assert_eq!(refusal(late.refuse().await.unwrap_err()).0, "NotAllowed");
    world.keys[0].touch_auto().unwrap();
    prompt.provide_pin(pipe_with(PIN)).await.unwrap();
    pending.results().await;
    // It is not asked again.
    drop(good);
    let mut again = caller.presence("two", &session(&credential)).await.unwrap();
    again.stage("pin-needed").await;
    assert!(hanging.was_told_nothing());
}

#[tokio::test]
async fn an_agent_without_a_pinentry_leaves_the_pin_to_the_caller() {
    let (world, caller, credential) = ready(untouched_key().await, "").await;
    world.keys[0].touch_manual().unwrap();
    let mut agent = Agent::with(&world, &["show"], false).await;
    let mut pending = caller.presence("one", &session(&credential)).await.unwrap();
    agent.asked().await;
    stage_by(&mut pending, "pin-needed", false).await;
    pending.give_pin(PIN).await.unwrap();
    stage_by(&mut pending, "touch-needed", true).await;
    agent.stage("touch-needed").await;
    world.keys[0].touch().unwrap();
    pending.results().await;
}

#[tokio::test]
async fn where_only_agents_ask_nobody_else_does() {
    let config = "prompts = \"agent\"";
    let (world, credential) = {
        let (mut world, _, credential) = ready(untouched_key().await, "").await;
        world.reconfigure(config);
        (world, credential)
    };
    let caller = world.caller().await;
    let refused = |error: zbus::Error| {
        let (name, words) = refusal(error);
        assert_eq!(name, "CannotPrompt");
        assert!(words.contains("signet agent"), "{words}");
    };
    refused(caller.presence("none", &session(&credential)).await.err().unwrap());
    // One that cannot ask for PINs is none.
    let _mute = Agent::with(&world, &["show"], false).await;
    refused(caller.presence("mute", &session(&credential)).await.err().unwrap());

    let mut agent = Agent::new(&world).await;
    let mut pending = caller.presence("one", &session(&credential)).await.unwrap();
    agent.asked().await;
    stage_by(&mut pending, "pin-needed", true).await;
    let (name, words) = refusal(pending.give_pin(PIN).await.unwrap_err());
    assert_eq!(name, "NotAllowed");
    assert!(words.contains("agent asks for the PIN"), "{words}");
    agent.connection.close().await.unwrap();
    let (outcome, words) = pending.outcome().await;
    assert_eq!(outcome, "CannotPrompt");
    assert!(words.contains("signet agent"), "{words}");
}

fn critical(credential: &[u8], name: &str) -> Options {
    let action = serde_json::json!([{
        "type": "signet_action", "actions": [name], "locations": ["https://ctl.mesh.example"],
        "method": "PUT", "path": "/v1/certs/7",
        "content_digest": "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
    }]);
    let action = action.to_string().into_bytes();
    with(with(session(credential), "purpose", "action".into()), "action", action.into())
}

#[tokio::test]
async fn a_number_is_matched_for_the_actions_that_want_it() {
    let config = "number_matching = [\"mesh.cert.*\"]";
    let (world, caller, credential) = ready(untouched_key().await, config).await;
    let revoke = critical(&credential, "mesh.cert.revoke");
    let (name, words) = refusal(caller.presence("none", &revoke).await.err().unwrap());
    assert_eq!(name, "CannotPrompt");
    assert!(words.contains("number"), "{words}");

    let mut agent = Agent::new(&world).await;
    let mut pending = caller.presence("one", &revoke).await.unwrap();
    let (prompt, details) = agent.asked().await;
    assert_eq!(text(&details, "action"), "mesh.cert.revoke: PUT ctl.mesh.example/v1/certs/7");
    let shown = pending.stage("number-shown").await;
    let shown = u32::try_from(shown["number"].clone()).unwrap();
    let offered = agent.stage("number-needed").await;
    assert!(!offered.contains_key("number"), "the number is the person's to bring");
    let choices: Vec<u32> = offered["choices"].try_clone().unwrap().try_into().unwrap();
    assert!(choices.contains(&shown) && choices.len() == 3, "{choices:?}, {shown}");
    for wrong in [0, 9, 100, u32::MAX] {
        let error = prompt.confirm_number(wrong).await.unwrap_err();
        assert_eq!(refusal(error).0, "InvalidArgument");
    }
    prompt.confirm_number(shown).await.unwrap();
    agent.stage("pin-needed").await;
    assert_eq!(refusal(prompt.confirm_number(shown).await.unwrap_err()).0, "InvalidArgument");
    world.keys[0].touch_auto().unwrap();
    prompt.provide_pin(pipe_with(PIN)).await.unwrap();
    pending.results().await;
    assert_eq!(agent.withdrawn().await.0, "ok");

    // A wrong one refuses, and cools down.
    let mut pending = caller.presence("two", &revoke).await.unwrap();
    let (prompt, _) = agent.asked().await;
    let shown = pending.stage("number-shown").await;
    let shown = u32::try_from(shown["number"].clone()).unwrap();
    prompt.confirm_number(if shown == 10 { 11 } else { shown - 1 }).await.unwrap();
    let (outcome, words) = pending.outcome().await;
    assert_eq!(outcome, "Cancelled");
    assert!(words.contains("wrong number"), "{words}");
    let again = caller.presence("three", &revoke).await.err().unwrap();
    assert_eq!(refusal(again).0, "CoolingDown");
}

#[tokio::test]
async fn an_agent_that_leaves_with_the_number_open_takes_the_request_along() {
    let config = "number_matching = [\"mesh.cert.revoke\"]";
    let (world, caller, credential) = ready(untouched_key().await, config).await;
    let mut agent = Agent::new(&world).await;
    let revoke = critical(&credential, "mesh.cert.revoke");
    let mut pending = caller.presence("one", &revoke).await.unwrap();
    agent.asked().await;
    pending.stage("number-shown").await;
    agent.connection.close().await.unwrap();
    assert_eq!(pending.outcome().await.0, "CannotPrompt");
}

#[tokio::test]
async fn another_users_agent_is_never_asked() {
    if !rustix::process::getuid().is_root() {
        // Only root can be two users.
        return;
    }
    let (world, caller, credential) = ready(untouched_key().await, "").await;
    world.open_bus_to_everybody();
    let other = Foreign::start(&world, Some(65534));
    assert!(world.signetd.log().contains("uid=65534"));
    let mut pending = caller.presence("one", &session(&credential)).await.unwrap();
    stage_by(&mut pending, "pin-needed", false).await;
    let status = caller.daemon.status().await.unwrap();
    assert!(!bool::try_from(status["agent"].clone()).unwrap());
    drop(other);
}

/// An agent in another process, maybe of another user, that takes note of everything.
struct Foreign(std::process::Child);

impl Foreign {
    fn start(world: &World, user: Option<u32>) -> Self {
        let script = format!(
            r#"
import sys
from gi.repository import Gio, GLib
flags = Gio.DBusConnectionFlags
bus = Gio.DBusConnection.new_for_address_sync(
    {:?}, flags.AUTHENTICATION_CLIENT | flags.MESSAGE_BUS_CONNECTION, None, None)
node = Gio.DBusNodeInfo.new_for_xml(sys.argv[1])
def taken(connection, sender, path, interface, method, arguments, invocation):
    invocation.return_value(None)
bus.register_object("/org/signet/Agent", node.interfaces[0], taken, None, None)
yes = GLib.Variant("b", True)
def registered(connection, result):
    connection.call_finish(result)
    print("registered", flush=True)
bus.call("org.signet.Presence1", "/org/signet/Presence1", "org.signet.Presence1", "RegisterAgent",
    GLib.Variant("(a{{sv}})", ({{"show": yes, "pin": yes}},)), None, 0, -1, None, registered)
GLib.MainLoop().run()
"#,
            world.bus.address(),
        );
        let interface = include_str!("../../dbus/org.signet.Presence1.Agent.xml");
        let mut program = Command::new("/usr/bin/python3");
        program.args(["-c", &script, interface]).stdin(Stdio::null()).stdout(Stdio::piped());
        if let Some(user) = user {
            program.uid(user).gid(user);
        }
        let mut child = program.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "registered\n");
        Self(child)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn an_agent_of_another_language_that_is_stopped_in_the_middle_is_noticed() {
    let (world, caller, credential) = ready(untouched_key().await, "").await;
    let agent = Foreign::start(&world, None);
    let mut pending = caller.presence("one", &session(&credential)).await.unwrap();
    stage_by(&mut pending, "pin-needed", true).await;
    let pid = rustix::process::Pid::from_raw(agent.0.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    stage_by(&mut pending, "pin-needed", false).await;
    world.keys[0].touch_auto().unwrap();
    pending.give_pin(PIN).await.unwrap();
    pending.results().await;
}
