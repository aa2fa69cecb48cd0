//! The authority's token key is rotated while HAProxy checks tokens with its files (`haproxy-native`): by the
//! commands of its README, without a refused token that is good, and without an accepted one that is not.

use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use signet_authority::keys::{AHEAD, OVERLAP};
use signet_tests::gateway::profile;
use signet_tests::house::program;

use crate::stage::{Machine, Stage, now};

/// Far above what a reload takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// What HAProxy's master says when a worker with the files of before is gone.
const RELOADED: &str = "Former worker";

struct Scene {
    stage: Stage,
    bob: Machine,
}

impl Scene {
    fn set() -> Self {
        let stage = Stage::of(profile::named("haproxy-native").unwrap());
        let bob = stage.enrol("bob");
        Self { stage, bob }
    }

    /// Runs `signet-authority` with these words, and gives its answer.
    fn run(&self, words: &[&str]) -> Value {
        let settings = self.stage.folder().join("authority.toml");
        let mut command = Command::new(program("signet-authority").unwrap());
        command.arg("--json").arg("--config").arg(settings).args(words);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        let answer = String::from_utf8(output.stdout).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{words:?}: {answer}"))
    }

    fn rotate(&self, more: &[&str]) {
        self.run(&[&["keys", "rotate"], more].concat());
        assert!(self.reread());
    }

    /// The authority looks whether its keys' file changed, as it does each second.
    fn reread(&self) -> bool {
        self.stage.authority.keys.token.reload(&self.keys()).unwrap()
    }

    fn keys(&self) -> PathBuf {
        self.stage.folder().join("keys")
    }

    /// The command of the README; with a reload, returns when no worker has the files of before.
    fn publish(&self, expected: Publish) {
        let reloads = || self.stage.gateway.log().matches(RELOADED).count();
        let before = reloads();
        let out = self.stage.folder().display().to_string();
        let reload = format!("kill -USR2 {}", self.stage.gateway.pid());
        let answer = self.run(&["keys", "public", "--out", &out, "--then", &reload]);
        assert_eq!(answer["changed"], expected == Publish::Changed, "{answer}");
        let deadline = Instant::now() + PATIENCE;
        while expected == Publish::Changed && reloads() == before {
            assert!(Instant::now() < deadline, "{}", self.stage.gateway.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets the plan of the keys say that so much time has passed.
    fn pass(&self, time: Duration) {
        let path = self.keys().join("token-keys.json");
        let mut plan: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for key in plan["keys"].as_array_mut().unwrap() {
            for member in ["signs_from", "ends"] {
                if let Some(second) = key[member].as_i64() {
                    key[member] = (second - i64::try_from(time.as_secs()).unwrap()).into();
                }
            }
        }
        std::fs::write(&path, plan.to_string()).unwrap();
        assert!(self.reread());
    }

    /// A token of the key that signs now, which lives longer than this test.
    fn token(&self) -> String {
        self.stage.forged_token(&self.bob, |claims| claims.exp = now().0 + 3600)
    }

    /// Whether it opens, over a connection of its own.
    fn opens(&self, token: &str) -> bool {
        let line = "GET /v1/namespaces/sandbox/routes/web";
        let header = format!("authorization: Bearer {token}");
        let answer = self.stage.send(&self.bob, line, &[&header], "");
        assert!(matches!(answer.status, 200 | 401), "{answer:?}");
        let told = answer.header("www-authenticate").unwrap_or_default();
        assert_eq!(answer.status == 401, told.contains("error=\"invalid_token\""), "{answer:?}");
        answer.status == 200
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Publish {
    Changed,
    Unchanged,
}

#[test]
fn tokens_pass_through_a_rotation_and_those_of_a_removed_key_do_not() {
    let scene = Scene::set();
    let before = scene.stage.upstream.received().len();
    let first = scene.token();
    assert!(scene.opens(&first));
    scene.publish(Publish::Unchanged);

    // The next key is in HAProxy's hands before it signs; the first one signs on.
    scene.rotate(&[]);
    scene.publish(Publish::Changed);
    assert!(scene.opens(&first) && scene.opens(&scene.token()));
    scene.publish(Publish::Unchanged);

    // It signs: both count, before HAProxy hears of it and after.
    scene.pass(AHEAD);
    let second = scene.token();
    assert!(scene.opens(&first) && scene.opens(&second));
    scene.publish(Publish::Changed);
    assert!(scene.opens(&first) && scene.opens(&second));

    // The first one has ended, and with it what it signed.
    scene.pass(OVERLAP);
    assert!(scene.opens(&first), "until the files are written");
    scene.publish(Publish::Changed);
    assert!(!scene.opens(&first) && scene.opens(&second));

    // In an emergency the files are all that helps: until they are written, the stolen key opens.
    scene.rotate(&["--emergency"]);
    let third = scene.token();
    assert!(scene.opens(&second) && !scene.opens(&third));
    scene.publish(Publish::Changed);
    assert!(!scene.opens(&second) && scene.opens(&third));
    // The upstream saw what passed, and nothing else.
    assert_eq!(scene.stage.upstream.received().len(), before + 11);
}
