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
