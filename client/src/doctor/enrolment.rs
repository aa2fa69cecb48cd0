//! Whether this machine is enrolled, and with whom.

use super::ground::Ground;
use super::{Check, Finding};

pub(super) fn examine(ground: &Ground) -> Finding {
    match &ground.enrolment {
        Err(_) => Finding::unknown(Check::Enrolment, "signetd does not answer"),
        Ok(None) => Finding::fail(
            Check::Enrolment,
            "this machine is not enrolled",
            "get a ticket from an administrator, and run `signet enrol`",
        ),
        Ok(Some(enrolment)) => {
            let (operator, authority) = (&enrolment.operator, &enrolment.authority);
            Finding::ok(Check::Enrolment, format!("{operator}, at {authority}"))
                .fact("operator", operator.clone())
                .fact("device_id", enrolment.device_id.clone())
                .fact("authority", authority.clone())
        }
    }
}
