//! What the security key says: taken out, moved and edited.

use signet_evidence::{FidoAssertion, Purpose};

use super::Recorder;
use crate::attester::Fault;

impl Recorder {
    pub(super) async fn assertions(&mut self) -> Result<(), Fault> {
        let step = "protocol 2.4 step 11";
        let statement = self.statement(Purpose::Session)?.encode()?;
        let none = self.parts(statement, None, true).await?;
        self.write_sealed(
            "assertion-missing",
            "session-without-touch",
            step,
            "consistent evidence in which nobody touched a key",
            &none,
        )
        .await?;
        let statement = self.statement(Purpose::Action)?.encode()?;
        let none = self.parts(statement, None, false).await?;
        self.write_sealed(
            "assertion-missing",
            "action-without-touch",
            step,
            "an action that nobody approved",
            &none,
        )
        .await?;
        let other = self.statement(Purpose::Session)?.encode()?;
        let statement = self.statement(Purpose::Session)?.encode()?;
        let moved = self.assert(&other, true).await?;
        let parts = self.parts(statement, Some(&moved), true).await?;
        self.write_sealed(
            "assertion-challenge-mismatch",
            "assertion-from-another-statement",
            step,
            "a genuine touch for another request, quoted with this one",
            &parts,
        )
        .await?;
        let statement = self.statement(Purpose::Session)?.encode()?;
        let touched = self.assert(&statement, false).await?;
        let parts = self.parts(statement, Some(&touched), true).await?;
        self.write_sealed(
            "uv-missing",
            "touch-only",
            "WebAuthn L3 7.2 step 17",
            "a genuine touch without user verification",
            &parts,
        )
        .await?;
        let statement = self.statement(Purpose::Session)?.encode()?;
        let credential = self.world.credential.0.clone();
        let phished =
            self.attester.assert(&statement, &credential, "https://evil.example", true).await?;
        let parts = self.parts(statement, Some(&phished), true).await?;
        self.write_sealed(
            "assertion-client-data-wrong",
            "another-origin",
            "WebAuthn L3 7.2 step 12",
            "a genuine touch under another origin",
            &parts,
        )
        .await
    }

    /// Edits of a genuine assertion, quoted consistently: what a daemon under attack could send.
    pub(super) async fn edited_assertions(&mut self) -> Result<(), Fault> {
        type Edit = fn(&mut FidoAssertion);
        let edits: [(&str, &str, &str, &str, Edit); 6] = [
            (
                "rp-id-mismatch",
                "rp-id-hash-edited",
                "WebAuthn L3 7.2 step 15",
                "one bit of rpIdHash",
                |a| a.authenticator_data[0] ^= 1,
            ),
            ("up-missing", "up-flag-cleared", "WebAuthn L3 7.2 step 16", "UP cleared", |a| {
                a.authenticator_data[32] &= !1
            }),
            ("uv-missing", "uv-flag-cleared", "WebAuthn L3 7.2 step 17", "UV cleared", |a| {
                a.authenticator_data[32] &= !4
            }),
            ("backup-eligible", "be-flag-set", "WebAuthn L3 7.2 step 18", "BE set", |a| {
                a.authenticator_data[32] |= 8
            }),
            (
                "assertion-malformed",
                "authenticator-data-truncated",
                "WebAuthn L3 6.1",
                "authenticator data of 36 bytes",
                |a| a.authenticator_data.truncate(36),
            ),
            (
                "assertion-signature-invalid",
                "signature-edited",
                "WebAuthn L3 7.2 step 21",
                "the last bit of the signature",
                |a| {
                    if let Some(byte) = a.signature.last_mut() {
                        *byte ^= 1;
                    }
                },
            ),
        ];
        for (code, name, spec, comment, edit) in edits {
            let statement = self.statement(Purpose::Session)?.encode()?;
            let mut assertion = self.assert(&statement, true).await?;
            edit(&mut assertion);
            let parts = self.parts(statement, Some(&assertion), true).await?;
            self.write_sealed(code, name, spec, comment, &parts).await?;
        }
        let statement = self.statement(Purpose::Session)?.encode()?;
        let mut assertion = self.assert(&statement, true).await?;
        assertion.credential_id[0] ^= 1;
        let parts = self.parts(statement, Some(&assertion), true).await?;
        self.write_sealed(
            "credential-unknown",
            "credential-id-edited",
            "protocol 2.4 step 11",
            "an id that nobody registered",
            &parts,
        )
        .await
    }
}
