//! The agent of each person's session: its unit is one of the user's own service manager.

use std::fs;

use crate::{run, text, values};

#[test]
fn the_session_bus_starts_the_agent_of_its_user() {
    let activation = text("client/dbus/org.signet.Agent1.service");
    let unit = text("systemd/user/signet-agent.service");
    assert_eq!(values(&activation, "Name"), ["org.signet.Agent1"]);
    assert_eq!(values(&activation, "Name"), values(&unit, "BusName"));
    assert_eq!(values(&activation, "SystemdService"), ["signet-agent.service"]);
    assert_eq!(values(&activation, "Exec"), ["/usr/bin/signet agent"]);
    assert_eq!(values(&activation, "Exec"), values(&unit, "ExecStart"));
    // The program is not installed here; everything else stays as it is.
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("signet-agent.service");
    fs::write(&copy, unit.replace("/usr/bin/signet", "/bin/true")).unwrap();
    let arguments = ["verify", "--man=no", copy.to_str().unwrap()];
    assert_eq!(run("systemd-analyze", &arguments), (true, String::new()));
}

#[test]
fn the_proxy_takes_the_socket_of_its_user() {
    let (socket, service) =
        (text("systemd/user/signet-proxy.socket"), text("systemd/user/signet-proxy.service"));
    // Where `signet proxy` listens by itself, too.
    assert_eq!(values(&socket, "ListenStream"), ["%t/signet/proxy.sock"]);
    assert_eq!(values(&socket, "SocketMode"), ["0600"]);
    assert_eq!(values(&socket, "DirectoryMode"), ["0700"]);
    assert_eq!(values(&service, "StandardInput"), ["socket"]);
    // Standard input's socket is nothing to write to.
    assert_eq!(values(&service, "StandardOutput"), ["journal"]);
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str, unit: &str| {
        let path = folder.path().join(name);
        fs::write(&path, unit.replace("/usr/bin/signet", "/bin/true")).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (socket, service) =
        (copy("signet-proxy.socket", &socket), copy("signet-proxy.service", &service));
    let arguments = ["verify", "--man=no", &socket, &service];
    assert_eq!(run("systemd-analyze", &arguments), (true, String::new()));
}
