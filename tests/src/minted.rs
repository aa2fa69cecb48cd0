//! Tokens for recorded evidence, as the authority mints them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use signet_evidence::{Purpose, SessionId, UnixTime};
use signet_verifier::token::{
    FileSigner, SessionTerms, StatusReference, TokenFormat, TokenTerms, mint,
};
use signet_verifier::webauthn::UserVerification;
use signet_verifier::{Appraisal, AttestationResult};
use zeroize::Zeroizing;

use crate::attester::Fault;
use crate::fixture::{self, Fixture};

/// A CWT for the evidence of the accepted fixture of this name.
///
/// # Errors
/// [`Fault`].
pub fn cwt(name: &str) -> Result<Vec<u8>, Fault> {
    let world = fixture::world()?;
    let path = fixture::folder().join(format!("accepted/{name}.fixture"));
    let result = judged(&Fixture::read(&path)?)?;
    let now = UnixTime(world.now);
    let expires = now.plus(Duration::from_secs(900));
    let terms = TokenTerms {
        issuer: world.audience.clone(),
        audience: world.trust_domain.clone(),
        client_id: format!("spiffe://{}/device/{}", world.trust_domain, result.device()),
        token_id: [1; 16],
        issued_at: now,
        lifetime: Duration::from_secs(60),
        session: SessionTerms {
            id: SessionId([2; 16]),
            expires,
            presence: result.presence(now, expires),
        },
        status: StatusReference { index: 3, uri: format!("{}/status/0", world.audience) },
        scope: Some("mesh.route.view".into()),
        certificate: None,
    };
    let signer = FileSigner::from_pkcs8(&Zeroizing::new(world.token_key.0))?;
    let token = mint(&result, result.peer(), &terms, TokenFormat::Cwt, &signer)?;
    Ok(URL_SAFE_NO_PAD.decode(token.encoded.as_bytes())?)
}

/// What the appraisal of a fixture's evidence comes to.
///
/// # Errors
/// [`Fault`].
pub fn judged(fixture: &Fixture) -> Result<AttestationResult, Fault> {
    let world = fixture::world()?;
    let policy = world.policy(&fixture.with)?;
    let challenge_key = world.challenge_key()?;
    let now = UnixTime(fixture.now);
    let name = fixture.peer.as_deref().ok_or("a fixture without a peer")?;
    let peer = &world.peers.get(name).ok_or("a peer that the world does not know")?.0;
    let evidence = Appraisal { policy: &policy, challenge_key: &challenge_key, now }
        .begin(&fixture.bytes, peer, &Purpose::ALL)
        .map_err(|rejection| rejection.chain())?;
    let enrolled = world.enrolled_for(evidence.credential_id(), &fixture.with)?;
    let result = evidence.appraise(&enrolled, UserVerification::Required, &policy, now);
    Ok(result.map_err(|rejection| rejection.chain())?)
}
