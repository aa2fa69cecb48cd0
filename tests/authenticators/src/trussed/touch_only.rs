//! Hides from the host all that verifies a user, so that the firmware is a FIDO2 key with a button
//! and nothing else.
//!
//! Credentials, signatures and attestation stay the firmware's. What getInfo says of PINs and of what
//! needs one is left out (CTAP 2.1 §6.4), and the commands behind it are refused as a key refuses that
//! never heard of them.

use ciborium::Value;
use ctaphid_dispatch::app::{App, Command, Error};
use heapless_bytes::BytesView;
use trussed_core::InterruptFlag;

const OK: u8 = 0x00;
const INVALID_COMMAND: u8 = 0x01;
const INVALID_CBOR: u8 = 0x12;
const GET_INFO: u8 = 0x04;
/// clientPIN, bioEnrollment, credentialManagement, authenticatorConfig, and the two in the middle by
/// their numbers from before CTAP 2.1.
const REFUSED: [u8; 6] = [0x06, 0x09, 0x0A, 0x0D, 0x40, 0x41];

/// Members of getInfo: extensions and options, which are thinned out.
const EXTENSIONS: i64 = 0x02;
const OPTIONS: i64 = 0x04;
/// Members that go: pinUvAuthProtocols, forcePINChange, minPINLength, maxRPIDsForSetMinPINLength,
/// preferredPlatformUvAttempts, uvModality, uvCountSinceLastPinEntry, pinComplexityPolicy and its URL,
/// maxPINLength.
const HIDDEN_MEMBERS: [i64; 10] = [0x06, 0x0C, 0x0D, 0x10, 0x11, 0x12, 0x17, 0x1B, 0x1C, 0x1D];
/// Extensions that take a PIN, or the key agreement of clientPIN.
const HIDDEN_EXTENSIONS: [&str; 3] = ["hmac-secret", "hmac-secret-mc", "minPinLength"];
/// Options that say something of a PIN, a finger, or what one of them permits.
const HIDDEN_OPTIONS: [&str; 13] = [
    "alwaysUv",
    "authnrCfg",
    "bioEnroll",
    "clientPin",
    "credMgmt",
    "credentialMgmtPreview",
    "makeCredUvNotRqd",
    "noMcGaPermissionsWithClientPin",
    "pinUvAuthToken",
    "setMinPINLength",
    "userVerificationMgmtPreview",
    "uv",
    "uvBioEnroll",
];

/// The firmware behind the filter, which is open unless the key is to be touched only.
pub(crate) struct Filter<A> {
    pub(crate) firmware: A,
    pub(crate) touch_only: bool,
}

impl<A: App<'static>> App<'static> for Filter<A> {
    fn interrupt(&self) -> Option<&'static InterruptFlag> {
        self.firmware.interrupt()
    }

    fn commands(&self) -> &'static [Command] {
        self.firmware.commands()
    }

    fn call(
        &mut self,
        command: Command,
        request: &[u8],
        response: &mut BytesView,
    ) -> Result<(), Error> {
        let asked = request.first().filter(|_| self.touch_only && command == Command::Cbor);
        if asked.is_some_and(|asked| REFUSED.contains(asked)) {
            return answer(response, &[INVALID_COMMAND]);
        }
        self.firmware.call(command, request, response)?;
        if asked == Some(&GET_INFO) {
            let thinned = thinned(response).unwrap_or_else(|| vec![INVALID_CBOR]);
            return answer(response, &thinned);
        }
        Ok(())
    }
}

fn answer(response: &mut BytesView, bytes: &[u8]) -> Result<(), Error> {
    response.clear();
    response.extend_from_slice(bytes).map_err(|_| Error::InvalidLength)
}

/// The firmware's answer to getInfo without what it says of user verification; `None` where it is
/// no such answer.
fn thinned(answer: &[u8]) -> Option<Vec<u8>> {
    let (&OK, info) = answer.split_first()? else { return None };
    let Value::Map(mut members) = ciborium::from_reader(info).ok()? else { return None };
    let number = |key: &Value| i64::try_from(key.as_integer()?).ok();
    members.retain(|(key, _)| number(key).is_some_and(|key| !HIDDEN_MEMBERS.contains(&key)));
    for (key, value) in &mut members {
        match (number(key), value) {
            (Some(EXTENSIONS), Value::Array(names)) => {
                names.retain(|name| !names_one_of(name, &HIDDEN_EXTENSIONS));
            }
            (Some(OPTIONS), Value::Map(options)) => {
                options.retain(|(name, _)| !names_one_of(name, &HIDDEN_OPTIONS));
            }
            _ => {}
        }
    }
    let mut thinned = vec![OK];
    ciborium::into_writer(&Value::Map(members), &mut thinned).ok()?;
    Some(thinned)
}

fn names_one_of(name: &Value, hidden: &[&str]) -> bool {
    name.as_text().is_some_and(|name| hidden.contains(&name))
}
