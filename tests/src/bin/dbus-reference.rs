//! Writes `docs/dbus.md` anew: `cargo run -p signet-tests --bin dbus-reference`.

use signet_tests::dbus_reference::{file, render};

fn main() -> std::io::Result<()> {
    let xml = include_str!("../../../daemon/dbus/org.signet.Presence1.xml");
    std::fs::write(file(), render(xml))
}
