//! Registrations of a new key.

use signet_evidence::cbor::{self, Value};

use super::Recorder;
use super::edit::{bytes_at, edit_bytes, edit_map, set};
use crate::attester::Fault;
use crate::fixture::Kind;
use crate::world::Change;

impl Recorder {
    pub(super) async fn registrations(&mut self) -> Result<(), Fault> {
        let genuine = self.registration().await?;
        let sealed = self.seal(&genuine).await?;
        for (code, change) in [
            ("attestation-untrusted", Change::OtherAttestationRoots),
            ("aaguid-refused", Change::OtherModels),
            ("aaguid-denied", Change::ModelDenied),
            ("metadata-stale", Change::MetadataStale),
            ("touch-only-refused", Change::ModelTouchOnly),
            ("cred-protect-insufficient", Change::ModelHasCredProtect),
            ("authenticator-status", Change::ModelReported),
            ("credential-duplicate", Change::CredentialEnrolled),
            ("registration-not-authorised", Change::NoGrant),
        ] {
            // Evidence of enrolled keys has this code too.
            let name = if code == "authenticator-status" { "registration" } else { "genuine" };
            let mut fixture = self.fixture(
                code,
                name,
                "protocol 4.2",
                "a genuine key that the policy does not name",
                sealed.clone(),
            );
            fixture.kind = Kind::Registration;
            fixture.with = vec![change];
            fixture.write()?;
        }
        let none = |map: &mut Vec<(Value, Value)>| {
            set(map, "fmt", "none".into());
            set(map, "attStmt", Value::Map(Vec::new()));
        };
        self.write_registration(
            "attestation-format-refused",
            "attestation-stripped",
            "WebAuthn L3 8.7",
            "format none in the place of packed",
            none,
        )
        .await?;
        let unknown = |map: &mut Vec<(Value, Value)>| set(map, "fmt", "android-safetynet".into());
        self.write_registration(
            "attestation-format-refused",
            "unknown-format",
            "WebAuthn L3 8",
            "a format that is not accepted",
            unknown,
        )
        .await?;
        let edited =
            |map: &mut Vec<(Value, Value)>| edit_bytes(map, "authData", |data| data[36] ^= 1);
        self.write_registration(
            "attestation-invalid",
            "counter-edited",
            "WebAuthn L3 7.1 step 21",
            "one bit of authenticator data",
            edited,
        )
        .await?;
        // The credential's key is the last 77 bytes: a5 01 02 03 26 …, where 26 is alg −7.
        let eddsa = |map: &mut Vec<(Value, Value)>| {
            edit_bytes(map, "authData", |data| {
                let at = data.len() - 77 + 4;
                data[at] = 0x27;
            });
        };
        self.write_registration(
            "credential-algorithm-refused",
            "alg-edited",
            "protocol 4.2",
            "alg −8 in the credential's key",
            eddsa,
        )
        .await
    }

    async fn write_registration(
        &mut self,
        code: &str,
        name: &str,
        spec: &str,
        comment: &str,
        edit: impl Fn(&mut Vec<(Value, Value)>),
    ) -> Result<(), Fault> {
        let mut parts = self.registration().await?;
        let header = parts.registration.take().ok_or("registration")?;
        let object = bytes_at(&header, 1)?;
        let Value::Map(mut map) = cbor::decode(&object)? else { return Err("not a map".into()) };
        edit(&mut map);
        let object = cbor::encode(&Value::Map(map));
        let header = edit_map(&header, 1, Value::Bytes(object))?;
        parts.tpm = self.quote(&parts.statement, None, Some(&header), false).await?;
        parts.registration = Some(header);
        let bytes = self.seal(&parts).await?;
        let mut fixture = self.fixture(code, name, spec, comment, bytes);
        fixture.kind = Kind::Registration;
        Ok(fixture.write()?)
    }
}
