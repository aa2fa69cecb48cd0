//! The message bus.

use super::ground::Ground;
use super::{Check, Finding};

pub(super) fn examine(ground: &Ground) -> Finding {
    match &ground.connection {
        Ok(connection) => {
            let name = connection.unique_name().map(|name| name.to_string());
            Finding::ok(Check::Bus, "answers").fact("unique_name", name)
        }
        Err(error) => Finding::fail(
            Check::Bus,
            format!("does not answer ({})", crate::one_line::words(error)),
            "start it with `systemctl start dbus`, or name another address with --bus",
        ),
    }
}
