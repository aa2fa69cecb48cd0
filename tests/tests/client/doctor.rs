//! `signet doctor` on a healthy workstation, and with each of its parts broken in turn.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use signet_tests::house::{PIN, Ran, Station};

use crate::bench::Bench;

/// Files as packages and the kernel put them.
const INSTALLED: [&str; 5] = [
    "usr/lib/systemd/system/signetd.service",
    "usr/share/dbus-1/system.d/org.signet.Presence1.conf",
    "usr/share/dbus-1/system-services/org.signet.Presence1.service",
    "sys/class/tpm/tpm0/tpm_version_major",
    "dev/tpmrm0",
];

/// What was found: state, summary, fix and facts by check.
struct Report {
    ran: Ran,
    checks: BTreeMap<String, Value>,
}

impl Report {
    fn of(ran: Ran) -> Self {
        let report = ran.json();
        assert_eq!(report["format"], 1, "{ran:?}");
        let listed = report["checks"].as_array().unwrap();
        let name = |check: &Value| check["check"].as_str().unwrap().to_owned();
        let checks = listed.iter().map(|check| (name(check), check.clone())).collect();
        Self { ran, checks }
    }

    fn state(&self, check: &str) -> &str {
        self.checks[check]["state"].as_str().unwrap()
    }

    fn fact(&self, check: &str, name: &str) -> &Value {
        &self.checks[check]["facts"][name]
    }

    /// Expects this state of each check, and a fix for each that is a problem.
    fn expect(&self, expected: &[(&str, &str)]) {
        for (check, state) in expected {
            assert_eq!(self.state(check), *state, "{check}: {:#}", self.ran.json());
        }
        for check in self.checks.values() {
            let problem = check["state"] == "warn" || check["state"] == "fail";
            assert_eq!(check["fix"].is_string(), problem, "{check}");
        }
        let failed = self.checks.values().any(|check| check["state"] == "fail");
        assert_eq!(self.ran.code, Some(i32::from(failed)));
    }

    /// Expects that the line says this in its summary or its fix.
    fn says(&self, check: &str, words: &str) {
        let line = &self.checks[check];
        let text = format!("{} {}", line["summary"], line["fix"]);
        assert!(text.contains(words), "{words:?} in {text}");
    }
}

/// A folder that looks like a machine with the packages on it.
fn root(station: &Station) -> PathBuf {
    let root = station.file("root");
    for file in INSTALLED {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "2\n").unwrap();
    }
    root
}

async fn doctor(bench: &Bench) -> Report {
    let root = root(&bench.station).display().to_string();
    Report::of(bench.run(&["doctor", "--root", &root]).await)
}

/// By a clock that is off by so much.
async fn doctor_at(bench: &Bench, offset: &str) -> Report {
    let mut command = tokio::process::Command::new("faketime");
    command.args(["-f", offset]).arg(bench.station.program());
    command.args(["--json", "doctor", "--root"]).arg(root(&bench.station));
    command.envs(bench.station.environment()).stdin(std::process::Stdio::null());
    let output = command.output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    Report::of(Ran { code: output.status.code(), stdout, stderr })
}

/// What does not depend on how the test was started.
const WELL: [(&str, &str); 12] = [
    ("units", "ok"),
    ("bus", "ok"),
    ("signetd", "ok"),
    ("tpm", "ok"),
    ("tpm-lockout", "ok"),
    ("ek", "ok"),
    ("enrolment", "ok"),
    ("keys", "ok"),
    ("certificates", "ok"),
    ("clock", "ok"),
    ("authority", "ok"),
    ("security-keys", "ok"),
];

/// The same, but for these.
fn but(changed: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let mut expected: BTreeMap<_, _> = WELL.into();
    expected.extend(changed.iter().copied());
    expected.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_workstation_and_nothing_secret() {
    let (bench, session) = Bench::logged_in().await;
    let report = doctor(&bench).await;
    report.expect(&WELL);
    assert_eq!(report.fact("authority", "keys_enrolled"), 1);
    assert_eq!(report.fact("tpm", "manufacturer"), "IBM");
    let names = report.fact("ek", "certificates").as_array().unwrap();
    assert!(names.contains(&"ecc-p384".into()), "{names:?}");
    assert_eq!(report.fact("certificates", "device")["renewal_due"], false);
    assert_eq!(report.fact("certificates", "ak")["renewal_due"], false);
    assert!(report.fact("clock", "ahead_seconds").as_i64().unwrap().abs() < 60);

    let people = bench.station.signet(&["doctor"]).await.unwrap();
    assert!(people.stdout.contains("answers, and knows this machine"), "{people:?}");
    let cached = std::fs::read_to_string(bench.cache()).unwrap();
    let token = serde_json::from_str::<Value>(&cached).unwrap()["access_token"].clone();
    let session = session["session"].as_str().unwrap().to_owned();
    for told in [&report.ran.stdout, &people.stdout, &people.stderr] {
        for secret in [token.as_str().unwrap(), &session, PIN] {
            assert!(!told.contains(secret), "{secret} in {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn not_enrolled() {
    let bench = Bench::new().await;
    let report = doctor(&bench).await;
    let unknown = ["keys", "certificates", "clock", "authority"].map(|check| (check, "unknown"));
    report.expect(&but(&[&unknown[..], &[("enrolment", "fail")]].concat()));
    report.says("enrolment", "signet enrol");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_signetd() {
    let mut bench = Bench::ready().await;
    bench.station.signetd.kill();
    let report = doctor(&bench).await;
    report.expect(&[("bus", "ok"), ("signetd", "fail"), ("units", "ok")]);
    report.says("signetd", "systemctl start signetd");
    // The kernel's word is all there is.
    report.expect(&[("tpm", "unknown")]);
    for check in ["agent", "sandbox", "tpm-lockout", "ek", "boot-log", "enrolment", "keys"] {
        assert_eq!(report.state(check), "unknown", "{check}");
    }
    let empty = bench.station.file("empty").display().to_string();
    let report = Report::of(bench.run(&["doctor", "--root", &empty]).await);
    report.expect(&[("tpm", "fail"), ("units", "fail")]);
    report.says("tpm", "enable the TPM in the firmware");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bus_and_settings_that_cannot_be_read() {
    let bench = Bench::new().await;
    let folder = bench.station.file("config/signet");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("client.toml"), "colour = 1\n").unwrap();
    let root = root(&bench.station).display().to_string();
    let arguments = ["--bus", "unix:path=/nonexistent/bus", "doctor", "--root", &root];
    let report = Report::of(bench.run(&arguments).await);
    report.expect(&[("bus", "fail"), ("signetd", "unknown"), ("polkit", "unknown")]);
    let fault = report.ran.json()["settings_fault"].as_str().unwrap().to_owned();
    assert!(fault.contains("client.toml is not a valid settings file"), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_is_down() {
    let mut bench = Bench::ready().await;
    bench.authority.kill();
    let report = doctor(&bench).await;
    report.expect(&but(&[("authority", "fail"), ("clock", "unknown")]));
    report.says("authority", "readyz must answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_machine() {
    let bench = Bench::ready().await;
    let device = bench.good(&["status"]).await["device_id"].as_str().unwrap().to_owned();
    bench.authority.revoke("device", &device).unwrap();
    let report = doctor(&bench).await;
    report.expect(&but(&[("authority", "fail")]));
    assert_eq!(report.fact("authority", "code"), "device-revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_due() {
    let mut bench = Bench::new().await;
    // Counted from the backdated start two thirds are over at once.
    bench.set("device_certificate", "\"150s\"");
    bench.enrol_first().await;
    let report = doctor(&bench).await;
    let due = [("certificates", "warn"), ("security-keys", "warn")];
    report.expect(&but(&due));
    report.says("certificates", "signet enrol --renew");
    report.says("security-keys", "signet key add");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_run_out() {
    let mut bench = Bench::new().await;
    bench.set("device_certificate", "\"3s\"");
    bench.enrol_first().await;
    let patience = Instant::now() + Duration::from_secs(60);
    let report = loop {
        let report = doctor(&bench).await;
        if report.state("certificates") == "fail" && report.state("authority") == "fail" {
            break report;
        }
        assert!(Instant::now() < patience, "the certificate does not run out");
    };
    report.says("certificates", "ticket device --rebind");
    assert_eq!(report.fact("authority", "code"), "device-certificate-untrusted");
    report.expect(&[("tpm", "ok"), ("keys", "ok"), ("enrolment", "ok")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off() {
    let bench = Bench::ready().await;
    let report = doctor_at(&bench, "+10m").await;
    report.expect(&but(&[("clock", "warn")]));
    let ahead = report.fact("clock", "ahead_seconds").as_i64().unwrap();
    assert!((595..=630).contains(&ahead), "{ahead}");
    let report = doctor_at(&bench, "+3h").await;
    report.expect(&but(&[("clock", "fail")]));
    report.says("clock", "timedatectl");
    let report = doctor_at(&bench, "-400d").await;
    let behind = [("clock", "fail"), ("certificates", "fail"), ("authority", "fail")];
    report.expect(&but(&[&behind[..], &[("security-keys", "ok")]].concat()));
    report.says("certificates", "clock is behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tpm_is_gone() {
    let mut bench = Bench::ready().await;
    bench
        .station
        .reconfigure(|options| options.tcti = "device:/nonexistent/tpmrm0".into())
        .unwrap();
    let report = doctor(&bench).await;
    report.expect(&but(&[
        ("tpm", "fail"),
        ("tpm-lockout", "unknown"),
        ("ek", "unknown"),
        ("keys", "fail"),
        ("authority", "fail"),
        ("clock", "unknown"),
    ]));
    report.says("tpm", "no TPM at device:/nonexistent/tpmrm0");
    report.says("tpm", "check that the TPM is enabled in the firmware");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_pins_until_the_tpm_locks() {
    let bench = Bench::enrolled().await;
    let added = ["key", "add", "--platform", "pin"];
    assert_eq!(bench.run_with_pin("271828", &added).await.code, Some(0));
    for _ in 0..4 {
        let ran = bench.run_with_pin("000000", &["login", "--method", "tpm-pin"]).await;
        if ran.error().unwrap().0 == "TpmLockout" {
            break;
        }
    }
    let report = doctor(&bench).await;
    report.expect(&but(&[("tpm-lockout", "fail")]));
    report.says("tpm-lockout", "tpm2_dictionarylockout --clear-lockout");
    bench.station.tpm.run_tool("tpm2_dictionarylockout", &["--clear-lockout"]).unwrap();
    doctor(&bench).await.expect(&WELL);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_missing_or_bare() {
    let mut bench = Bench::ready().await;
    bench.station.reconfigure(|options| options.authenticators.clear()).unwrap();
    let report = doctor(&bench).await;
    report.expect(&but(&[("security-keys", "warn")]));
    report.says("security-keys", "none is plugged in");
    let _key = bench.plug_fresh_key(signet_test_authenticators::Firmware::Trussed).await;
    let report = doctor(&bench).await;
    report.expect(&but(&[("security-keys", "warn")]));
    report.says("security-keys", "signet key pin set");
    // The kernel sees a key that signetd was not handed.
    let descriptor = root(&bench.station).join("sys/class/hidraw");
    for number in 0..2 {
        let device = descriptor.join(format!("hidraw{number}/device"));
        std::fs::create_dir_all(&device).unwrap();
        std::fs::write(device.join("report_descriptor"), [0x06, 0xd0, 0xf1, 0x09, 0x01]).unwrap();
    }
    let report = doctor(&bench).await;
    report.expect(&but(&[("security-keys", "fail")]));
    report.says("security-keys", "systemctl start signet-keys");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_the_package_are_missing() {
    let bench = Bench::ready().await;
    let root = root(&bench.station);
    let remove = |file: &str| std::fs::remove_file(Path::new(&root).join(file)).unwrap();
    let run =
        || async { Report::of(bench.run(&["doctor", "--root", root.to_str().unwrap()]).await) };
    remove(INSTALLED[2]);
    let report = run().await;
    report.expect(&but(&[("units", "warn")]));
    report.says("units", "bus activation");
    remove(INSTALLED[0]);
    let report = run().await;
    report.expect(&but(&[("units", "fail")]));
    report.says("units", "signetd.service is not installed");
}
