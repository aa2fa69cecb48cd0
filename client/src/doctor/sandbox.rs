//! What the running daemon may do, as the kernel tells of its process (proc_pid_status(5)).

use std::collections::HashMap;

use serde_json::Value;
use zbus::fdo::DBusProxy;
use zbus::names::BusName;

use super::ground::Ground;
use super::{Check, Finding};
use crate::daemon::SERVICE;

pub(super) async fn examine(ground: &Ground) -> Finding {
    let (Ok(connection), Ok(_)) = (&ground.connection, &ground.version) else {
        return Finding::unknown(Check::Sandbox, "signetd does not answer");
    };
    let pid = async {
        let bus = DBusProxy::new(connection).await.ok()?;
        bus.get_connection_unix_process_id(BusName::try_from(SERVICE).ok()?).await.ok()
    };
    let Some(pid) = pid.await else {
        return Finding::unknown(Check::Sandbox, "the bus does not tell signetd's process");
    };
    match std::fs::read_to_string(format!("/proc/{pid}/status")) {
        Ok(status) => judged(&status).fact("pid", pid),
        Err(_) => Finding::unknown(Check::Sandbox, "the kernel does not show signetd's process"),
    }
}

fn judged(status: &str) -> Finding {
    let fields: HashMap<&str, &str> = status
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim()))
        .collect();
    let field = |name| fields.get(name).copied().unwrap_or_default();
    // Real, effective, saved and file system uid.
    let uid = field("Uid").split_whitespace().nth(1).and_then(|uid| uid.parse::<u32>().ok());
    let bare = field("CapEff").bytes().all(|digit| digit == b'0');
    let filtered = field("Seccomp") == "2";
    let fixed = field("NoNewPrivs") == "1";
    let mut lacks = Vec::new();
    for (good, words) in [
        (uid != Some(0), "it runs as root"),
        (bare, "it has capabilities"),
        (filtered, "its system calls are not filtered"),
        (fixed, "it may gain privileges"),
    ] {
        if !good {
            lacks.push(words);
        }
    }
    let finding = if lacks.is_empty() {
        Finding::ok(Check::Sandbox, "signetd is confined")
    } else {
        Finding::warn(
            Check::Sandbox,
            format!("signetd is not confined: {}", lacks.join(", ")),
            "run it as the unit of the package: stop this one, then `systemctl start signetd`",
        )
    };
    finding
        .fact("uid", uid.map_or(Value::Null, Value::from))
        .fact("no_capabilities", bare)
        .fact("system_calls_filtered", filtered)
        .fact("no_new_privileges", fixed)
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_process_is_confined_or_says_how_it_is_not() {
        let good = "Name:\tsignetd\nUid:\t990\t990\t990\t990\nCapEff:\t0000000000000000\n\
                    NoNewPrivs:\t1\nSeccomp:\t2\n";
        assert_eq!(judged(good).state, State::Ok);
        for (from, to, words) in [
            ("990\t990\t990\t990", "0\t0\t0\t0", "as root"),
            ("0000000000000000", "000001ffffffffff", "capabilities"),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "gain privileges"),
            ("Seccomp:\t2", "Seccomp:\t0", "not filtered"),
        ] {
            let found = judged(&good.replace(from, to));
            assert_eq!(found.state, State::Warn);
            assert!(found.summary.contains(words), "{}", found.summary);
        }
    }
}
