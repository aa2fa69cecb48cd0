//! Tokens: the recorded ones with other claims, headers and uses, signed anew by the world's token key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use signet_test_authenticators::scalar;

use super::{SoftwareKey, blank, genuine};
use crate::attester::Fault;
use crate::fixture::{Fixture, Kind};
use crate::recorder::APPROVED;
use crate::world::{Change, World};

const STAGING: &str = "PUT https://ctl.mesh.example/v1/namespaces/sandbox/routes/web {}";

/// Header and claims, before they are signed.
struct Parts {
    header: Value,
    claims: Value,
}

/// Rewrites a finished token.
type Rewrite = fn(String) -> String;

/// Edits before the signature.
type Edit = fn(&mut Parts);

/// Code, file name, comment, edits of a session token.
const SIGNED: &[(&str, &str, &str, Edit)] = &[
    ("token-malformed", "alg-hs256", "alg HS256", |p| p.header["alg"] = json!("HS256")),
    ("token-malformed", "alg-in-lower-case", "alg es256", |p| p.header["alg"] = json!("es256")),
    ("token-malformed", "typ-missing", "no typ", |p| drop(remove(&mut p.header, "typ"))),
    ("token-malformed", "typ-with-prefix", "typ application/at+jwt", |p| {
        p.header["typ"] = json!("application/at+jwt");
    }),
    ("token-malformed", "kid-missing", "no kid", |p| drop(remove(&mut p.header, "kid"))),
    ("token-malformed", "crit", "a crit header", |p| p.header["crit"] = json!(["exp"])),
    ("token-malformed", "embedded-key", "a jwk in the header", |p| p.header["jwk"] = json!({})),
    ("token-malformed", "key-by-url", "a jku in the header", |p| {
        p.header["jku"] = json!("https://evil.example/jwks");
    }),
    ("token-malformed", "unknown-claim", "a claim that no token of ours has", |p| {
        p.claims["roles"] = json!(["admin"]);
    }),
    ("token-malformed", "expires-as-text", "exp as text", |p| {
        p.claims["exp"] = json!("1800000300")
    }),
    ("token-malformed", "audience-in-an-array", "aud as an array", |p| {
        p.claims["aud"] = json!(["mesh.example"]);
    }),
    ("token-malformed", "lives-for-a-day", "a life of a day", |p| {
        p.claims["exp"] = json!(1_800_086_400);
    }),
    ("token-malformed", "unknown-level", "an acr that nobody knows", |p| {
        p.claims["acr"] = json!("signet.root");
    }),
    ("token-malformed", "once-without-action", "a single use of nothing", |p| {
        p.claims["signet"]["once"] = json!(true);
        p.claims["exp"] = json!(1_800_000_060);
    }),
    ("token-malformed", "action-without-once", "an action that can be used for ever", |p| {
        p.claims["authorization_details"] = json!([]);
    }),
    ("token-malformed", "no-status", "no status list", |p| drop(remove(&mut p.claims, "status"))),
    ("token-audience-wrong", "another-issuer", "another issuer", |p| {
        p.claims["iss"] = json!("https://authority.evil.example");
    }),
    ("token-audience-wrong", "audience-with-scheme", "the trust domain as a SPIFFE ID", |p| {
        p.claims["aud"] = json!("spiffe://mesh.example");
    }),
    ("token-audience-wrong", "audience-empty", "an empty audience", |p| {
        p.claims["aud"] = json!("")
    }),
    ("token-expired", "a-minute-ago", "run out a minute ago", |p| {
        p.claims["exp"] = json!(1_799_999_940);
        p.claims["iat"] = json!(1_799_999_640);
        p.claims["nbf"] = json!(1_799_999_640);
    }),
    ("token-expired", "not-yet", "good from a minute on", |p| {
        p.claims["nbf"] = json!(1_800_000_060)
    }),
    ("token-expired", "of-1970", "run out at the beginning of time", |p| {
        p.claims["exp"] = json!(0)
    }),
    ("token-signature-invalid", "unknown-key", "a kid that is nobody's", |p| {
        p.header["kid"] = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    }),
    ("token-signature-invalid", "key-by-path", "a kid that is a path", |p| {
        p.header["kid"] = json!("../../dev/null");
    }),
    ("token-binding-mismatch", "another-certificate", "bound to another certificate", |p| {
        p.claims["cnf"]["x5t#S256"] = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    }),
    (
        "token-binding-mismatch",
        "two-certificates",
        "bound to this certificate and to another",
        |p| {
            p.claims["signet"]["x5t_hex"] = json!("00".repeat(32));
        },
    ),
    ("token-binding-mismatch", "unbound", "bound to nothing", |p| p.claims["cnf"] = json!({})),
];

/// Code, file name, comment, edits of the finished text.
const EDITED: &[(&str, &str, &str, Rewrite)] = &[
    ("token-malformed", "one-part", "text without a dot", |_| "token".into()),
    ("token-malformed", "five-parts", "the form of an encrypted token", |t| format!("{t}..")),
    ("token-malformed", "padded", "a signature with base64 padding", |t| format!("{t}==")),
    ("token-malformed", "signature-cut", "a signature of 63 bytes", |t| t[..t.len() - 2].into()),
    ("token-malformed", "standard-base64", "a plus sign in the payload", |t| {
        t.replacen(".ey", ".e+", 1)
    }),
    ("token-signature-invalid", "signature-of-zeros", "r and s of zero", |t| {
        let signed = t.rsplit_once('.').map_or("", |(signed, _)| signed);
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode([0; 64]))
    }),
    (
        "token-signature-invalid",
        "header-of-another-order",
        "the header's members in another order",
        |t| {
            let rest = t.split_once('.').map_or("", |(_, rest)| rest);
            let header = t.split('.').next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
            let header: Value =
                serde_json::from_slice(&header.unwrap_or_default()).unwrap_or_default();
            let kid = header["kid"].as_str().unwrap_or_default();
            let header = format!(r#"{{"kid":"{kid}","typ":"at+jwt","alg":"ES256"}}"#);
            format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header))
        },
    ),
];

fn remove(object: &mut Value, member: &str) -> Option<Value> {
    object.as_object_mut()?.remove(member)
}

/// Code, file name, comment, use, of the recorded session token (`false`) or action token (`true`).
const USED: &[(&str, &str, &str, &str, bool)] = &[
    (
        "action-mismatch",
        "another-method",
        "an action token for another method",
        "DELETE https://ctl.mesh.example/v1/namespaces/payments/routes/ledger {}",
        true,
    ),
    (
        "action-mismatch",
        "query-added",
        "an action token with a query behind it",
        "PUT https://ctl.mesh.example/v1/namespaces/payments/routes/ledger?force=1 {}",
        true,
    ),
    (
        "action-mismatch",
        "without-body",
        "an action token without the body",
        "PUT https://ctl.mesh.example/v1/namespaces/payments/routes/ledger",
        true,
    ),
    (
        "presence-required",
        "session-for-a-deletion",
        "a session where a touch for the request is due",
        "DELETE https://ctl.mesh.example/v1/namespaces/payments/routes/ledger {}",
        false,
    ),
    (
        "presence-required",
        "session-for-a-patch",
        "a session where a touch for the request is due",
        "PATCH https://ctl.mesh.example/v1/namespaces/payments/routes/ledger {}",
        false,
    ),
    (
        "target-ambiguous",
        "doubled-slash",
        "two slashes",
        "PUT https://ctl.mesh.example/v1//namespaces/sandbox/routes/web {}",
        false,
    ),
    (
        "target-ambiguous",
        "encoded-slash",
        "an encoded slash",
        "PUT https://ctl.mesh.example/v1/namespaces/sandbox/routes%2fweb {}",
        false,
    ),
    (
        "target-ambiguous",
        "parameter",
        "a path parameter",
        "PUT https://ctl.mesh.example/v1/namespaces/sandbox/routes;x/web {}",
        false,
    ),
    (
        "target-ambiguous",
        "encoded-letter",
        "an encoded letter",
        "PUT https://ctl.mesh.example/v1/namespaces/sandbox/routes/%77eb {}",
        false,
    ),
    (
        "target-ambiguous",
        "encoded-twice",
        "an encoded percent sign",
        "PUT https://ctl.mesh.example/v1/namespaces/sandbox/routes/%252e%252e {}",
        false,
    ),
    (
        "policy-denied",
        "unknown-method",
        "a method that no action names",
        "POST https://ctl.mesh.example/v1/namespaces/sandbox/routes/web {}",
        false,
    ),
];

/// Every token.
pub(super) fn all(world: &World) -> Result<Vec<Fixture>, Fault> {
    let (session, action) = (genuine("session-token")?, genuine("action-token")?);
    let text = |fixture: &Fixture| String::from_utf8_lossy(&fixture.bytes).into_owned();
    let key = SoftwareKey::from_scalar(&scalar(&world.token_key.0).ok_or("token key")?)?;
    let approved = format!("PUT https://ctl.mesh.example{APPROVED} {{}}");
    let mut made = Vec::new();
    for (code, name, comment, edit) in SIGNED {
        let signed = sign(&key, &text(&session), *edit)?;
        made.push(token(code, name, comment, STAGING, signed));
    }
    for (code, name, comment, edit) in EDITED {
        made.push(token(code, name, comment, STAGING, edit(text(&session))));
    }
    let stranger = SoftwareKey::of(&world.software, "tls")?;
    let comment = "signed by a workstation's TLS key";
    let signed = sign(&stranger, &text(&session), |_| ())?;
    made.push(token("token-signature-invalid", "signed-by-the-tls-key", comment, STAGING, signed));
    for (code, name, comment, request, single) in USED {
        let bytes = text(if *single { &action } else { &session });
        made.push(token(code, name, comment, request, bytes));
    }
    for (name, request) in [("of-an-approval", approved.as_str()), ("of-a-view", VIEW)] {
        made.push(token("token-missing", name, "no token at all", request, String::new()));
    }
    for (name, request, bytes) in
        [("action-token", approved.as_str(), text(&action)), ("of-a-view", VIEW, text(&session))]
    {
        let comment = "used without a client certificate";
        let mut fixture = token("certificate-missing", name, comment, request, bytes);
        fixture.peer = None;
        made.push(fixture);
    }
    for (name, request, bytes) in
        [("action-token", approved.as_str(), text(&action)), ("of-a-view", VIEW, text(&session))]
    {
        let comment = "a token of a revoked session";
        let mut fixture = token("token-revoked", name, comment, request, bytes);
        fixture.with = vec![Change::SessionRevoked];
        made.push(fixture);
    }
    let mut stolen = token(
        "token-binding-mismatch",
        "action-token",
        "used by another machine",
        &approved,
        text(&action),
    );
    stolen.peer = Some("software".into());
    made.push(stolen);
    let mut late = token(
        "token-expired",
        "action-token",
        "an approval, a minute late",
        &approved,
        text(&action),
    );
    late.now += 70;
    made.push(late);
    for (name, comment, edit) in REDEEMED {
        let bytes = sign(&key, &text(&action), *edit)?;
        let mut fixture = token("token-redeemed", name, comment, &approved, bytes);
        fixture.with = vec![Change::TokenRedeemed];
        made.push(fixture);
    }
    Ok(made)
}

const VIEW: &str = "GET https://ctl.mesh.example/v1/namespaces/sandbox/routes/web";

/// Approvals that were used, with something else in them.
const REDEEMED: &[(&str, &str, Edit)] = &[
    ("with-longer-life", "an approval that was used, minted for ten seconds more", |p| {
        p.claims["iat"] = json!(1_800_000_010);
        p.claims["exp"] = json!(1_800_000_070);
    }),
    ("with-scope", "an approval that was used, with a scope", |p| {
        p.claims["scope"] = json!("mesh.route.update");
    }),
];

fn token(code: &str, name: &str, comment: &str, request: &str, bytes: String) -> Fixture {
    let mut fixture = blank(code, name, "protocol 3.3", comment);
    fixture.kind = Kind::Token;
    fixture.peer = Some("workstation".into());
    fixture.with = Vec::new();
    fixture.request = Some(request.into());
    fixture.bytes = bytes.into_bytes();
    fixture
}

/// The recorded token with `edit`, signed by `key`.
fn sign(key: &SoftwareKey, recorded: &str, edit: Edit) -> Result<String, Fault> {
    let mut parts = recorded.split('.').map(|part| -> Result<Value, Fault> {
        Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part)?)?)
    });
    let (header, claims) = (parts.next().ok_or("header")??, parts.next().ok_or("claims")??);
    let mut parts = Parts { header, claims };
    edit(&mut parts);
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&parts.header), encode(&parts.claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
    Ok(format!("{signed}.{signature}"))
}
