//! Security keys: plugged in, seen by `signetd`, protected, enrolled.

use serde_json::{Value, json};

use super::ground::{Ground, Reached};
use super::{Check, Finding};
use crate::authority::printable;
use crate::daemon::Authenticator;

/// Start of a FIDO device's report descriptor: usage page 0xf1d0 (CTAPHID, CTAP 2.1 §11.2.8.1).
const FIDO_USAGE_PAGE: [u8; 3] = [0x06, 0xd0, 0xf1];

pub(super) fn examine(ground: &Ground) -> Finding {
    let kernel = seen_by_the_kernel(ground);
    let Ok(plugged) = &ground.authenticators else {
        let summary = format!("signetd does not answer; the kernel sees {kernel}");
        return Finding::unknown(Check::SecurityKeys, summary).fact("kernel", kernel);
    };
    let platform = ground.status.as_ref().map_or(0, |status| status.platform_keys.len());
    let enrolled = match &ground.authority {
        Some(Ok(Reached { clocks: Ok(_), ready: Ok(()), keys: Ok(keys) })) => Some(*keys),
        _ => None,
    };
    judged(plugged, kernel, platform, enrolled)
        .fact("plugged", plugged.iter().map(facts).collect::<Vec<_>>())
        .fact("kernel", kernel)
        .fact("platform_keys", platform)
        .fact("enrolled", enrolled)
}

fn judged(
    plugged: &[Authenticator],
    kernel: usize,
    platform: usize,
    enrolled: Option<usize>,
) -> Finding {
    let check = Check::SecurityKeys;
    if plugged.len() < kernel {
        let summary = format!("the kernel sees {kernel}, and signetd {}", plugged.len());
        let fix = "`systemctl start signet-keys`; if this stays, check that the udev rules of the package are installed";
        return Finding::fail(check, summary, fix);
    }
    if enrolled == Some(0) {
        let summary = "none of yours is enrolled";
        return Finding::warn(check, summary, "plug it in, and run `signet key add`");
    }
    let bare = |key: &&Authenticator| !key.pin_set && key.fingers != "enrolled" && !key.touch_only;
    if let Some(key) = plugged.iter().find(bare) {
        let summary = format!("{} has neither PIN nor finger", printable(&key.product));
        return Finding::warn(
            check,
            summary,
            "set one: `signet key pin set` or `signet finger add`",
        );
    }
    if let Some(key) = plugged.iter().find(|key| key.force_pin_change) {
        let summary = format!("{} wants a new PIN", printable(&key.product));
        return Finding::warn(check, summary, "`signet key pin change`");
    }
    match (plugged.len(), platform) {
        (0, 0) => Finding::warn(
            check,
            "none is plugged in, and this machine has no key of its own",
            "plug yours in, or make one here with `signet key add --platform pin`",
        ),
        (0, _) => Finding::ok(check, "none is plugged in; this machine's own key serves"),
        _ => {
            let names: Vec<String> = plugged.iter().map(|key| printable(&key.product)).collect();
            Finding::ok(check, names.join(", "))
        }
    }
}

fn facts(key: &Authenticator) -> Value {
    json!({
        "path": key.path,
        "product": printable(&key.product),
        "pin_set": key.pin_set,
        "fingers": key.fingers,
        "touch_only": key.touch_only,
    })
}

/// How many FIDO devices the kernel lists.
fn seen_by_the_kernel(ground: &Ground) -> usize {
    let Ok(devices) = std::fs::read_dir(ground.file("/sys/class/hidraw")) else { return 0 };
    let descriptor = |device: std::io::Result<std::fs::DirEntry>| {
        std::fs::read(device.ok()?.path().join("device/report_descriptor")).ok()
    };
    devices
        .filter_map(descriptor)
        .filter(|descriptor| descriptor.windows(3).any(|item| item == FIDO_USAGE_PAGE))
        .count()
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn key(pin_set: bool) -> Authenticator {
        Authenticator {
            path: "/dev/hidraw0".into(),
            product: "Key".into(),
            aaguid: vec![0; 16],
            versions: vec![],
            pin_set,
            built_in_uv: "none".into(),
            min_pin_length: 4,
            u2f_only: false,
            touch_only: false,
            firmware: None,
            transports: vec![],
            always_uv: false,
            force_pin_change: false,
            fingers: "unsupported".into(),
            credentials_left: None,
            enterprise_attestation: false,
        }
    }

    #[test]
    fn what_is_wrong_with_keys() {
        let state = |plugged: &[Authenticator], kernel, platform, enrolled| {
            judged(plugged, kernel, platform, enrolled).state
        };
        assert_eq!(state(&[key(true)], 1, 0, Some(1)), State::Ok);
        assert_eq!(state(&[], 0, 1, None), State::Ok);
        assert_eq!(state(&[], 0, 0, Some(1)), State::Warn);
        assert_eq!(state(&[key(false)], 1, 0, Some(1)), State::Warn);
        assert_eq!(state(&[key(true)], 1, 0, Some(0)), State::Warn);
        assert_eq!(state(&[key(true)], 2, 0, Some(1)), State::Fail);
    }
}
