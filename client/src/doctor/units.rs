//! The files that packages install.

use super::ground::Ground;
use super::{Check, Finding};

/// Where systemd looks for units, the administrator's first (systemd.unit(5)).
const UNIT_FOLDERS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
const BUS_POLICIES: [&str; 2] = ["/etc/dbus-1/system.d", "/usr/share/dbus-1/system.d"];
const ACTIVATION: [&str; 2] =
    ["/usr/share/dbus-1/system-services", "/usr/local/share/dbus-1/system-services"];

pub(super) fn examine(ground: &Ground) -> Finding {
    let unit = found(ground, &UNIT_FOLDERS, "signetd.service");
    let parts = [
        ("bus policy", found(ground, &BUS_POLICIES, "org.signet.Presence1.conf")),
        ("bus activation", found(ground, &ACTIVATION, "org.signet.Presence1.service")),
    ];
    let missing: Vec<&str> =
        parts.iter().filter(|(_, path)| path.is_none()).map(|(name, _)| *name).collect();
    let finding = match (&unit, missing.as_slice()) {
        (None, _) => Finding::fail(
            Check::Units,
            "the unit signetd.service is not installed",
            "install the package signetd, or run `make install`",
        ),
        (Some(path), []) => Finding::ok(Check::Units, format!("installed ({path})")),
        (Some(_), missing) => Finding::warn(
            Check::Units,
            format!("not installed: {}", missing.join(", ")),
            "install the package signetd again: without these files the bus neither admits nor starts signetd",
        ),
    };
    let [(_, policy), (_, activation)] = parts;
    finding.fact("unit", unit).fact("bus_policy", policy).fact("bus_activation", activation)
}

/// The first of the folders that has the file.
fn found(ground: &Ground, folders: &[&str], name: &str) -> Option<String> {
    let paths = folders.iter().map(|folder| format!("{folder}/{name}"));
    paths.into_iter().find(|path| ground.file(path).exists())
}
