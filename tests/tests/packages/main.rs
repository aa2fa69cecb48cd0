//! The Debian packages, built from the programs that the tests built: what is in them, what lintian
//! says, that the bytes are those of the commit, and their life on a machine.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The folder of the programs that were built together with this test.
fn programs() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().to_owned()
}

/// What a command printed; it must succeed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out
}

fn make(target: &str) -> Command {
    let mut make = Command::new("make");
    make.args(["--silent", "--no-print-directory", target]).current_dir(root());
    // A `make test` around us must not reach in.
    for variable in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL"] {
        make.env_remove(variable);
    }
    make.env("BINARIES", programs());
    make
}

/// Builds the packages in `folder`.
fn build(folder: &Path) -> Vec<PathBuf> {
    let listed =
        run(make("deb").arg("DEB_PROFILE=dev").arg(format!("DEB_OUT={}", folder.display())));
    let packages: Vec<PathBuf> = listed.lines().map(PathBuf::from).collect();
    assert_eq!(packages.len(), 3, "{listed}");
    packages
}

/// Packages that the tests share.
fn packages() -> &'static [PathBuf] {
    static BUILT: OnceLock<(TempDir, Vec<PathBuf>)> = OnceLock::new();
    let (_, packages) = BUILT.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let packages = build(folder.path());
        (folder, packages)
    });
    packages
}

/// Every file that `make install` puts below a `DESTDIR`, from its root.
fn installed(folder: &Path) -> BTreeSet<String> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                found.insert(format!("/{}", path.strip_prefix(root).unwrap().display()));
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(folder, folder, &mut found);
    found
}

#[test]
fn every_file_for_the_system_is_installed() {
    let folder = tempfile::tempdir().unwrap();
    let manual = folder.path().join("manual");
    let destination = folder.path().join("root");
    let manual = format!("MANUAL={}", manual.display());
    run(make("manual").arg(&manual));
    run(make("install").arg(&manual).arg(format!("DESTDIR={}", destination.display())));
    let names: BTreeSet<String> = installed(&destination)
        .iter()
        .map(|path| path.rsplit('/').next().unwrap().to_owned())
        .collect();
    for owned in ["systemd", "udev", "polkit", "daemon/dbus", "client/dbus"] {
        let folder = root().join(owned);
        if !folder.is_dir() {
            continue;
        }
        for path in installed(&folder) {
            let name = path.rsplit('/').next().unwrap();
            assert!(
                names.contains(name) || name == "README.md",
                "{owned}{path} is installed by no line of the Makefile's target install"
            );
        }
    }
    for file in ["signetd", "signet", "signet-authority", "signet-broker", "signetd.toml"] {
        assert!(names.contains(file), "{file}: {names:?}");
    }
}

#[test]
fn another_prefix_reaches_the_units_and_changed_settings_stay() {
    let folder = tempfile::tempdir().unwrap();
    let manual = format!("MANUAL={}", folder.path().join("manual").display());
    let destination = folder.path().join("root");
    let settings = destination.join("etc/signet/signetd.toml");
    fs::create_dir_all(settings.parent().unwrap()).unwrap();
    fs::write(&settings, "prompts = \"none\"\n").unwrap();
    run(make("manual").arg(&manual));
    run(make("install")
        .args([manual.as_str(), "PREFIX=/opt/signet"])
        .arg(format!("DESTDIR={}", destination.display())));
    assert_eq!(fs::read_to_string(settings).unwrap(), "prompts = \"none\"\n");
    for (unit, program) in [
        ("system/signetd.service", "bin/signetd --config"),
        ("system/signet-key@.service", "libexec/signet/signet-broker /dev/%i"),
        ("user/signet-agent.service", "bin/signet agent"),
        ("user/signet-proxy.service", "bin/signet proxy --listen -"),
    ] {
        let path = destination.join("opt/signet/lib/systemd").join(unit);
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains(&format!("ExecStart=/opt/signet/{program}")), "{unit}: {text}");
    }
}

#[test]
fn the_packages_hold_what_they_should_and_lintian_has_no_complaint() {
    for (package, files) in [
        (
            "signetd_",
            &[
                "./usr/bin/signetd",
                "./etc/signet/signetd.toml",
                "./usr/libexec/signet/signet-broker",
                "./lib/systemd/system/signetd.service",
                "./lib/udev/rules.d/70-signet.rules",
                "./usr/share/dbus-1/system.d/org.signet.Presence1.conf",
                "./usr/share/polkit-1/actions/org.signet.presence.policy",
                "./usr/share/man/man8/signetd.8.gz",
            ][..],
        ),
        (
            "signet_",
            &[
                "./usr/bin/signet",
                "./usr/share/man/man1/signet-login.1.gz",
                "./usr/share/bash-completion/completions/signet",
                "./usr/share/zsh/vendor-completions/_signet",
                "./usr/share/fish/vendor_completions.d/signet.fish",
            ],
        ),
        (
            "signet-authority_",
            &[
                "./usr/bin/signet-authority",
                "./lib/systemd/system/signet-authority.service",
                "./usr/share/man/man8/signet-authority-serve.8.gz",
            ],
        ),
    ] {
        let file = packages()
            .iter()
            .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(package))
            .unwrap();
        let listed = run(Command::new("dpkg-deb").arg("--contents").arg(file));
        for line in listed.lines() {
            assert!(line.contains(" root/root "), "{line}");
            let mode = line.as_bytes();
            assert!(mode[5] != b'w' && mode[8] != b'w' && !line[..10].contains('s'), "{line}");
        }
        for wanted in files {
            let there = listed.lines().any(|line| line.ends_with(&format!(" {wanted}")));
            assert!(there, "{package}: no {wanted} in\n{listed}");
        }
    }
    run(Command::new("lintian")
        .args(["--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0"])
        .args(packages()));
}

#[test]
fn another_folder_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = folder.path().join("a-folder-with-a-longer-name/and-another-one");
    let again = build(&elsewhere);
    for (first, second) in packages().iter().zip(&again) {
        assert_eq!(first.file_name(), second.file_name());
        assert!(
            fs::read(first).unwrap() == fs::read(second).unwrap(),
            "{} and {} differ; diffoscope shows where",
            first.display(),
            second.display()
        );
    }
}

/// In a copy of this machine's root that is gone afterwards: dpkg, sysusers, tmpfiles, man and shells
/// are the real ones. Services start in the virtual machine's tests only.
#[test]
fn the_packages_survive_install_upgrade_remove_and_purge() {
    let script = root().join("tests/tests/packages/life.sh");
    let output = run(Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh"])
        .arg(script)
        .args(packages()));
    assert!(output.ends_with("life: all held\n"), "{output}");
}
