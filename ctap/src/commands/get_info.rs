//! authenticatorGetInfo (CTAP 2.2 §6.4).

use std::collections::BTreeMap;

use ciborium::Value;

use super::client_pin::Permissions;
use crate::cbor::{DecodeError, Fields};
use crate::pin_protocol::PinProtocol;

/// What a key says of itself. Unsigned: good for choosing a dialogue, never for trusting.
#[derive(Debug, Clone, PartialEq)]
pub struct Info {
    /// The key speaks U2F (CTAP1) only: a touch, no PIN, no finger, no options.
    pub u2f_only: bool,
    /// Versions such as `FIDO_2_0`, `FIDO_2_1`, `U2F_V2`.
    pub versions: Vec<String>,
    /// Extensions such as `credProtect`.
    pub extensions: Vec<String>,
    /// Model.
    pub aaguid: [u8; 16],
    /// Options.
    pub options: Options,
    /// Longest message it takes, bytes.
    pub max_message_size: u32,
    /// Protocols that we speak too, in the key's order of preference.
    pub pin_protocols: Vec<PinProtocol>,
    /// How many credential ids fit into an allow list.
    pub max_credentials_in_list: Option<u32>,
    /// Longest credential id it takes, bytes.
    pub max_credential_id_length: Option<u32>,
    /// Transports such as `usb`, `nfc`.
    pub transports: Vec<String>,
    /// COSE algorithms of credentials, in the key's order of preference; empty if it does not say.
    pub algorithms: Vec<i64>,
    /// The PIN must be changed before it is good for anything.
    pub force_pin_change: bool,
    /// Shortest PIN, code points.
    pub min_pin_length: u32,
    /// Firmware version, whose meaning is the vendor's.
    pub firmware_version: Option<u64>,
    /// How often the host should retry a failed finger before it offers the PIN.
    pub preferred_uv_attempts: Option<u32>,
    /// Bits of the FIDO registry's user verification methods of the built-in UV.
    pub uv_modality: Option<u32>,
    /// How many relying parties may be told the minimum PIN length (`setMinPINLength`).
    pub max_rp_ids_for_min_pin_length: u32,
    /// Certifications by name, such as `FIDO`, with their level. Claimed, not proved.
    pub certifications: BTreeMap<String, u32>,
    /// Room for discoverable credentials.
    pub remaining_discoverable: Option<u32>,
    /// Attestation statement formats, in the key's order of preference; empty if it does not say.
    pub attestation_formats: Vec<String>,
    /// Built-in verifications since the PIN was typed last.
    pub uv_count_since_last_pin: Option<u32>,
    /// A reset takes a touch of at least five seconds.
    pub long_touch_for_reset: bool,
    /// Transports over which the key may be reset; empty: over any.
    pub transports_for_reset: Vec<String>,
    /// The key refuses PINs that are too simple.
    pub pin_complexity_policy: bool,
    /// Where those rules are written down.
    pub pin_complexity_policy_url: Option<String>,
    /// Longest PIN, code points.
    pub max_pin_length: u32,
}

impl Default for Info {
    fn default() -> Self {
        Self {
            u2f_only: false,
            versions: Vec::new(),
            extensions: Vec::new(),
            aaguid: [0; 16],
            options: Options::default(),
            max_message_size: 1024,
            pin_protocols: Vec::new(),
            max_credentials_in_list: None,
            max_credential_id_length: None,
            transports: Vec::new(),
            algorithms: Vec::new(),
            force_pin_change: false,
            min_pin_length: 4,
            firmware_version: None,
            preferred_uv_attempts: None,
            uv_modality: None,
            max_rp_ids_for_min_pin_length: 0,
            certifications: BTreeMap::new(),
            remaining_discoverable: None,
            attestation_formats: Vec::new(),
            uv_count_since_last_pin: None,
            long_touch_for_reset: false,
            transports_for_reset: Vec::new(),
            pin_complexity_policy: false,
            pin_complexity_policy_url: None,
            max_pin_length: 63,
        }
    }
}

/// Options of getInfo; unknown ones are passed over.
///
/// `None` means that the key cannot do it at all, `Some(false)` that it can but is not set up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Built into the platform.
    pub platform_device: Option<bool>,
    /// Stores discoverable credentials.
    pub resident_key: Option<bool>,
    /// PIN: supported, set.
    pub client_pin: Option<bool>,
    /// Tests for presence.
    pub user_presence: Option<bool>,
    /// Built-in user verification: supported, set up.
    pub user_verification: Option<bool>,
    /// Gives tokens with permissions.
    pub pin_uv_auth_token: Option<bool>,
    /// The PIN is not good for makeCredential and getAssertion.
    pub no_mc_ga_permissions_with_client_pin: Option<bool>,
    /// Stores large blobs.
    pub large_blobs: Option<bool>,
    /// Enterprise attestation: supported, enabled.
    pub enterprise_attestation: Option<bool>,
    /// Fingers: supported, enrolled.
    pub bio_enroll: Option<bool>,
    /// The same in the dialect before CTAP 2.1.
    pub user_verification_mgmt_preview: Option<bool>,
    /// Built-in UV may authorise enrolling fingers.
    pub uv_bio_enroll: Option<bool>,
    /// Can be configured.
    pub authenticator_config: Option<bool>,
    /// Built-in UV may authorise configuration.
    pub uv_authenticator_config: Option<bool>,
    /// Manages credentials.
    pub credential_management: Option<bool>,
    /// The same in the dialect before CTAP 2.1.
    pub credential_management_preview: Option<bool>,
    /// The minimum PIN length can be raised.
    pub set_min_pin_length: Option<bool>,
    /// Makes non-discoverable credentials without user verification.
    pub make_credential_uv_not_required: Option<bool>,
    /// Always wants user verification.
    pub always_uv: Option<bool>,
}

impl Info {
    pub(crate) fn from_fields(mut fields: Fields) -> Result<Self, DecodeError> {
        let defaults = Self::default();
        let aaguid = fields.bytes(0x03)?.ok_or(DecodeError::Missing(0x03))?;
        let protocols = fields.array(0x06)?.unwrap_or_default();
        Ok(Self {
            u2f_only: false,
            versions: texts(fields.array(0x01)?.ok_or(DecodeError::Missing(0x01))?),
            extensions: texts(fields.array(0x02)?.unwrap_or_default()),
            aaguid: aaguid.try_into().map_err(|_| DecodeError::WrongType(0x03))?,
            options: Options::from_map(fields.named(0x04)?.unwrap_or_default()),
            max_message_size: fields.unsigned(0x05)?.unwrap_or(defaults.max_message_size),
            pin_protocols: protocols
                .iter()
                .filter_map(|number| {
                    PinProtocol::from_number(number.as_integer()?.try_into().ok()?)
                })
                .collect(),
            max_credentials_in_list: fields.unsigned(0x07)?,
            max_credential_id_length: fields.unsigned(0x08)?,
            transports: texts(fields.array(0x09)?.unwrap_or_default()),
            algorithms: fields
                .array(0x0A)?
                .unwrap_or_default()
                .iter()
                .filter_map(algorithm)
                .collect(),
            force_pin_change: fields.flag(0x0C)?.unwrap_or(false),
            min_pin_length: fields.unsigned(0x0D)?.unwrap_or(defaults.min_pin_length),
            firmware_version: fields
                .take(0x0E)
                .and_then(|version| version.as_integer()?.try_into().ok()),
            preferred_uv_attempts: fields.unsigned(0x11)?,
            uv_modality: fields.unsigned(0x12)?,
            max_rp_ids_for_min_pin_length: fields.unsigned(0x10)?.unwrap_or(0),
            certifications: certifications(fields.named(0x13)?.unwrap_or_default()),
            remaining_discoverable: fields.unsigned(0x14)?,
            attestation_formats: texts(fields.array(0x16)?.unwrap_or_default()),
            uv_count_since_last_pin: fields.unsigned(0x17)?,
            long_touch_for_reset: fields.flag(0x18)?.unwrap_or(false),
            transports_for_reset: texts(fields.array(0x1A)?.unwrap_or_default()),
            pin_complexity_policy: fields.flag(0x1B)?.unwrap_or(false),
            // Text in the specification's table, bytes in its first examples; only shown to people.
            pin_complexity_policy_url: fields.take(0x1C).and_then(readable),
            max_pin_length: fields.unsigned(0x1D)?.unwrap_or(defaults.max_pin_length),
        })
    }

    /// What there is to know of a key that speaks U2F only.
    pub(crate) fn of_u2f_key(version: String) -> Self {
        Self { u2f_only: true, versions: vec![version], ..Self::default() }
    }

    /// Whether the key knows an extension.
    pub fn has_extension(&self, name: &str) -> bool {
        self.extensions.iter().any(|extension| extension == name)
    }

    /// Whether the key speaks a version.
    pub fn has_version(&self, name: &str) -> bool {
        self.versions.iter().any(|version| version == name)
    }

    /// Whether the key speaks CTAP 2.1 or a later 2.x; previews do not count.
    pub fn has_ctap_2_1(&self) -> bool {
        let minor = |version: &String| version.strip_prefix("FIDO_2_")?.parse::<u32>().ok();
        self.versions.iter().filter_map(minor).any(|minor| minor >= 1)
    }

    /// Whether the key can verify its user by itself now: a finger is enrolled.
    pub fn has_built_in_uv(&self) -> bool {
        self.options.user_verification == Some(true)
    }

    /// Whether the key verifies its user in some way now: a PIN is set or a finger enrolled.
    pub fn is_protected(&self) -> bool {
        self.has_pin() || self.has_built_in_uv()
    }

    /// Whether makeCredential needs user verification on the key's own account (CTAP 2.1 §6.1.2
    /// steps 6 to 8), whatever the relying party wants.
    pub fn make_credential_needs_uv(&self, resident_key: bool) -> bool {
        let may_do_without =
            self.options.make_credential_uv_not_required == Some(true) && !resident_key;
        self.always_uv() || (self.is_protected() && !may_do_without)
    }

    /// Whether the key always wants its user (`alwaysUv`).
    pub fn always_uv(&self) -> bool {
        self.options.always_uv == Some(true)
    }

    /// Whether the PIN is good for makeCredential and getAssertion; some keys with a sensor take it
    /// for management only (`noMcGaPermissionsWithClientPin`).
    pub fn pin_signs(&self) -> bool {
        self.options.no_mc_ga_permissions_with_client_pin != Some(true)
    }

    /// Whether built-in verification gives tokens with these permissions for management (§6.5.5.7.2).
    pub(crate) fn finger_manages(&self, permissions: Permissions) -> bool {
        self.has_built_in_uv()
            && self.has_permissions()
            && match permissions {
                Permissions::CONFIGURATION => self.options.uv_authenticator_config == Some(true),
                Permissions::BIO_ENROLLMENT => self.options.uv_bio_enroll == Some(true),
                _ => true,
            }
    }

    /// Whether a PIN is set.
    pub fn has_pin(&self) -> bool {
        self.options.client_pin == Some(true)
    }

    /// Whether the key gives tokens with permissions (CTAP 2.1).
    pub fn has_permissions(&self) -> bool {
        self.options.pin_uv_auth_token == Some(true)
    }
}

impl Options {
    fn from_map(mut map: BTreeMap<String, Value>) -> Self {
        let mut option = |name: &str| map.remove(name).and_then(|value| value.as_bool());
        Self {
            platform_device: option("plat"),
            resident_key: option("rk"),
            client_pin: option("clientPin"),
            user_presence: option("up"),
            user_verification: option("uv"),
            pin_uv_auth_token: option("pinUvAuthToken"),
            no_mc_ga_permissions_with_client_pin: option("noMcGaPermissionsWithClientPin"),
            large_blobs: option("largeBlobs"),
            enterprise_attestation: option("ep"),
            bio_enroll: option("bioEnroll"),
            user_verification_mgmt_preview: option("userVerificationMgmtPreview"),
            uv_bio_enroll: option("uvBioEnroll"),
            authenticator_config: option("authnrCfg"),
            uv_authenticator_config: option("uvAcfg"),
            credential_management: option("credMgmt"),
            credential_management_preview: option("credentialMgmtPreview"),
            set_min_pin_length: option("setMinPINLength"),
            make_credential_uv_not_required: option("makeCredUvNotRqd"),
            always_uv: option("alwaysUv"),
        }
    }
}

fn texts(values: Vec<Value>) -> Vec<String> {
    values.into_iter().filter_map(|value| value.into_text().ok()).collect()
}

fn readable(value: Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text),
        Value::Bytes(bytes) => String::from_utf8(bytes).ok(),
        _ => None,
    }
}

fn certifications(map: BTreeMap<String, Value>) -> BTreeMap<String, u32> {
    let level = |value: Value| value.as_integer()?.try_into().ok();
    map.into_iter().filter_map(|(name, value)| Some((name, level(value)?))).collect()
}

fn algorithm(parameters: &Value) -> Option<i64> {
    let (_, value) = parameters.as_map()?.iter().find(|(key, _)| key.as_text() == Some("alg"))?;
    value.as_integer()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn unknown_members_and_options_are_passed_over() {
        let answer = b"\xa5\x01\x81hFIDO_2_1\x03\x50AAAAAAAAAAAAAAAA\x04\xa2brk\xf5cfoo\xf5\x06\x82\x02\x09\x18\x63\x00";
        let info = Info::from_fields(Fields::decode(answer).unwrap()).unwrap();
        assert_eq!(info.options, Options { resident_key: Some(true), ..Options::default() });
        assert_eq!(info.pin_protocols, [PinProtocol::Two]);
        assert_eq!((info.max_message_size, info.min_pin_length), (1024, 4));
    }

    #[test]
    fn previews_are_no_ctap_2_1() {
        for (version, expected) in [
            ("FIDO_2_1", true),
            ("FIDO_2_3", true),
            ("FIDO_2_0", false),
            ("FIDO_2_1_PRE", false),
            ("U2F_V2", false),
        ] {
            let info = Info { versions: vec![version.into()], ..Info::default() };
            assert_eq!(info.has_ctap_2_1(), expected, "{version}");
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_panic(bytes: Vec<u8>) {
            if let Ok(fields) = Fields::decode(&bytes) { let _ = Info::from_fields(fields); }
        }
    }
}
