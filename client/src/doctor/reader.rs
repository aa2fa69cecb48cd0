//! The machine's fingerprint reader.

use crate::authority::printable;
use crate::daemon::Method;

use super::ground::Ground;
use super::{Check, Finding};

pub(super) fn examine(ground: &Ground) -> Finding {
    let Ok(status) = &ground.status else {
        return Finding::unknown(Check::FingerprintReader, "signetd does not answer");
    };
    let Some(told) = status.fingerprint_reader.as_deref().map(printable) else {
        return Finding::unknown(Check::FingerprintReader, "this signetd does not tell");
    };
    let fingerprint = Method::Fingerprint.as_str();
    let needed = status.platform_keys.iter().any(|key| key.method == fingerprint);
    judged(&told, needed).fact("needed", needed)
}

fn judged(told: &str, needed: bool) -> Finding {
    // libfprint's drivers have names without spaces; what to do is said in words.
    if !told.contains(' ') {
        return Finding::ok(Check::FingerprintReader, told).fact("driver", told);
    }
    let (summary, fix) = told.split_once(": ").unwrap_or((told, "see `journalctl -u fprintd`"));
    if needed {
        Finding::fail(Check::FingerprintReader, summary, fix)
    } else {
        Finding::ok(Check::FingerprintReader, format!("{summary}; none of your keys needs it"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_reader_matters_to_those_who_use_it() {
        let words = "the fingerprint service does not run: install fprintd";
        assert_eq!(judged("goodixmoc", true).facts["driver"], "goodixmoc");
        assert_eq!(judged(words, false).state, State::Ok);
        let missed = judged(words, true);
        assert_eq!((missed.state, missed.fix.as_deref()), (State::Fail, Some("install fprintd")));
    }
}
