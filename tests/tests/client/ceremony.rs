//! What happens while a person is asked: interrupts, PINs, nobody there, `signetd` gone.

use rustix::process::{Pid, Signal, kill_process};
use signet_tests::house::PIN;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use crate::bench::{Bench, refused};

/// Reads standard error until this word comes.
pub(crate) async fn until(child: &mut Child, word: &str) {
    let stderr = child.stderr.as_mut().unwrap();
    let mut lines = BufReader::new(stderr).lines();
    let mut before = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.contains(word) {
            return;
        }
        before.push(line);
    }
    panic!("{word:?} never came, but {before:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_cancels_at_signetd() {
    let mut bench = Bench::ready().await;
    for signal in [Signal::INT, Signal::TERM] {
        let mut child = bench.station.command(&["login"]).spawn().unwrap();
        until(&mut child, "Finger needed").await;
        let pid = i32::try_from(child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(1));
        assert!(bench.station.signetd.log().contains("outcome=\"Cancelled\""));
        // OpenSK hears no CANCEL while it waits for a finger; unplugging helps.
        bench.station.key.restart().unwrap();
        assert_eq!(bench.good(&["status"]).await["queue_length"], 0);
    }
    bench.station.put_finger().unwrap();
    bench.good(&["login"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signetd_killed_while_it_asks_is_said_and_the_next_login_works() {
    let mut bench = Bench::ready().await;
    let mut child = bench.station.command(&["--json", "login"]).spawn().unwrap();
    until(&mut child, "Finger needed").await;
    bench.station.signetd.kill();
    assert_eq!(child.wait().await.unwrap().code(), Some(3));
    let message = bench.bad(&["login"], 3, "unavailable").await;
    assert!(message.contains("signetd is not running"), "{message}");
    bench.station.signetd.restart().unwrap();
    // OpenSK hears no CANCEL while it waits for a finger; unplugging helps.
    bench.station.key.restart().unwrap();
    bench.station.put_finger().unwrap();
    bench.good(&["login"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_comes_by_descriptor_and_never_twice() {
    let mut bench = Bench::enrolled().await;
    let _key = bench.plug_pin_key().await;
    let added = bench.run_with_pin(PIN, &["key", "add", "--name", "pin key"]).await;
    assert_eq!(added.code, Some(0), "{}", added.stderr);

    let login = bench.run_with_pin(PIN, &["login"]).await;
    assert_eq!(login.code, Some(0), "{}", login.stderr);
    assert!(!login.stderr.contains(PIN) && !login.stdout.contains(PIN));

    let (code, typed) = bench.typed("login", &[("characters): ", PIN)]).await;
    assert_eq!(code, Some(0), "{typed}");
    assert!(typed.contains("logged in as alice"), "{typed}");
    assert!(!typed.contains(PIN), "the PIN is not shown: {typed}");

    let wrong = bench.run_with_pin("000000", &["login"]).await;
    let message = refused(&wrong, 1, "PinInvalid");
    assert!(message.contains("is not right"), "{message}");
    assert!(wrong.stderr.contains("Wrong PIN, "), "{}", wrong.stderr);

    // Without a terminal and without a descriptor there is nobody to ask: that is no answer.
    let nobody = bench.station.command(&["--json", "login"]);
    let nobody = detached(nobody).await;
    let message = refused(&nobody, 3, "could-not-ask");
    assert!(message.contains("--pin-fd"), "{message}");
    assert_eq!(bench.good(&["status"]).await["queue_length"], 0);
}

/// Runs a command without a controlling terminal.
pub(crate) async fn detached(command: tokio::process::Command) -> signet_tests::house::Ran {
    let command = command.as_std();
    let mut alone = tokio::process::Command::new("setsid");
    alone.arg("--wait").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            alone.env(name, value);
        }
    }
    alone.current_dir(command.get_current_dir().unwrap()).stdin(std::process::Stdio::null());
    let output = alone.output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    signet_tests::house::Ran {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}
