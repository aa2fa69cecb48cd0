//! authenticatorConfig (CTAP 2.1 §6.11).

use ciborium::Value;

use super::client_pin::encoded;
use crate::cbor;
use crate::key::{CommandError, Key};
use crate::pin_protocol::Token;

const CONFIG: u8 = 0x0D;

/// Sub-commands of authenticatorConfig.
#[derive(Debug, Clone, Copy)]
enum Sub {
    EnableEnterpriseAttestation = 0x01,
    ToggleAlwaysUv = 0x02,
    SetMinPinLength = 0x03,
}

/// Parameters of setMinPINLength; what is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MinPinLength<'a> {
    /// New minimum, code points. It can only rise.
    pub length: Option<u32>,
    /// Relying parties that may read the minimum; empty: as before.
    pub rp_ids: &'a [String],
    /// The PIN must be changed before it is good for anything.
    pub force_change: bool,
}

impl Key {
    /// Enables enterprise attestation. Only a reset disables it again.
    pub async fn enable_enterprise_attestation(
        &mut self,
        token: Option<&Token>,
    ) -> Result<(), CommandError> {
        self.config(Sub::EnableEnterpriseAttestation, None, token).await
    }

    /// Turns `alwaysUv` over.
    pub async fn toggle_always_uv(&mut self, token: Option<&Token>) -> Result<(), CommandError> {
        self.config(Sub::ToggleAlwaysUv, None, token).await
    }

    /// Sets the minimum PIN length, who may read it, and whether the PIN must be changed.
    pub async fn set_min_pin_length(
        &mut self,
        parameters: &MinPinLength<'_>,
        token: Option<&Token>,
    ) -> Result<(), CommandError> {
        let rp_ids = parameters.rp_ids.iter().map(|id| id.as_str().into()).collect();
        let parameters = cbor::map([
            (0x01, parameters.length.map(Value::from)),
            (0x02, (!parameters.rp_ids.is_empty()).then_some(Value::Array(rp_ids))),
            (0x03, parameters.force_change.then_some(true.into())),
        ]);
        self.config(Sub::SetMinPinLength, Some(parameters), token).await
    }

    async fn config(
        &mut self,
        sub: Sub,
        parameters: Option<Value>,
        token: Option<&Token>,
    ) -> Result<(), CommandError> {
        let sub = sub as u8;
        let signed = [&[0xFF; 32][..], &[CONFIG, sub], &encoded(parameters.as_ref())].concat();
        let request = cbor::map([
            (0x01, Some(sub.into())),
            (0x02, parameters),
            (0x03, token.map(|token| token.protocol().value())),
            (0x04, token.map(|token| token.authenticate(&signed))),
        ]);
        self.call(CONFIG, Some(&request), &mut |_| {}).await.map(drop)
    }
}
