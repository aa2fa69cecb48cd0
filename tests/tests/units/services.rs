//! Units, users, directories and bus activation.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::{root, run, text, units, values};

/// Where the programs are installed.
const PROGRAMS: [&str; 3] =
    ["/usr/bin/signetd", "/usr/bin/signet-authority", "/usr/libexec/signet/signet-broker"];

/// Exposure in tenths, as `systemd-analyze security` counts it, that a unit may have at most.
const EXPOSURE: [(&str, u32); 5] = [
    ("signetd.service", 2),
    ("signet-boot-log.service", 5),
    ("signet-key@.service", 7),
    ("signet-keys.service", 7),
    ("signet-authority.service", 11),
];

#[test]
fn every_service_is_closed_as_tightly_as_promised() {
    let mut promised: BTreeSet<&str> = EXPOSURE.iter().map(|(unit, _)| *unit).collect();
    for unit in units() {
        let name = unit.file_name().unwrap().to_str().unwrap();
        assert!(promised.remove(name) || !name.ends_with(".service"), "{name} promises nothing");
    }
    assert_eq!(promised, BTreeSet::new());
    for (unit, most) in EXPOSURE {
        let path = root().join("systemd").join(unit);
        let threshold = format!("--threshold={most}");
        let path = path.to_str().unwrap();
        let (held, printed) =
            run("systemd-analyze", &["security", "--offline=true", &threshold, path]);
        assert!(held, "{unit} is more exposed than {most} tenths:\n{printed}");
    }
}

#[test]
fn units_are_valid_and_run_only_what_is_installed() {
    // The programs are not installed here; everything else stays as it is.
    let folder = tempfile::tempdir().unwrap();
    let stub = folder.path().join("stub");
    fs::write(&stub, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&stub, fs::Permissions::from_mode(0o755)).unwrap();
    let mut copies = Vec::new();
    for unit in units() {
        let mut content = fs::read_to_string(&unit).unwrap();
        for command in values(&content, "ExecStart") {
            let program = command.split(' ').next().unwrap();
            let ours = PROGRAMS.contains(&program);
            assert!(ours || ["/usr/bin/install", "/usr/bin/mv"].contains(&program), "{program}");
        }
        for program in PROGRAMS {
            content = content.replace(program, stub.to_str().unwrap());
        }
        let copy = folder.path().join(unit.file_name().unwrap());
        fs::write(&copy, content).unwrap();
        copies.push(copy.to_str().unwrap().to_owned());
    }
    let mut arguments = vec!["verify", "--man=no"];
    arguments.extend(copies.iter().map(String::as_str));
    // What it cannot make sense of it prints, and often calls it a success.
    assert_eq!(run("systemd-analyze", &arguments), (true, String::new()));
}

#[test]
fn bus_activation_starts_the_unit_as_the_user_of_the_bus_policy() {
    let activation = text("systemd/dbus-1/org.signet.Presence1.service");
    let unit = text("systemd/signetd.service");
    assert_eq!(values(&activation, "Name"), [signet_daemon::bus::NAME]);
    assert_eq!(values(&activation, "SystemdService"), ["signetd.service"]);
    assert_eq!(values(&unit, "BusName"), [signet_daemon::bus::NAME]);
    let user = values(&unit, "User")[0];
    let policy = text("daemon/dbus/org.signet.Presence1.conf");
    assert!(policy.contains(&format!("<policy user=\"{user}\">")), "{user}");
    assert!(text("systemd/sysusers.d/signetd.conf").contains(&format!("u {user} ")));
}

#[test]
fn units_agree_on_sockets_and_on_who_starts_whom() {
    let socket = text("systemd/signetd.socket");
    assert_eq!(values(&socket, "ListenSequentialPacket"), ["/run/signet/keys"]);
    assert_eq!(values(&socket, "SocketMode"), ["0600"]);
    assert_eq!(values(&socket, "SocketUser"), ["root"]);
    let daemon = text("systemd/signetd.service");
    assert_eq!(values(&daemon, "StandardInput"), ["socket"]);
    assert_eq!(values(&daemon, "Requires"), ["signetd.socket"]);
    assert!(values(&daemon, "Wants").contains(&"signet-keys.service"));
    // systemd would give the directory to the daemon's user and remove it with the daemon.
    assert_eq!(values(&daemon, "RuntimeDirectory"), [""; 0]);
}

#[test]
fn users_and_directories_are_made() {
    let target = tempfile::tempdir().unwrap();
    fs::create_dir(target.path().join("etc")).unwrap();
    let at = format!("--root={}", target.path().display());
    for name in ["signetd", "signet-authority"] {
        let file = root().join(format!("systemd/sysusers.d/{name}.conf"));
        let (made, printed) = run("systemd-sysusers", &[&at, file.to_str().unwrap()]);
        assert!(made, "{printed}");
    }
    let users = fs::read_to_string(target.path().join("etc/passwd")).unwrap();
    for user in ["signet:", "signet-authority:"] {
        let entry = users.lines().find(|line| line.starts_with(user)).unwrap();
        assert!(entry.ends_with("/nologin"), "{entry}");
    }
    let groups = fs::read_to_string(target.path().join("etc/group")).unwrap();
    assert!(groups.lines().any(|line| line.starts_with("tss:") && line.ends_with(":signet")));

    let file = root().join("systemd/tmpfiles.d/signetd.conf");
    let (_, printed) = run("systemd-tmpfiles", &["--create", &at, file.to_str().unwrap()]);
    let made = fs::metadata(target.path().join("run/signet"));
    let made = made.unwrap_or_else(|error| panic!("{error}: {printed}"));
    assert_eq!(made.permissions().mode() & 0o7777, 0o755);
}
