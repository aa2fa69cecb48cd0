//! `signet-demo`: the main job on real parts, told step by step. Exit 0 when every step held, 1 when
//! one did not, 130 when it was interrupted. Nothing is left behind but `target/demo`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use signet_tests::demo::show::{Printer, write_transcript};
use signet_tests::demo::{Fault, Stage, Step, StepRecord};
use signet_tests::house::{FINGER, House};
use tokio::signal::unix::{Signal, SignalKind, signal};

const USAGE: &str = "\
Shows Signet's main job on real parts: swtpm, a software key, a private bus, signetd, the
authority and Envoy, all in temporary directories on loopback ports.

Usage: signet-demo [--keep]

  --keep   leave everything running after the steps, and print how to try it by hand";

/// SIGINT, SIGTERM, or the terminal is gone.
struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Interrupt {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn arrived(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let keep = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--keep"] => true,
        ["--help" | "-h"] => {
            let _ = writeln!(io::stdout(), "{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            let _ = writeln!(io::stderr(), "{USAGE}");
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return broken(&error.into()),
    };
    // Whatever ends the future drops the house, and with it every process and directory.
    let ended = runtime.block_on(async {
        let mut interrupt = Interrupt::listen()?;
        tokio::select! {
            biased;
            () = interrupt.arrived() => Ok(None),
            shown = show(keep) => shown.map(Some),
        }
    });
    // Waits for parts that were just being started; they are dropped as soon as they are there.
    drop(runtime);
    match ended {
        Ok(Some(held)) => ExitCode::from(u8::from(!held)),
        Ok(None) => {
            let _ = writeln!(io::stderr(), "\ndemo: stopped; everything was cleaned up");
            ExitCode::from(130)
        }
        Err(error) => broken(&error),
    }
}

/// Plays every step; whether all held.
async fn show(keep: bool) -> Result<bool, Fault> {
    let printer = Printer::for_stdout();
    printer
        .line("Starting swtpm, software key, private bus, signetd, authority, Envoy, upstream …")?;
    let mut stage = Stage::new(match House::start().await {
        Ok(house) => house,
        Err(error) => {
            hear_interrupts().await;
            return Err(error.into());
        }
    });
    let mut records: Vec<StepRecord> = Vec::new();
    for step in Step::ALL {
        let record = stage.play(step).await;
        if !record.held {
            hear_interrupts().await;
        }
        printer.step(&record)?;
        let held = record.held;
        records.push(record);
        if !held {
            break;
        }
    }
    write_transcript(&transcript(), &records)?;
    let held = records.iter().all(|record| record.held);
    let last = match records.last() {
        Some(record) if !record.held => {
            format!("\ndemo: step {} did not hold: {}", record.step, record.title)
        }
        _ => format!("\ndemo: {} steps, all held", records.len()),
    };
    if keep {
        printer.line(&last)?;
        printer.line(&by_hand(&stage))?;
        std::future::pending::<()>().await;
    }
    drop(stage);
    printer.line(&last)?;
    Ok(held)
}

/// Ctrl-C on a terminal reaches the parts too. When one fails, a signal to us may be on its way: it
/// is the better explanation.
async fn hear_interrupts() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// `target/demo/transcript.json` of the tree that this program was built in.
fn transcript() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/demo/transcript.json")
}

fn by_hand(stage: &Stage) -> String {
    let house = &stage.house;
    let alice = &house.alice;
    let mut text = String::from("\nEverything is still running. In another terminal:\n\n");
    for (name, value) in alice.environment() {
        text.push_str(&format!("  export {name}={value:?}\n"));
    }
    let folder = alice.program().parent().unwrap_or(Path::new("."));
    text.push_str(&format!("  export PATH={}:$PATH\n\n", folder.display()));
    let touch = format!(
        "python3 -c 'import socket; s = socket.socket(socket.AF_UNIX); s.connect({:?}); \
         s.sendall(b\"finger {FINGER}\\n\"); s.recv(9)'",
        alice.key.control_socket().display().to_string()
    );
    text.push_str(&format!("  finger() {{ {touch}; }}     # puts the finger on alice's key\n\n"));
    let ca = house.mesh.ca.display();
    let url = house.url(signet_tests::demo::STAGING);
    let production = house.url(signet_tests::demo::PRODUCTION);
    let config = house.authority.config();
    for line in [
        "signet status".to_owned(),
        "finger; signet login".to_owned(),
        format!("signet request GET {url} --cacert {ca}"),
        format!("finger; signet request DELETE {production} --cacert {ca}"),
        format!("signet-authority --config {} audit list", config.display()),
    ] {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str("\nCtrl-C ends and removes everything.");
    text
}

fn broken(error: &Fault) -> ExitCode {
    let _ = writeln!(io::stderr(), "demo: could not go on: {error}");
    ExitCode::FAILURE
}
