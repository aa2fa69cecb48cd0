//! Tokens signed with the authority's own key, with the rows that a mint leaves.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use signet_authority::state::Authority;
use signet_authority::store::{Event, SessionChange, SessionKind};
use signet_evidence::action::content_digest;
use signet_evidence::{ActionDetails, ActionKind, SessionId, UnixTime};
use signet_verifier::token::claims::{Confirmation, Facts, Status, StatusListEntry, TokenClaims};

use super::{Machine, rows};

pub(super) async fn token(
    authority: &Authority,
    machine: &Machine,
    kind: SessionKind,
    credential: Option<&[u8]>,
) -> String {
    let now = authority.now();
    let store = authority.store.as_ref();
    let device = store.device(&machine.id).await.unwrap().unwrap();
    let mut record = rows::session_record(store, &device, kind).await;
    record.token.issued_at = now;
    record.token.expires = UnixTime(now.0 + 60);
    let SessionChange::Start(session) = &mut record.session else { panic!() };
    session.expires = UnixTime(now.0 + 600);
    session.subject = Some(device.operator.clone());
    session.credential = credential.map(<[u8]>::to_vec);
    let index = session.status_index;
    store.mint(&record, &rows::allowed(Event::TokenSession)).await.unwrap();
    let once = kind == SessionKind::Action;
    let claims = TokenClaims {
        iss: authority.checker().issuer,
        aud: authority.checker().audience,
        sub: device.operator,
        client_id: authority.config.device_spiffe_id(&machine.id),
        iat: now.0,
        nbf: now.0,
        exp: now.0 + 60,
        jti: SessionId(record.token.id).to_string(),
        sid: record.token.session.to_string(),
        auth_time: Some(now.0),
        acr: "signet.uv-hw".into(),
        amr: vec!["hwk".into()],
        cnf: Confirmation::certificate(machine.thumbprint()),
        scope: None,
        authorization_details: once.then(|| vec![action()]),
        status: Status {
            status_list: StatusListEntry { idx: index, uri: "https://localhost/status/0".into() },
        },
        signet: Facts {
            human: true,
            uvm: None,
            uvm_src: None,
            key_att: None,
            dev: "proven".into(),
            boot: "approved".into(),
            pres_exp: Some(now.0 + 60),
            sess_exp: now.0 + 600,
            x5t_hex: machine.thumbprint().to_hex(),
            once,
        },
    };
    sign(authority, &claims)
}

/// What a token says; its signature is not looked at.
pub(crate) fn claims(token: &str) -> TokenClaims {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

pub(crate) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn sign(authority: &Authority, claims: &TokenClaims) -> String {
    let key = authority.keys.token.signer(authority.now());
    let header = serde_json::json!({"alg": "ES256", "typ": "at+jwt", "kid": key.key_id()});
    let claims = serde_json::to_vec(claims).unwrap();
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

fn action() -> ActionDetails {
    ActionDetails {
        kind: ActionKind::SignetAction,
        actions: vec!["mesh.route.update".into()],
        locations: vec!["https://ctl.mesh.example".into()],
        method: "PUT".into(),
        path: "/v1/routes/payments".into(),
        content_digest: content_digest(b"{}"),
    }
}
