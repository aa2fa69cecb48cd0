//! The demonstration: its steps, its program, and what it leaves behind.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use signet_tests::demo::{Stage, Step};
use signet_tests::house::House;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_holds() {
    let mut stage = Stage::new(House::start().await.unwrap());
    for step in Step::ALL {
        let record = stage.play(step).await;
        assert!(record.held, "{record:#?}\n{}", stage.house.authority.log());
    }
}

/// The program, with a folder of its own for everything temporary.
fn start(scratch: &Path) -> Child {
    let here = std::env::current_exe().unwrap();
    let mut places = here.ancestors().skip(1).take(2).map(|folder| folder.join("signet-demo"));
    let program: PathBuf = places.find(|path| path.is_file()).unwrap();
    let mut command = Command::new(program);
    command.env("TMPDIR", scratch).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    command.spawn().unwrap()
}

/// Nothing in the folder, and no process that was told of it.
fn nothing_is_left(scratch: &Path) {
    let left: Vec<_> = std::fs::read_dir(scratch).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(left, [] as [PathBuf; 0]);
    let name = scratch.to_str().unwrap();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        assert!(!line.contains(name), "{line}");
    }
}

#[tokio::test]
async fn the_program_tells_and_writes_the_same_and_cleans_up() {
    let scratch = tempfile::tempdir().unwrap();
    let mut program = start(scratch.path());
    let mut text = String::new();
    program.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
    assert_eq!(program.wait().await.unwrap().code(), Some(0), "{text}");
    let steps = Step::ALL.len();
    assert_eq!(text.lines().last(), Some(format!("demo: {steps} steps, all held").as_str()));
    // No colour but on a terminal.
    assert!(!text.contains('\u{1b}'));
    let transcript = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/demo/transcript.json");
    let transcript: Vec<Value> =
        serde_json::from_slice(&std::fs::read(transcript).unwrap()).unwrap();
    assert_eq!(transcript.len(), steps);
    for (at, record) in transcript.iter().enumerate() {
        assert_eq!((&record["step"], &record["held"]), (&Value::from(at + 1), &Value::from(true)));
        assert!(text.contains(record["title"].as_str().unwrap()), "{record}");
    }
    nothing_is_left(scratch.path());
}

#[tokio::test]
async fn an_interrupted_program_cleans_up() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let scratch = tempfile::tempdir().unwrap();
        let mut program = start(scratch.path());
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        // In the middle: something is enrolled, everything runs.
        while lines.next_line().await.unwrap().unwrap() != "    held" {}
        let pid = i32::try_from(program.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
        while lines.next_line().await.unwrap().is_some() {}
        assert_eq!(program.wait().await.unwrap().code(), Some(130), "{signal:?}");
        nothing_is_left(scratch.path());
    }
}
