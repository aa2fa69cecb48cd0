//! Security keys as members of dictionaries.

use signet_ctap::commands::{Metadata, SensorInfo, StoredCredential, StoredRelyingParty, Template};
use zbus::Variant;

use super::request::Results;
use crate::authenticator::{Finding, KeyFacts, can_verify};

/// One entry of `ListAuthenticators`.
pub(super) fn facts(key: KeyFacts) -> Results {
    let KeyFacts { path, product, info } = key;
    let options = &info.options;
    let fingers = options.bio_enroll.or(options.user_verification_mgmt_preview);
    let mut results = Results::from([
        ("path", path.display().to_string().into()),
        ("product", product.into()),
        ("aaguid", info.aaguid.to_vec().into()),
        ("pin_set", info.has_pin().into()),
        ("built_in_uv", state(options.user_verification, ["none", "not-enrolled", "enrolled"])),
        ("min_pin_length", info.min_pin_length.into()),
        ("touch_only", (!can_verify(&info)).into()),
        ("u2f_only", info.u2f_only.into()),
        ("always_uv", (options.always_uv == Some(true)).into()),
        ("force_pin_change", info.force_pin_change.into()),
        ("fingers", state(fingers, ["unsupported", "none", "enrolled"])),
        ("enterprise_attestation", (options.enterprise_attestation == Some(true)).into()),
    ]);
    if let Some(firmware) = info.firmware_version {
        results.insert("firmware", u32::try_from(firmware).unwrap_or(u32::MAX).into());
    }
    if let Some(left) = info.remaining_discoverable {
        results.insert("credentials_left", left.into());
    }
    results.insert("versions", info.versions.into());
    results.insert("transports", info.transports.into());
    results
}

/// An option of a key: it cannot, it could, it does.
fn state(option: Option<bool>, [cannot, could, does]: [&'static str; 3]) -> Variant<'static> {
    match option {
        None => cannot.into(),
        Some(false) => could.into(),
        Some(true) => does.into(),
    }
}

/// Results of upkeep.
pub(super) fn finding(finding: Finding) -> Results {
    match finding {
        Finding::Done => Results::new(),
        Finding::Sensor(sensor) => reader(sensor),
        Finding::FingerAdded(template) => Results::from([("template", template.into())]),
        Finding::Fingers { fingers, sensor } => {
            let fingers: Vec<Results> = fingers.into_iter().map(finger).collect();
            let mut results = reader(sensor);
            results.insert("fingers", fingers.into());
            results
        }
        Finding::Credentials { metadata: Metadata { existing, room }, stored } => {
            let credentials = stored.into_iter().flat_map(|(party, credentials)| {
                credentials.into_iter().map(move |stored| credential(&party, stored))
            });
            Results::from([
                ("credentials", credentials.collect::<Vec<Results>>().into()),
                ("used", existing.into()),
                ("left", room.into()),
            ])
        }
    }
}

fn reader(sensor: SensorInfo) -> Results {
    let kind = if sensor.swipe { "swipe" } else { "touch" };
    let mut results = Results::from([("kind", kind.into())]);
    for (name, value) in
        [("max_samples", sensor.max_samples), ("max_name_bytes", sensor.max_name_length)]
    {
        if let Some(value) = value {
            results.insert(name, value.into());
        }
    }
    results
}

fn finger(template: Template) -> Results {
    let name = template.name.unwrap_or_default();
    Results::from([("template", template.id.into()), ("name", name.into())])
}

fn credential(party: &StoredRelyingParty, stored: StoredCredential) -> Results {
    Results::from([
        ("id", stored.id.into()),
        ("rp_id", party.id.clone().unwrap_or_default().into()),
        ("user", stored.user_name.unwrap_or_default().into()),
        ("protection", stored.protection.unwrap_or(1).into()),
    ])
}
