//! Tokens, minted from an Attestation Result and used at a gateway.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use signet_evidence::{CertificateThumbprint, Purpose, UnixTime};
use signet_verifier::token::{SessionTerms, StatusReference, TokenFormat, TokenTerms, mint};
use signet_verifier::webauthn::UserVerification;
use signet_verifier::{Appraisal, AttestationResult};

use super::{APPROVED, NOW, Recorder};
use crate::attester::Fault;
use crate::fixture::{Fixture, Kind};
use crate::world::Change;

/// A staging route of the example policy: a session is enough.
const STAGING: &str = "PUT https://ctl.mesh.example/v1/namespaces/sandbox/routes/web {}";

impl Recorder {
    pub(super) async fn tokens(&mut self) -> Result<(), Fault> {
        let session = self.result(Purpose::Session).await?;
        let action = self.result(Purpose::Action).await?;
        let token = self.mint(&session, 1, |_| {})?;
        let single = self.mint(&action, 2, |_| {})?;
        let approved = format!("PUT https://ctl.mesh.example{APPROVED} {{}}");
        let minted = "as the authority mints it";
        self.token("accepted", "session-token", minted, STAGING, &token).write()?;
        self.token("accepted", "action-token", minted, &approved, &single).write()?;
        self.unsound_tokens(&session, &token)?;

        let mut revoked = self.token(
            "token-revoked",
            "session-revoked",
            "a token of a revoked session",
            STAGING,
            &token,
        );
        revoked.with = vec![Change::SessionRevoked];
        revoked.write()?;
        let mut redeemed = self.token(
            "token-redeemed",
            "used-twice",
            "an action token, the second time",
            &approved,
            &single,
        );
        redeemed.with = vec![Change::TokenRedeemed];
        redeemed.write()?;
        let path = approved.replace("ledger", "invoices");
        let body = approved.replace("{}", r#"{"weight":100}"#);
        let everything = "DELETE https://ctl.mesh.example/v1/everything {}";
        let dots = "PUT https://ctl.mesh.example/v1/namespaces/sandbox/routes/%2e%2e/x {}";
        for (code, name, comment, request, token) in [
            (
                "action-mismatch",
                "another-path",
                "an action token for another route",
                path.as_str(),
                &single,
            ),
            (
                "action-mismatch",
                "another-body",
                "an action token over another body",
                &body,
                &single,
            ),
            (
                "presence-required",
                "session-in-production",
                "a session where a touch for the request is due",
                &approved,
                &token,
            ),
            (
                "policy-denied",
                "no-such-action",
                "a request that no action names",
                everything,
                &token,
            ),
            ("target-ambiguous", "encoded-dots", "a path with encoded dot segments", dots, &token),
            (
                "token-missing",
                "no-authorization-header",
                "no token at all",
                STAGING,
                &String::new(),
            ),
        ] {
            self.token(code, name, comment, request, token).write()?;
        }
        Ok(())
    }

    fn unsound_tokens(&self, session: &AttestationResult, token: &str) -> Result<(), Fault> {
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, signature] = parts[..] else { return Err("not a JWS".into()) };
        let decoded = |part: &str| -> Result<String, Fault> {
            Ok(String::from_utf8(URL_SAFE_NO_PAD.decode(part)?)?)
        };
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt","kid":"x"}"#);
        let typ = URL_SAFE_NO_PAD.encode(decoded(header)?.replace("at+jwt", "JWT"));
        let admin = URL_SAFE_NO_PAD.encode(decoded(claims)?.replace(r#""alice""#, r#""admin""#));
        let foreign = self.mint(session, 3, |terms| terms.audience = "other.example".into())?;
        for (code, name, comment, token) in [
            (
                "token-malformed",
                "alg-none",
                "alg none and no signature",
                format!("{none}.{claims}."),
            ),
            (
                "token-malformed",
                "another-typ",
                "an ID token's typ",
                format!("{typ}.{claims}.{signature}"),
            ),
            (
                "token-signature-invalid",
                "subject-edited",
                "another subject",
                format!("{header}.{admin}.{signature}"),
            ),
            (
                "token-audience-wrong",
                "another-trust-domain",
                "minted for another audience",
                foreign,
            ),
        ] {
            self.token(code, name, comment, STAGING, &token).write()?;
        }
        let mut late = self.token(
            "token-expired",
            "five-minutes-later",
            "310 seconds after minting",
            STAGING,
            token,
        );
        late.now = NOW + 310;
        late.write()?;
        let mut stolen = self.token(
            "token-binding-mismatch",
            "stolen",
            "used by another machine",
            STAGING,
            token,
        );
        stolen.peer = Some("other-device".into());
        stolen.write()?;
        let mut bare = self.token(
            "certificate-missing",
            "no-client-certificate",
            "used without a certificate",
            STAGING,
            token,
        );
        bare.peer = None;
        Ok(bare.write()?)
    }

    fn token(&self, code: &str, name: &str, comment: &str, request: &str, token: &str) -> Fixture {
        Fixture {
            kind: Kind::Token,
            request: Some(request.into()),
            ..self.fixture(code, name, "protocol 3.3", comment, token.into())
        }
    }

    async fn result(&mut self, purpose: Purpose) -> Result<AttestationResult, Fault> {
        let statement = self.statement(purpose)?.encode()?;
        let assertion = self.assert(&statement, true).await?;
        let parts = self.parts(statement, Some(&assertion), purpose == Purpose::Session).await?;
        let bytes = self.seal(&parts).await?;
        let policy = self.world.policy(&[])?;
        let now = UnixTime(NOW);
        let appraisal = Appraisal { policy: &policy, challenge_key: &self.challenge_key, now };
        let evidence = appraisal.begin(&bytes, &self.peer, &[purpose])?;
        let enrolled = self.world.enrolled(&[])?;
        Ok(evidence.appraise(&enrolled, UserVerification::Required, &policy, now)?)
    }

    fn mint(
        &self,
        result: &AttestationResult,
        id: u8,
        change: impl FnOnce(&mut TokenTerms),
    ) -> Result<String, Fault> {
        let now = UnixTime(NOW);
        let (quarter, session) = (Duration::from_secs(900), Duration::from_secs(36_000));
        let mut terms = TokenTerms {
            issuer: self.world.audience.clone(),
            audience: self.world.trust_domain.clone(),
            client_id: signet_verifier::appraise::device_spiffe_id(
                &self.world.trust_domain,
                &self.device,
            ),
            token_id: [id; 16],
            issued_at: now,
            lifetime: Duration::from_secs(300),
            session: SessionTerms {
                id: self.world.session_id()?,
                expires: now.plus(session),
                presence: result.presence(now, now.plus(quarter)),
            },
            status: StatusReference { index: 0, uri: format!("{}/status/0", self.world.audience) },
            scope: None,
            certificate: None,
        };
        change(&mut terms);
        let peer = CertificateThumbprint::of_der(&self.peer);
        let signer = self.world.token_signer()?;
        Ok(mint(result, peer, &terms, TokenFormat::Jwt, &signer)?.encoded.to_string())
    }
}
