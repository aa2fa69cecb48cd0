//! Decisions over a ledger in memory: every refusal with its exact code, what its sender is told,
//! and what is on record.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use signet_evidence::action::content_digest;
use signet_evidence::{ActionDetails, ActionKind, CertificateThumbprint, RejectionCode, UnixTime};
use signet_verifier::token::claims::{Confirmation, Status, StatusListEntry};
use signet_verifier::token::{
    Facts, FileSigner, SeenTokens, TokenChecker, TokenClaims, TokenSigner, VerifyingKey,
};
use zeroize::Zeroizing;

use super::ledger::token_id;
use super::*;
use crate::config::PeerCertificateSource;
use crate::in_force::Sets;
use crate::metrics::Metrics;
use crate::policy::{ActionPolicySet, EXAMPLE, RecordedRequest};
use crate::problem::Audience;
use crate::store::{Appended, AuditEntry, CommitError, Decision, StoreError};

const NOW: UnixTime = UnixTime(1_795_317_301);
const ALICE: CertificateThumbprint = CertificateThumbprint([0xa1; 32]);
const MALLORY: CertificateThumbprint = CertificateThumbprint([0x3a; 32]);
const STAGING: &str = "/v1/namespaces/sandbox/routes/web";
const PRODUCTION: &str = "/v1/namespaces/payments/routes/api";
const BODY: &[u8] = b"{\"weight\": 10}";

/// Tokens by id; the state of each, and everything on record.
#[derive(Debug, Default)]
struct MemoryLedger {
    refused: HashMap<[u8; 16], RejectionCode>,
    redeemed: Mutex<Vec<[u8; 16]>>,
    entries: Mutex<Vec<AuditEntry>>,
    broken: bool,
    /// Whether tokens count as heard of; and what was noted.
    heard: bool,
    noted: Mutex<Vec<AuditEntry>>,
    /// How often what a token is worth is overtaken by a revocation; after the first it is `then`.
    overtaken: AtomicI64,
    then: Option<RejectionCode>,
}

impl MemoryLedger {
    fn answer(&self) -> Result<(), StoreError> {
        if self.broken { Err(StoreError::Full) } else { Ok(()) }
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn token_state(
        &self,
        claims: &TokenClaims,
        look: Look,
        _now: UnixTime,
    ) -> Result<TokenState, StoreError> {
        let refused = token_id(claims).and_then(|id| self.refused.get(&id).copied());
        let then = self.then.filter(|_| look == Look::Stored);
        let heard = self.heard && look == Look::Remembered;
        Ok(TokenState { refused: refused.or(then), action: None, as_of: 7, heard })
    }

    async fn redeem(
        &self,
        token: &[u8; 16],
        _now: UnixTime,
        entry: &AuditEntry,
    ) -> Result<(), CommitError> {
        self.answer()?;
        let mut redeemed = self.redeemed.lock().unwrap();
        if redeemed.contains(token) {
            return Err(RejectionCode::TokenRedeemed.into());
        }
        redeemed.push(*token);
        self.entries.lock().unwrap().push(entry.clone());
        Ok(())
    }

    fn note(&self, entry: &AuditEntry) -> bool {
        assert_eq!(entry.decision, Decision::Allowed);
        self.noted.lock().unwrap().push(entry.clone());
        !self.broken
    }

    async fn record(&self, entry: &AuditEntry, as_of: Option<i64>) -> Result<Appended, StoreError> {
        self.answer()?;
        // A permit counts as of the look that it was made on, a refusal needs none.
        assert_eq!(as_of, (entry.decision == Decision::Allowed).then_some(7));
        if as_of.is_some() && self.overtaken.fetch_sub(1, Ordering::Relaxed) > 0 {
            return Ok(Appended::Overtaken);
        }
        self.entries.lock().unwrap().push(entry.clone());
        Ok(Appended::Written)
    }
}

struct Scene {
    signer: FileSigner,
    checker: TokenChecker,
    seen: SeenTokens,
    sets: Sets,
    metrics: Metrics,
    ledger: MemoryLedger,
}

impl Scene {
    fn new() -> Self {
        let pair =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let signer =
            FileSigner::from_pkcs8(&Zeroizing::new(pair.unwrap().as_ref().to_vec())).unwrap();
        let files = EXAMPLE.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
        Self {
            checker: TokenChecker {
                issuer: "https://authority.mesh.example".into(),
                audience: "mesh.example".into(),
                keys: vec![VerifyingKey::of_signer(&signer)],
            },
            seen: SeenTokens::at_most(8),
            signer,
            sets: Sets::only(ActionPolicySet::from_files(&files).unwrap()),
            metrics: Metrics::default(),
            ledger: MemoryLedger::default(),
        }
    }

    fn token(&self, claims: &TokenClaims) -> String {
        let kid = self.signer.key_id();
        let header = format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"{kid}"}}"#);
        let payload = serde_json::to_vec(claims).unwrap();
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.signer.sign(signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    async fn ask(&self, request: &Request) -> Result<Answer, Undecided> {
        let authorization = request.token.as_ref().map(|token| format!("Bearer {token}"));
        let peer = request.peer.map(CertificateThumbprint::to_hex);
        let raw = RawQuestion {
            method: request.method,
            target: request.target,
            hosts: vec![request.host.as_bytes()],
            authorizations: authorization.iter().map(String::as_bytes).collect(),
            peers: peer.iter().map(String::as_bytes).collect(),
            source: PeerCertificateSource::Sha256Header,
            body: request.body,
            gateway: "spiffe://mesh.example/gateway/edge",
            client: None,
        };
        let (checker, sets, metrics) = (&self.checker, &self.sets, &self.metrics);
        let (seen, ledger) = (&self.seen, &self.ledger);
        let arbiter = Arbiter { checker, seen, sets, metrics, ledger, now: NOW };
        arbiter.authorize(&raw, "0123456789abcdef").await
    }

    async fn permit(&self, request: &Request) -> signet_verifier::permit::Permit {
        match self.ask(request).await.unwrap() {
            Answer::Permit(permit) => permit,
            Answer::Refuse(refusal) => panic!("{refusal:?}"),
        }
    }

    async fn refusal(&self, request: &Request) -> Refusal {
        match self.ask(request).await.unwrap() {
            Answer::Refuse(refusal) => refusal,
            Answer::Permit(permit) => panic!("{permit:?}"),
        }
    }

    fn last_entry(&self) -> AuditEntry {
        self.ledger.entries.lock().unwrap().last().unwrap().clone()
    }
}

#[derive(Clone)]
struct Request {
    method: &'static str,
    host: &'static str,
    target: &'static str,
    token: Option<String>,
    peer: Option<CertificateThumbprint>,
    body: Option<&'static [u8]>,
}

fn put(target: &'static str, token: String) -> Request {
    let host = "ctl.mesh.example:443";
    Request { method: "PUT", host, target, token: Some(token), peer: Some(ALICE), body: Some(BODY) }
}

fn session(age: i64) -> TokenClaims {
    TokenClaims {
        iss: "https://authority.mesh.example".into(),
        aud: "mesh.example".into(),
        sub: "bob".into(),
        client_id: format!("spiffe://mesh.example/device/01{}", "ab".repeat(16)),
        iat: NOW.0 - 10,
        nbf: NOW.0 - 10,
        exp: NOW.0 + 50,
        jti: "11".repeat(16),
        sid: "22".repeat(16),
        auth_time: Some(NOW.0 - age),
        acr: "signet.uv".into(),
        amr: vec!["hwk".into(), "user".into(), "mfa".into()],
        cnf: Confirmation::certificate(ALICE),
        scope: None,
        authorization_details: None,
        status: Status {
            status_list: StatusListEntry {
                idx: 1,
                uri: "https://authority.mesh.example/status/0".into(),
            },
        },
        signet: Facts {
            human: true,
            uvm: None,
            uvm_src: None,
            key_att: Some("packed".into()),
            dev: "proven".into(),
            boot: "approved".into(),
            pres_exp: Some(NOW.0 - age + 14_400),
            sess_exp: NOW.0 + 3_600,
            x5t_hex: ALICE.to_hex(),
            once: false,
        },
    }
}

fn approved(name: &str, target: &str) -> TokenClaims {
    let mut claims = session(5);
    claims.jti = "33".repeat(16);
    claims.signet.once = true;
    claims.authorization_details = Some(vec![ActionDetails {
        kind: ActionKind::SignetAction,
        actions: vec![name.into()],
        locations: vec!["https://ctl.mesh.example".into()],
        method: "PUT".into(),
        path: target.into(),
        content_digest: content_digest(BODY),
    }]);
    claims
}

#[tokio::test]
async fn what_was_revoked_between_the_look_and_the_record_does_not_pass() {
    let mut scene = Scene::new();
    let request = put(STAGING, scene.token(&session(60)));
    scene.ledger.overtaken = 1.into();
    scene.ledger.then = Some(RejectionCode::TokenRevoked);
    assert_eq!(scene.refusal(&request).await.code, RejectionCode::TokenRevoked);
    assert_eq!(scene.ledger.entries.lock().unwrap().len(), 1);
    // It was another token: the decision stands, once on record.
    let mut scene = Scene::new();
    let request = put(STAGING, scene.token(&session(60)));
    scene.ledger.overtaken = 3.into();
    scene.permit(&request).await;
    assert_eq!(scene.ledger.entries.lock().unwrap().len(), 1);
    // Without end, nothing is decided.
    scene.ledger.overtaken = i64::MAX.into();
    assert!(matches!(scene.ask(&request).await, Err(Undecided::Overtaken)));
    assert_eq!(scene.ledger.entries.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_session_with_fresh_presence_passes_and_is_on_record() {
    let scene = Scene::new();
    let permit = scene.permit(&put(STAGING, scene.token(&session(60)))).await;
    assert_eq!((permit.subject(), permit.action()), ("bob", "mesh.route.update"));
    assert_eq!(permit.rules(), ["route-update-staging"]);
    assert_eq!(permit.policy_version(), scene.sets.live.version());
    assert!(!permit.single_use());
    let entry = scene.last_entry();
    assert_eq!(entry.decision, Decision::Allowed);
    assert_eq!(entry.rule.as_deref(), Some("route-update-staging"));
    assert_eq!(entry.gateway.as_deref(), Some("spiffe://mesh.example/gateway/edge"));
    assert_eq!(entry.token, Some([0x11; 16]));
    assert!(entry.detail.contains(&scene.sets.live.version().to_string()), "{}", entry.detail);
}

#[tokio::test]
async fn whoever_shows_no_good_token_learns_little_and_the_record_all() {
    let scene = Scene::new();
    let good = put(STAGING, scene.token(&session(60)));
    let log_in = "Bearer realm=\"signet\", error=\"invalid_token\", error_description=\"log in\"";
    let cases = [
        (
            Request { token: None, ..good.clone() },
            RejectionCode::TokenMissing,
            "Bearer realm=\"signet\"",
        ),
        (Request { peer: None, ..good.clone() }, RejectionCode::CertificateMissing, log_in),
        (
            Request { peer: Some(MALLORY), ..good.clone() },
            RejectionCode::TokenBindingMismatch,
            log_in,
        ),
        (
            put(STAGING, Scene::new().token(&session(60))),
            RejectionCode::TokenSignatureInvalid,
            log_in,
        ),
    ];
    for (request, code, challenge) in cases {
        let expected =
            Refusal { code, audience: Audience::Anyone, challenge: Some(challenge.into()) };
        assert_eq!(scene.refusal(&request).await, expected);
        assert_eq!(scene.last_entry().decision, Decision::Refused(code));
    }
    let ambiguous = Request { target: "/v1/namespaces/sandbox/routes/%2e%2e", ..good };
    let refusal = scene.refusal(&ambiguous).await;
    assert_eq!((refusal.code, refusal.challenge), (RejectionCode::TargetAmbiguous, None));
}

#[tokio::test]
async fn revoked_tokens_and_ended_sessions_are_refused() {
    for code in
        [RejectionCode::TokenRevoked, RejectionCode::SessionEnded, RejectionCode::TokenRedeemed]
    {
        let mut scene = Scene::new();
        scene.ledger.refused.insert([0x11; 16], code);
        let refusal = scene.refusal(&put(STAGING, scene.token(&session(60)))).await;
        assert_eq!(refusal.code, code);
        assert_eq!(scene.last_entry().subject.as_deref(), Some("bob"));
    }
}

#[tokio::test]
async fn stale_presence_is_told_what_would_help() {
    let scene = Scene::new();
    let refusal = scene.refusal(&put(STAGING, scene.token(&session(901)))).await;
    assert_eq!(
        (refusal.code, refusal.audience),
        (RejectionCode::PresenceRequired, Audience::Enrolled)
    );
    let challenge = refusal.challenge.unwrap();
    assert!(
        challenge.contains("acr_values=\"signet.uv signet.uv-hw\", max_age=\"900\""),
        "{challenge}"
    );
    let refusal = scene.refusal(&put(PRODUCTION, scene.token(&session(1)))).await;
    let challenge = refusal.challenge.unwrap();
    assert!(challenge.contains("max_age=\"0\", scope=\"mesh.route.update\""), "{challenge}");
    assert!(scene.last_entry().detail.contains("for this very request"));
}

#[tokio::test]
async fn policy_that_no_presence_changes_is_a_plain_no() {
    let scene = Scene::new();
    let mut stranger = session(1);
    stranger.sub = "mallory".into();
    let refusal = scene.refusal(&put(STAGING, scene.token(&stranger))).await;
    assert_eq!((refusal.code, refusal.challenge), (RejectionCode::PolicyDenied, None));
    let mut narrow = session(1);
    narrow.scope = Some("dashboard.view".into());
    let refusal = scene.refusal(&put(STAGING, scene.token(&narrow))).await;
    assert_eq!(refusal.code, RejectionCode::PolicyDenied);
    assert!(refusal.challenge.unwrap().contains("error=\"insufficient_scope\""));
}

#[tokio::test]
async fn an_approved_request_passes_once() {
    let scene = Scene::new();
    let request = put(PRODUCTION, scene.token(&approved("mesh.route.update", PRODUCTION)));
    let permit = scene.permit(&request).await;
    assert!(permit.single_use());
    let refusal = scene.refusal(&request).await;
    assert_eq!(refusal.code, RejectionCode::TokenRedeemed);
    let entries = scene.ledger.entries.lock().unwrap();
    let decisions: Vec<_> = entries.iter().map(|entry| entry.decision).collect();
    assert_eq!(decisions, [Decision::Allowed, Decision::Refused(RejectionCode::TokenRedeemed)]);
}

#[tokio::test]
async fn an_approval_is_for_that_request_only_and_is_not_used_up_by_another() {
    let scene = Scene::new();
    let token = scene.token(&approved("mesh.route.update", PRODUCTION));
    let good = put(PRODUCTION, token.clone());
    let query = "/v1/namespaces/payments/routes/api?force=1";
    let cases = [
        Request { body: Some(b"{\"weight\": 99}"), ..good.clone() },
        Request { body: Some(b""), ..good.clone() },
        Request { body: None, ..good.clone() },
        Request { method: "DELETE", ..good.clone() },
        Request { host: "localhost", ..good.clone() },
        Request { host: "ctl.mesh.example:8443", ..good.clone() },
        put(STAGING, token.clone()),
        put(query, token),
    ];
    for request in cases {
        let refusal = scene.refusal(&request).await;
        assert_eq!(refusal.code, RejectionCode::ActionMismatch);
        assert!(refusal.challenge.is_some());
    }
    let renamed = put(PRODUCTION, scene.token(&approved("dashboard.view", PRODUCTION)));
    assert_eq!(scene.refusal(&renamed).await.code, RejectionCode::ActionMismatch);
    assert!(scene.permit(&good).await.single_use());
}

#[tokio::test]
async fn no_record_no_answer() {
    let mut scene = Scene::new();
    scene.ledger.broken = true;
    let tokens = [session(60), session(901)].map(|claims| scene.token(&claims));
    for token in tokens {
        let undecided = scene.ask(&put(STAGING, token)).await.unwrap_err();
        assert!(matches!(undecided, Undecided::Store(StoreError::Full)));
    }
    let action = scene.token(&approved("mesh.route.update", PRODUCTION));
    let undecided = scene.ask(&put(PRODUCTION, action)).await.unwrap_err();
    assert!(matches!(undecided, Undecided::Store(StoreError::Full)));
}

#[tokio::test]
async fn a_yes_to_a_read_is_noted_where_nothing_was_revoked_since_the_look() {
    let mut scene = Scene::new();
    let get = |token| Request { method: "GET", ..put(STAGING, token) };
    let mut stranger = session(60);
    stranger.sub = "mallory".into();
    let (good, bad) = (scene.token(&session(60)), scene.token(&stranger));
    let counts = |scene: &Scene| {
        let of = |entries: &Mutex<Vec<AuditEntry>>| entries.lock().unwrap().len();
        (of(&scene.ledger.noted), of(&scene.ledger.entries))
    };
    scene.permit(&get(good.clone())).await;
    assert_eq!(counts(&scene), (0, 1), "this node has not heard of it");
    scene.ledger.heard = true;
    scene.permit(&get(good.clone())).await;
    assert_eq!(counts(&scene), (1, 1));
    scene.permit(&put(STAGING, good.clone())).await;
    assert_eq!(counts(&scene), (1, 2), "a write");
    scene.refusal(&get(bad)).await;
    assert_eq!(counts(&scene), (1, 3), "a no");
    let once = scene.token(&approved("mesh.route.update", PRODUCTION));
    scene.permit(&put(PRODUCTION, once)).await;
    assert_eq!(counts(&scene), (1, 4), "a token for one use");
    // Neither takes it.
    scene.ledger.broken = true;
    let undecided = scene.ask(&get(good)).await.unwrap_err();
    assert!(matches!(undecided, Undecided::Store(StoreError::Full)));
}

#[tokio::test]
async fn what_policy_was_asked_is_on_record_and_can_be_decided_again() {
    let scene = Scene::new();
    let mut stranger = session(1);
    stranger.sub = "mallory".into();
    let query = "/v1/namespaces/sandbox/routes/web?token=secret";
    scene.permit(&put(query, scene.token(&session(60)))).await;
    scene.refusal(&put(PRODUCTION, scene.token(&session(60)))).await;
    scene.refusal(&put(STAGING, scene.token(&stranger))).await;
    scene.permit(&put(PRODUCTION, scene.token(&approved("mesh.route.update", PRODUCTION)))).await;
    let entries = scene.ledger.entries.lock().unwrap();
    let mut kinds = Vec::new();
    for entry in entries.iter() {
        assert_eq!(entry.policy, Some(scene.sets.live.version().to_string()));
        let text = entry.request.as_deref().unwrap();
        assert!(!text.contains("secret"), "{text}");
        let recorded: RecordedRequest = serde_json::from_str(text).unwrap();
        assert_eq!(scene.sets.live.decide_again(&recorded), recorded.verdict);
        assert_eq!(recorded.gateway, "spiffe://mesh.example/gateway/edge");
        kinds.push(recorded.verdict.unwrap().kind());
    }
    assert_eq!(kinds, ["permit", "step-up", "deny", "permit"]);
}

#[tokio::test]
async fn a_shadow_set_is_asked_and_never_obeyed() {
    let mut scene = Scene::new();
    let mut files = scene.sets.live.files().clone();
    files.insert(
        "closed.cedar".into(),
        "@id(\"closed\") forbid(principal, action in Action::\"write\", resource);".into(),
    );
    scene.sets.shadow = Some(ActionPolicySet::from_files(&files).unwrap().into());
    scene.permit(&put(STAGING, scene.token(&session(60)))).await;
    let refusal = scene.refusal(&put(PRODUCTION, scene.token(&session(60)))).await;
    assert_eq!(refusal.code, RejectionCode::PresenceRequired);
    let text = scene.metrics.render(0, 0);
    for (live, count) in [("permit", 1), ("step-up", 1)] {
        let line = format!(
            "signet_policy_shadow_decisions_total{{live=\"{live}\",shadow=\"deny\",differs=\"yes\"}} {count}"
        );
        assert!(text.contains(&line), "{text}");
    }
    for set in ["live", "shadow"] {
        let line = format!("signet_policy_decision_duration_seconds_count{{set=\"{set}\"}} 2");
        assert!(text.contains(&line), "{text}");
    }
    assert_eq!(scene.last_entry().policy, Some(scene.sets.live.version().to_string()));
}
