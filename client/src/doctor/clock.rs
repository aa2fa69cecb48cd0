//! This machine's clock, against the authority's.

use rustls::CertificateError;

use super::ground::{Ground, Reached};
use super::{Check, Finding};
use crate::authority::AuthorityError;

/// Differences that nothing minds, in seconds.
const NEAR: i64 = 60;
/// From here on certificates are misjudged before long.
const FAR: i64 = 3600;
const SET: &str = "set the clock: `timedatectl set-ntp true`, and check it with `timedatectl`";

pub(super) fn examine(ground: &Ground) -> Finding {
    // Certificates are backdated, so this is the clock's fault.
    if ground.device_life().is_some_and(|life| ground.now < life.not_before) {
        let summary = "it is behind: this machine's certificate does not count yet";
        return Finding::fail(Check::Clock, summary, SET);
    }
    match &ground.authority {
        Some(Ok(Reached { clocks: Ok(Some((ours, theirs))), .. })) => judged(ours - theirs),
        Some(Ok(Reached { clocks: Err(AuthorityError::Untrusted { fault, .. }), .. })) => {
            untrusted(fault)
        }
        Some(_) => Finding::unknown(Check::Clock, "the authority does not tell its time"),
        None => Finding::unknown(Check::Clock, "there is no authority to compare it with"),
    }
}

fn judged(ahead: i64) -> Finding {
    let way = if ahead < 0 { "behind" } else { "ahead" };
    let summary = format!("{} s {way} of the authority's", ahead.abs());
    let finding = if ahead.abs() <= NEAR {
        Finding::ok(Check::Clock, "agrees with the authority's")
    } else if ahead.abs() < FAR {
        Finding::warn(Check::Clock, summary, SET)
    } else {
        Finding::fail(Check::Clock, summary, SET)
    };
    finding.fact("ahead_seconds", ahead)
}

fn untrusted(fault: &CertificateError) -> Finding {
    match fault {
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Finding::fail(
                Check::Clock,
                "it is behind: the authority's certificate does not count yet",
                SET,
            )
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Finding::warn(
            Check::Clock,
            "it may be ahead: the authority's certificate counts no more",
            SET,
        ),
        _ => Finding::unknown(Check::Clock, "the authority cannot be believed"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn how_far_the_clock_is_off() {
        for (ahead, state) in [
            (0, State::Ok),
            (-60, State::Ok),
            (61, State::Warn),
            (-3599, State::Warn),
            (3600, State::Fail),
            (-90_000, State::Fail),
        ] {
            assert_eq!(judged(ahead).state, state, "{ahead}");
        }
        assert!(judged(-70).summary.contains("70 s behind"));
    }
}
