//! Who shows prompts.

use super::ground::Ground;
use super::{Check, Finding};

pub(super) fn examine(ground: &Ground) -> Finding {
    match ground.status.as_ref().map(|status| status.agent) {
        Ok(Some(true)) => Finding::ok(Check::Agent, "an agent shows prompts to you"),
        Ok(Some(false)) => Finding::warn(
            Check::Agent,
            "no agent is registered: prompts appear only in the program that asks",
            "`systemctl --user start signet-agent`, or run `signet agent` in your session",
        ),
        Ok(None) => Finding::unknown(Check::Agent, "this signetd does not tell"),
        Err(_) => Finding::unknown(Check::Agent, "signetd does not answer"),
    }
}
