//! Real authorities over one database, and an operator whose machines and keys are software.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use signet_authority::caller::over_connection;
use signet_authority::config::Config;
use signet_authority::keys::{Urgency, rotate};
use signet_authority::router;
use signet_authority::state::{Authority, system_clock};
use signet_authority::store::{AuditEntry, Decision, Event as AuditEvent, RevocationTarget};
use signet_authority::tls::PeerCertificate;
use signet_evidence::action::content_digest;
use signet_evidence::{
    Action, ActionDetails, ActionKind, Purpose, RejectionCode, SessionId, Statement, UnixTime,
};
use tempfile::TempDir;
use tower::ServiceExt;

use crate::desk::{Desk, SecurityKey};
use crate::event::{Event, Target};
use crate::house;
use crate::reference::{Outcome, PRESENCE, SESSION};

/// How many operators are in the policy's groups.
pub(crate) const OPERATORS: usize = 2000;

pub(crate) struct Stage {
    _folder: TempDir,
    config: Config,
    now: Arc<AtomicI64>,
    pub(crate) nodes: Vec<Arc<Authority>>,
    gateway: PeerCertificate,
    operators: usize,
}

/// One operator's life.
pub(crate) struct Life {
    pub(crate) operator: String,
    pub(crate) desks: [Desk; 2],
    pub(crate) keys: [SecurityKey; 2],
    node: usize,
    pub(crate) sessions: Vec<SessionId>,
    tokens: Vec<MintedToken>,
}

struct MintedToken {
    encoded: String,
    id: [u8; 16],
    peer: String,
}

impl Stage {
    /// So many nodes over this database of PostgreSQL, or over a file.
    pub(crate) async fn set(nodes: usize, database: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = house::configuration(folder.path(), database).await;
        let file = folder.path().join("authority.toml");
        let settings = std::fs::read_to_string(&file).unwrap();
        let settings = settings
            .replace("\npresence = \"4h\"", &format!("\npresence = \"{PRESENCE}s\""))
            .replace("\nsession = \"10h\"", &format!("\nsession = \"{SESSION}s\""));
        std::fs::write(&file, settings).unwrap();
        std::fs::write(folder.path().join("policies/entities.json"), entities()).unwrap();
        drop(config);
        let config = Config::load(&file).unwrap();
        let now = Arc::new(AtomicI64::new(system_clock()().0));
        let mut stage = Self {
            _folder: folder,
            config,
            now,
            nodes: Vec::new(),
            gateway: PeerCertificate::new(Vec::new().into()),
            operators: 0,
        };
        for _ in 0..nodes {
            stage.nodes.push(stage.node().await);
        }
        let authority = &stage.nodes[0];
        let id = "spiffe://mesh.example/gateway/edge";
        let life = Duration::from_secs(86400);
        let issued = authority
            .keys
            .gateway_ca
            .issuer(authority.now())
            .issue_gateway(id, authority.now(), life)
            .unwrap();
        stage.gateway = PeerCertificate::new(issued.certificate);
        stage
    }

    async fn node(&self) -> Arc<Authority> {
        let now = self.now.clone();
        let clock = Arc::new(move || UnixTime(now.load(Ordering::SeqCst)));
        Authority::start(self.config.clone(), clock).await.unwrap()
    }

    /// An operator whom nobody knows yet.
    pub(crate) async fn life(&mut self) -> Life {
        let operator = format!("operator-{}", self.operators);
        self.operators += 1;
        assert!(self.operators <= OPERATORS);
        let authority = &self.nodes[0];
        let first = Desk::enrolled(authority, &operator).await;
        let second = Desk::enrolled(authority, &operator).await;
        let key = SecurityKey::enrolled(authority, &first, &operator, None).await;
        let other = SecurityKey::enrolled(authority, &first, &operator, Some(&key)).await;
        let (desks, keys) = ([first, second], [key, other]);
        Life { operator, desks, keys, node: 0, sessions: Vec::new(), tokens: Vec::new() }
    }

    /// What really comes of an event.
    pub(crate) async fn apply(&mut self, life: &mut Life, event: &Event) -> Outcome {
        match *event {
            Event::Touch { desk, key, wide } => {
                let asked = Asked { purpose: Purpose::Session, session: None, wide, further: "" };
                return self.token(life, desk, Some(key), &asked).await;
            }
            Event::TouchAgain { desk, key, session, wide } => {
                let asked =
                    Asked { purpose: Purpose::Session, session: Some(session), wide, further: "" };
                return self.token(life, desk, Some(key), &asked).await;
            }
            Event::Renew { desk, session, wide } => {
                let asked =
                    Asked { purpose: Purpose::Renew, session: Some(session), wide, further: "" };
                return self.token(life, desk, None, &asked).await;
            }
            Event::Action { desk, key } => {
                let asked =
                    Asked { purpose: Purpose::Action, session: None, wide: false, further: "" };
                return self.token(life, desk, Some(key), &asked).await;
            }
            Event::Look { token } => return self.introspect(life, token, false).await,
            Event::Spend { token } => return self.introspect(life, token, true).await,
            Event::Wait { seconds } => {
                self.now.fetch_add(seconds, Ordering::SeqCst);
            }
            Event::Reboot { desk } => life.desks[desk].reboot(),
            Event::Certify { desk } => life.desks[desk].renew_certificates(&self.nodes[0]),
            Event::Revoke(target) => self.revoke(life, target).await,
            Event::Rotate => self.rotate(Urgency::Scheduled),
            Event::RotateInEmergency => self.rotate(Urgency::Emergency),
            Event::Node { node } => life.node = node % self.nodes.len(),
            Event::Restart { node } => {
                let node = node % self.nodes.len();
                self.nodes[node] = self.node().await;
            }
        }
        Outcome::Done
    }

    /// Asks for a challenge, answers it, and takes the token.
    async fn token(
        &self,
        life: &mut Life,
        desk: usize,
        key: Option<usize>,
        asked: &Asked<'_>,
    ) -> Outcome {
        let peer = life.desks[desk].peer().thumbprint().to_hex();
        match self.exchange(life, desk, key, asked).await {
            Err(code) => Outcome::Refused(code),
            Ok(answer) => {
                let encoded = answer["access_token"].as_str().unwrap().to_owned();
                let claims = house::tokens::claims(&encoded);
                if asked.session.is_none() {
                    life.sessions.push(SessionId::from_hex(&claims.sid).unwrap());
                }
                let id = SessionId::from_hex(&claims.jti).unwrap().0;
                life.tokens.push(MintedToken { encoded, id, peer });
                Outcome::Token { life: answer["expires_in"].as_i64().unwrap() }
            }
        }
    }

    /// The same; what is answered.
    pub(crate) async fn exchange(
        &self,
        life: &mut Life,
        desk: usize,
        key: Option<usize>,
        asked: &Asked<'_>,
    ) -> Result<Value, RejectionCode> {
        let challenge = self.challenge(life, desk, asked).await?;
        let peer = life.desks[desk].peer();
        self.answer(life, desk, key, asked, &challenge, &peer).await
    }

    pub(crate) async fn challenge(
        &self,
        life: &Life,
        desk: usize,
        asked: &Asked<'_>,
    ) -> Result<Vec<u8>, RejectionCode> {
        let mut body = json!({ "purpose": asked.purpose.as_str() });
        if asked.purpose != Purpose::Workload {
            body["subject"] = life.operator.clone().into();
        }
        if let Some(scope) = asked.scope() {
            body["scope"] = scope.into();
        }
        if let Some(session) = asked.session {
            body["session"] = life.sessions[session].to_string().into();
        }
        if asked.purpose == Purpose::Action {
            body["action"] = URL_SAFE_NO_PAD.encode(action().as_bytes()).into();
        }
        let request = Request::post("/v1/challenge").header("content-type", "application/json");
        let request = request.body(Body::from(body.to_string())).unwrap();
        let clients = router::clients(self.nodes[life.node].clone());
        let answer = send(clients, over_connection(request, life.desks[desk].peer())).await?;
        Ok(URL_SAFE_NO_PAD.decode(answer["challenge"].as_str().unwrap()).unwrap())
    }

    /// Hands in evidence over a connection with the certificate `peer`.
    pub(crate) async fn answer(
        &self,
        life: &mut Life,
        desk: usize,
        key: Option<usize>,
        asked: &Asked<'_>,
        challenge: &[u8],
        peer: &PeerCertificate,
    ) -> Result<Value, RejectionCode> {
        let authority = &self.nodes[life.node];
        let statement = Statement {
            challenge: challenge.to_vec(),
            audience: authority.appraisal.audience.clone(),
            issued_at: authority.now(),
            confirmation: life.desks[desk].key_thumbprint(),
            device: life.desks[desk].id.clone(),
            subject: (asked.purpose != Purpose::Workload).then(|| life.operator.clone()),
            scope: asked.scope().map(str::to_owned),
            purpose: asked.purpose,
            acr: None,
            action: (asked.purpose == Purpose::Action).then(action),
            session: asked.session.map(|number| life.sessions[number]),
            host_facts: None,
        };
        let certified = matches!(asked.purpose, Purpose::Session | Purpose::Workload);
        let key = key.map(|key| &life.keys[key]);
        let evidence = life.desks[desk].evidence(authority, &statement, key, certified);
        let form = format!(
            "grant_type=urn:ietf:params:oauth:grant-type:token-exchange\
             &subject_token_type=urn:signet:token-type:evidence&subject_token={}{}",
            URL_SAFE_NO_PAD.encode(evidence),
            asked.further
        );
        let clients = router::clients(authority.clone());
        send(clients, over_connection(form_request("/v1/token", form), peer.clone())).await
    }

    /// What a gateway hears of a token over the connection that it is bound to.
    async fn introspect(&self, life: &Life, token: usize, redeem: bool) -> Outcome {
        let authority = &self.nodes[life.node];
        // What a serving node does by itself within 20 ms. A mint does not wait for it.
        authority.revocations.refresh(authority.store.as_ref()).await.unwrap();
        let MintedToken { encoded, peer, .. } = &life.tokens[token];
        Outcome::Good(self.is_good(authority, encoded, peer, redeem).await)
    }

    /// Whether a gateway may take the token over a connection with this certificate.
    pub(crate) async fn is_good(
        &self,
        authority: &Arc<Authority>,
        encoded: &str,
        peer: &str,
        redeem: bool,
    ) -> bool {
        let form = format!("token={encoded}&peer_sha256={peer}&redeem={redeem}");
        let request = over_connection(form_request("/v1/introspect", form), self.gateway.clone());
        let answer = send(router::gateways(authority.clone()), request).await.unwrap();
        answer["active"].as_bool().unwrap()
    }

    async fn revoke(&self, life: &Life, target: Target) {
        let authority = &self.nodes[life.node];
        let target = match target {
            Target::Token(token) => RevocationTarget::Token(life.tokens[token].id),
            Target::Session(session) => RevocationTarget::Session(life.sessions[session]),
            Target::Key(key) => RevocationTarget::Credential(life.keys[key].id.clone()),
            Target::Desk(desk) => RevocationTarget::Device(life.desks[desk].id.clone()),
            Target::Operator => RevocationTarget::Operator(life.operator.clone()),
            Target::Everything => RevocationTarget::Everything,
        };
        let entry = AuditEntry::new(authority.now(), AuditEvent::Revoke, Decision::Allowed);
        authority.revoke(&target, entry).await.unwrap();
    }

    fn rotate(&self, urgency: Urgency) {
        let directory = self.config.keys();
        let now = UnixTime(self.now.load(Ordering::SeqCst));
        if rotate(&directory, now, urgency).unwrap().is_some() {
            for node in &self.nodes {
                assert!(node.keys.token.reload(&directory).unwrap());
            }
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) purpose: Purpose,
    pub(crate) session: Option<usize>,
    pub(crate) wide: bool,
    /// Further parameters of the exchange.
    pub(crate) further: &'a str,
}

impl Asked<'_> {
    /// An action's token is for that action.
    fn scope(&self) -> Option<&'static str> {
        match self.purpose {
            Purpose::Action | Purpose::Workload => None,
            _ if self.wide => Some("read write"),
            _ => Some("read"),
        }
    }
}

fn form_request(path: &str, form: String) -> Request {
    Request::post(path)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(form))
        .unwrap()
}

/// The answer, or the exact code of the refusal.
pub(crate) async fn send(router: axum::Router, request: Request) -> Result<Value, RejectionCode> {
    let response = router.oneshot(request).await.unwrap();
    let fine = response.status().is_success();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let answer: Value = serde_json::from_slice(&body).unwrap();
    if fine {
        return Ok(answer);
    }
    let code = answer["code"].as_str().unwrap();
    let known = RejectionCode::ALL.iter().find(|known| known.as_str() == code);
    Err(*known.unwrap_or_else(|| panic!("{answer}")))
}

/// A production route of the example policy.
fn action() -> Action {
    Action::new(ActionDetails {
        kind: ActionKind::SignetAction,
        actions: vec!["mesh.route.update".into()],
        locations: vec!["https://ctl.mesh.example".into()],
        method: "PUT".into(),
        path: "/v1/namespaces/payments/routes/api".into(),
        content_digest: content_digest(b"{}"),
    })
    .unwrap()
}

/// The entities of the example policy, with the operators of this test.
fn entities() -> String {
    let (_, text) = signet_authority::policy::EXAMPLE
        .iter()
        .find(|(name, _)| *name == "entities.json")
        .unwrap();
    let mut entities: Vec<Value> = serde_json::from_str(text).unwrap();
    entities.extend((0..OPERATORS).map(|number| {
        json!({
            "uid": { "type": "Operator", "id": format!("operator-{number}") },
            "attrs": {},
            "parents": [{ "type": "Group", "id": "mesh-operators" }],
        })
    }));
    serde_json::to_string(&entities).unwrap()
}
