//! `signet key list`: the keys that are plugged in and those that are enrolled, one line each.

use serde::Serialize;
use signet_client::authority::{Base64Url, ListedAuthenticator, printable};
use signet_client::daemon::{Authenticator, PlatformKey};

use super::Context;
use crate::failure::Failure;
use crate::output::Style;

const SECURITY_KEY: &str = "security-key";

/// A key, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Row {
    /// `yes`, `no`, or `perhaps` where several keys of its model are plugged in or enrolled; `built-in`
    /// for a key of this machine's own.
    plugged: &'static str,
    /// `security-key`, `tpm-pin` or `fingerprint`.
    kind: String,
    path: Option<String>,
    name: Option<String>,
    credential_id: Option<String>,
    aaguid: String,
    /// By metadata; else what the key calls itself.
    model: Option<String>,
    firmware: Option<u32>,
    transports: Vec<String>,
    /// How it verifies its user.
    verification: Option<String>,
    attestation: Option<String>,
    enrolled_for: Option<String>,
    enrolled_at: Option<i64>,
    last_used: Option<i64>,
    status: String,
}

/// What is printed as JSON.
#[derive(Debug, Serialize)]
struct Listing<'a> {
    keys: &'a [Row],
    /// Why the enrolled keys are not known; null when they are.
    authority: Option<String>,
}

pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    let daemon = context.daemon().await?;
    let plugged = daemon.authenticators().await?;
    let own = daemon.status().await?.platform_keys;
    let operator = daemon.enrolment().await?.map(|enrolment| enrolment.operator);
    let enrolled = match operator {
        Some(_) => {
            let workstation = context.workstation().await?;
            workstation.authority().authenticators().await.map_err(|error| error.to_string())
        }
        None => Err("this machine is not enrolled: run `signet enrol`".to_owned()),
    };
    let unknown = enrolled.as_ref().err().cloned();
    let rows = match &enrolled {
        Ok(enrolled) => merged(&plugged, &own, enrolled, operator.as_deref()),
        Err(_) => {
            let status = if operator.is_some() { "unknown" } else { "not-enrolled" };
            plugged.iter().map(|key| Row::plugged(key, status)).collect()
        }
    };
    if let Some(why) = unknown.as_deref().filter(|_| !context.output.is_json()) {
        let text = format!("Only the keys that are plugged in are known: {why}");
        context.output.say(Some(Style::Bad), &text);
    }
    context.output.result(&Listing { keys: &rows, authority: unknown }, &table(&rows))
}

/// Enrolled keys, those in this machine's TPM known by their ids; security keys each with the plugged-in key of its model where there is one of either; then the
/// plugged-in keys that were not matched so.
fn merged(
    plugged: &[Authenticator],
    own: &[PlatformKey],
    enrolled: &[ListedAuthenticator],
    operator: Option<&str>,
) -> Vec<Row> {
    let mut rows = Vec::new();
    let here =
        |model: &str| plugged.iter().filter(|key| uuid(&key.aaguid) == model).collect::<Vec<_>>();
    let usable = |model: &str| {
        // The machine's own keys have no model, as U2F keys have none.
        let keys = enrolled.iter().filter(|key| kind(key) == SECURITY_KEY && !key.revoked);
        keys.filter(|key| key.aaguid == model).count()
    };
    for key in enrolled {
        let row = Row::enrolled(key, operator);
        rows.push(match here(&key.aaguid).as_slice() {
            _ if row.kind != SECURITY_KEY => match own.iter().any(|own| own.is(key)) {
                true => Row { plugged: "built-in", ..row },
                false => row,
            },
            _ if key.revoked => row,
            [] => row,
            [only] if usable(&key.aaguid) == 1 => row.found(only),
            _ => Row { plugged: "perhaps", ..row },
        });
    }
    for key in plugged {
        let model = uuid(&key.aaguid);
        rows.extend(match (usable(&model), here(&model).len()) {
            (0, _) => Some(Row::plugged(key, "not-enrolled")),
            (1, 1) => None,
            _ => Some(Row::plugged(key, "perhaps-enrolled")),
        });
    }
    rows
}

fn kind(key: &ListedAuthenticator) -> &str {
    key.kind.as_deref().unwrap_or(SECURITY_KEY)
}

/// Whether an enrolled key is this one of the machine's own.
trait IsEnrolled {
    fn is(&self, key: &ListedAuthenticator) -> bool;
}

impl IsEnrolled for PlatformKey {
    fn is(&self, key: &ListedAuthenticator) -> bool {
        let id = Base64Url::decode(&key.credential_id).unwrap_or_default();
        !key.revoked && signet_evidence::thumbprint::hex(&id) == self.credential_id
    }
}

/// How an enrolled key verifies its user, as far as the authority knows.
fn known_verification(key: &ListedAuthenticator) -> Option<&'static str> {
    Some(match (kind(key), key.uv_capable.as_deref()?) {
        ("tpm-pin", _) => "PIN of its machine",
        ("fingerprint", _) => "reader of its machine",
        (_, "none") => "touch only",
        (_, "pin") => "PIN",
        (_, "built-in-or-pin") => "fingerprint or PIN",
        (_, "built-in") => "fingerprint",
        (_, "other-built-in") => "built-in",
        _ => return None,
    })
}

impl Row {
    fn enrolled(key: &ListedAuthenticator, operator: Option<&str>) -> Self {
        Self {
            plugged: "no",
            kind: kind(key).to_owned(),
            verification: known_verification(key).map(str::to_owned),
            name: key.name.clone(),
            credential_id: Some(key.credential_id.clone()),
            aaguid: key.aaguid.clone(),
            model: key.model.clone(),
            attestation: Some(key.attestation.clone()),
            enrolled_for: operator.map(str::to_owned),
            enrolled_at: key.enrolled_at,
            last_used: key.last_used,
            status: match &key.status {
                _ if key.revoked => "revoked".to_owned(),
                Some(status) => status.clone(),
                None => "ok".to_owned(),
            },
            ..Self::default()
        }
    }

    fn plugged(key: &Authenticator, status: &str) -> Self {
        let row = Self {
            kind: SECURITY_KEY.to_owned(),
            aaguid: uuid(&key.aaguid),
            status: status.to_owned(),
            ..Self::default()
        };
        row.found(key)
    }

    /// With what the plugged-in key tells of itself.
    fn found(self, key: &Authenticator) -> Self {
        Self {
            plugged: "yes",
            path: Some(key.path.clone()),
            // What the key calls itself, where metadata has no name for it.
            model: self.model.or_else(|| Some(key.product.clone())),
            firmware: key.firmware,
            transports: key.transports.clone(),
            verification: Some(verification(key).to_owned()),
            ..self
        }
    }

    fn cells(&self) -> [String; 8] {
        let text = |value: Option<&str>| printable(value.unwrap_or("-"));
        let id = self.credential_id.as_deref().map(|id| id.get(..8).unwrap_or(id));
        let place = match self.plugged {
            "yes" => self.path.as_deref().unwrap_or("plugged in"),
            "perhaps" => "perhaps",
            "built-in" => "this machine",
            _ => "-",
        };
        let firmware = self.firmware.map(|number| format!("firmware {number}"));
        [
            printable(place),
            text(self.name.as_deref()),
            text(id),
            text(self.model_text()),
            text(firmware.as_deref()),
            text(Some(self.transports.join("+").as_str()).filter(|text| !text.is_empty())),
            text(self.verification.as_deref()),
            self.standing(),
        ]
    }

    /// The model by its name, else by its number.
    fn model_text(&self) -> Option<&str> {
        let number = Some(self.aaguid.as_str());
        let number = number.filter(|id| id.bytes().any(|byte| !matches!(byte, b'0' | b'-')));
        self.model.as_deref().or(number)
    }

    /// For whom it is enrolled, and how it stands.
    fn standing(&self) -> String {
        let whose = self.enrolled_for.as_deref().map(|whose| format!("{whose}: "));
        let status = match self.status.as_str() {
            "revoked" => "REVOKED",
            "not-enrolled" => "not enrolled here",
            "perhaps-enrolled" => "one of its model is enrolled",
            "unknown" => "unknown whether enrolled",
            status => status,
        };
        printable(&format!("{}{status}", whose.unwrap_or_default()))
    }
}

/// How a key verifies its user.
pub(super) fn verification(key: &Authenticator) -> &'static str {
    match (key.built_in_uv.as_str(), key.pin_set) {
        _ if key.touch_only => "touch only",
        ("enrolled", true) => "fingerprint and PIN",
        ("enrolled", false) => "fingerprint",
        (_, true) => "PIN",
        ("not-enrolled", false) => "no finger enrolled, no PIN set",
        _ => "no PIN set",
    }
}

/// An AAGUID as text (RFC 9562), or hex where it is none.
fn uuid(aaguid: &[u8]) -> String {
    let hex = signet_evidence::thumbprint::hex(aaguid);
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    if hex.len() == 32 {
        [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
    } else {
        hex
    }
}

/// The rows in columns, under a heading.
fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no keys: plug one in and run `signet key add`".to_owned();
    }
    let heading =
        ["PLUGGED IN", "NAME", "ID", "MODEL", "FIRMWARE", "TRANSPORT", "VERIFIES BY", "STATUS"];
    let mut lines = vec![heading.map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    let width =
        |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);
    let mut text = String::new();
    for cells in &lines {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLUE: [u8; 16] = [0xb1; 16];

    fn key(path: &str, aaguid: [u8; 16]) -> Authenticator {
        Authenticator {
            path: path.into(),
            product: "Key".into(),
            aaguid: aaguid.to_vec(),
            versions: vec!["FIDO_2_1".into()],
            pin_set: true,
            built_in_uv: "none".into(),
            min_pin_length: 4,
            u2f_only: false,
            touch_only: false,
            firmware: Some(5),
            transports: vec!["usb".into()],
            always_uv: false,
            force_pin_change: false,
            fingers: "unsupported".into(),
            credentials_left: None,
            enterprise_attestation: false,
        }
    }

    fn listed(name: &str, aaguid: [u8; 16], revoked: bool) -> ListedAuthenticator {
        ListedAuthenticator {
            credential_id: format!("id-of-{name}"),
            name: Some(name.into()),
            aaguid: uuid(&aaguid),
            attestation: "packed".into(),
            enrolled_at: None,
            last_used: None,
            revoked,
            model: Some("Maker Key 5".into()),
            status: None,
            kind: None,
            uv_capable: Some("built-in-or-pin".into()),
            device: None,
        }
    }

    fn shown(plugged: &[Authenticator], enrolled: &[ListedAuthenticator]) -> Vec<[String; 3]> {
        let rows = merged(plugged, &[], enrolled, Some("alice"));
        let brief = |row: &Row| {
            let [place, name, .., standing] = row.cells();
            [place, name, standing]
        };
        rows.iter().map(brief).collect()
    }

    #[test]
    fn one_of_a_model_is_matched_by_it() {
        let found = shown(&[key("/dev/a", BLUE)], &[listed("blue", BLUE, false)]);
        assert_eq!(found, [["/dev/a", "blue", "alice: ok"]]);
        let found = shown(&[key("/dev/a", BLUE)], &[listed("blue", [2; 16], false)]);
        assert_eq!(found, [["-", "blue", "alice: ok"], ["/dev/a", "-", "not enrolled here"]]);
    }

    #[test]
    fn several_of_a_model_are_not_told_apart() {
        let both = [listed("blue", BLUE, false), listed("spare", BLUE, false)];
        let found = shown(&[key("/dev/a", BLUE)], &both);
        assert_eq!(
            found,
            [
                ["perhaps", "blue", "alice: ok"],
                ["perhaps", "spare", "alice: ok"],
                ["/dev/a", "-", "one of its model is enrolled"],
            ]
        );
        let found = shown(&[key("/dev/a", BLUE), key("/dev/b", BLUE)], &both[..1]);
        assert_eq!(found.len(), 3);
        assert_eq!(found[0], ["perhaps", "blue", "alice: ok"]);
    }

    #[test]
    fn a_revoked_key_is_not_taken_for_one_that_is_plugged_in() {
        let found = shown(&[key("/dev/a", BLUE)], &[listed("old", BLUE, true)]);
        assert_eq!(found, [["-", "old", "alice: REVOKED"], ["/dev/a", "-", "not enrolled here"]]);
    }

    #[test]
    fn a_key_of_a_machines_own_is_known_by_its_id() {
        let platform = |name: &str, id: &[u8]| ListedAuthenticator {
            credential_id: Base64Url::encode(id),
            kind: Some("tpm-pin".into()),
            uv_capable: Some("pin".into()),
            model: None,
            ..listed(name, [0; 16], false)
        };
        let own = [PlatformKey { method: "tpm-pin".into(), credential_id: "000b07".into() }];
        let both = [platform("laptop", &[0, 0x0b, 7]), platform("desk", &[0, 0x0b, 8])];
        let rows = merged(&[key("/dev/a", [0; 16])], &own, &both, Some("alice"));
        let cells: Vec<_> = rows.iter().map(Row::cells).collect();
        assert_eq!((cells[0][0].as_str(), cells[1][0].as_str()), ("this machine", "-"));
        assert_eq!((cells[0][3].as_str(), cells[0][6].as_str()), ("-", "PIN of its machine"));
        assert_eq!(cells[2][7], "not enrolled here");
    }

    #[test]
    fn the_table_is_aligned_and_shows_no_control_characters() {
        let evil =
            ListedAuthenticator { name: Some("a\u{1b}[2J\nb".into()), ..listed("", BLUE, false) };
        let text = table(&merged(&[key("/dev/hidraw12", BLUE)], &[], &[evil], Some("alice")));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[1].contains("a[2Jb") && lines[1].contains("firmware 5"), "{text}");
        let status = lines[0].find("STATUS").unwrap();
        assert_eq!(&lines[1][status..], "alice: ok");
    }
}
