//! The client against two third-party firmwares, each in its own process.

#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod cancel;
mod configure;
mod credential;
mod dressed;
mod fingerprint;
mod lockout;
mod management;
mod older;
mod person;
mod pin;
mod removal;
mod reset;
mod secrets;
mod several;
mod u2f;

use std::time::Duration;

use signet_ctap::commands::{CredentialProtection, RelyingParty, UserEntity};
use signet_ctap::operation::{
    AssertRequest, Assertion, OperationError, RegisterRequest, Registration, UserVerification,
};
use signet_ctap::{Key, Timing, Zeroizing};
use signet_test_authenticators::{Firmware, VirtualKey};

const RP_ID: &str = "presence.mesh.example";
const PIN: &str = "114477";
const BOTH: [Firmware; 2] = [Firmware::OpenSk, Firmware::Trussed];
const BY_PIN: UserVerification = UserVerification::Required { pin_fallback: true };
const BY_FINGER: UserVerification = UserVerification::Required { pin_fallback: false };

/// Patient, because debug builds of firmware on a loaded machine are slow.
fn timing() -> Timing {
    let patience = Duration::from_secs(20);
    Timing { silence: patience, opening: patience, ..Timing::default() }
}

async fn open(key: &VirtualKey) -> Key {
    Key::open_path(&key.socket(), timing()).await.unwrap()
}

fn secret(pin: &str) -> Zeroizing<String> {
    Zeroizing::new(pin.to_owned())
}

/// A key with a PIN.
async fn open_with_pin(key: &VirtualKey) -> Key {
    let mut opened = open(key).await;
    opened.set_pin(&secret(PIN)).await.unwrap();
    opened
}

fn registration(user_verification: UserVerification) -> RegisterRequest {
    RegisterRequest {
        rp: RelyingParty { id: RP_ID.into(), name: "Signet".into() },
        user: UserEntity {
            id: b"operator-1".to_vec(),
            name: "op".into(),
            display_name: "Op".into(),
        },
        client_data_hash: [0xC1; 32],
        algorithms: vec![-7],
        exclude_list: Vec::new(),
        resident_key: false,
        protection: Some(CredentialProtection::UserVerificationRequired),
        min_pin_length: false,
        enterprise_attestation: None,
        user_verification,
    }
}

fn assertion(registration: &Registration, user_verification: UserVerification) -> AssertRequest {
    AssertRequest {
        rp_id: RP_ID.into(),
        client_data_hash: [0xA5; 32],
        allow_list: vec![registration.credential_id.clone()],
        user_verification,
    }
}

/// Registers with the PIN; the button must be on automatic.
async fn register(key: &mut Key, request: &RegisterRequest) -> Registration {
    let (result, _) =
        person::with_pins(&[PIN], async |prompt| key.register(request, &prompt).await).await;
    result.unwrap()
}

/// A credential that needs no user verification, for tests about touches.
async fn register_touch_only(key: &mut Key) -> Registration {
    let mut request = registration(BY_PIN);
    request.protection = None;
    register(key, &request).await
}

async fn assert_by_pin(
    key: &mut Key,
    request: &AssertRequest,
) -> Result<Assertion, OperationError> {
    person::with_pins(&[PIN], async |prompt| key.assert(request, &prompt).await).await.0
}
