//! One table of hostile requests for every gateway. Each says what must come of it; whatever comes,
//! what reaches the upstream has a permit that says the same as the upstream sees.

use std::time::{Duration, Instant};

use signet_authority::store::RevocationTarget;
use signet_tests::raw_h2::{self, H2Request};
use signet_tests::raw_https::{RawAnswer, RawClient};
use signet_verifier::token::TokenClaims;

use crate::stage::{Machine, Stage, approval, request};

/// Bob may write here with presence of 15 minutes.
const STAGING: &str = "/v1/namespaces/sandbox/routes/web";
/// Here only with an approval of the very request.
const PRODUCTION: &str = "/v1/namespaces/payments/routes/api";
/// An approved request without a body.
const CERTIFICATE: &str = "/v1/namespaces/payments/certificates/01ab";
const BODY: &str = "{\"weight\": 10}";
const OTHER_BODY: &str = "{\"weight\": 99}";

/// Far above what any gateway waits before it connects again.
const PATIENCE: Duration = Duration::from_secs(30);

/// What must come of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Must {
    /// It reaches the upstream.
    Pass,
    /// Nothing reaches the upstream.
    BeRefused,
    /// Where the gateway asks the authority nothing reaches the upstream.
    BeRefusedWhenAsked,
    /// Whether it passes or not, the upstream is told nothing but the truth.
    NotMislead,
    /// It passes where the authority sees bodies, and is refused elsewhere.
    PassWithBodies,
    /// It passes where the authority knows that there is no body, and is refused elsewhere.
    PassWithoutBody,
    /// The client hears RFC 9470's challenge.
    StepUp,
}

/// What came back.
#[derive(Debug)]
pub(crate) enum Heard {
    /// No answer: the connection was refused or cut.
    Nothing,
    /// An answer over HTTP/1.1.
    Answer(RawAnswer),
    /// A status over HTTP/2; 0 for one that is not in the static table.
    H2(u16),
}

impl Heard {
    pub(crate) fn passed(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Answer(answer) => answer.status == 200,
            Self::H2(status) => *status == 200,
        }
    }
}

/// One row of the table.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) must: Must,
    pub(crate) send: fn(&Scene) -> Heard,
}

/// Who is there.
pub(crate) struct Scene {
    pub(crate) stage: Stage,
    pub(crate) bob: Machine,
    pub(crate) mallory: Machine,
}

impl Scene {
    pub(crate) fn set(stage: Stage) -> Self {
        let (bob, mallory) = (stage.enrol("bob"), stage.enrol("mallory"));
        let scene = Self { stage, bob, mallory };
        scene.wait();
        scene
    }

    /// Waits until Bob's ordinary request passes.
    pub(crate) fn wait(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let heard = self.bob(&[]);
            if heard.passed() {
                return;
            }
            assert!(Instant::now() < deadline, "{heard:?}\n{}", self.stage.gateway.log());
        }
    }

    /// A good token of Bob's, as a header.
    pub(crate) fn token(&self) -> String {
        bearer(&self.stage.session_token(&self.bob, 60).token)
    }

    fn raw(&self, client: &RawClient, bytes: &[u8]) -> Heard {
        match client.send(self.stage.gateway.address(), bytes) {
            Ok(answer) => Heard::Answer(answer),
            Err(_) => Heard::Nothing,
        }
    }

    fn send(&self, machine: &Machine, line: &str, headers: &[&str], body: &str) -> Heard {
        self.raw(&self.stage.client(machine), &request(line, headers, body))
    }

    /// Bob's ordinary request with his token and these headers.
    pub(crate) fn bob(&self, headers: &[&str]) -> Heard {
        let token = self.token();
        let headers: Vec<&str> = [&[token.as_str()], headers].concat();
        self.send(&self.bob, &format!("PUT {STAGING}"), &headers, BODY)
    }

    /// Mallory's, with Bob's token.
    fn mallory(&self, headers: &[&str]) -> Heard {
        let token = self.token();
        let headers: Vec<&str> = [&[token.as_str()], headers].concat();
        self.send(&self.mallory, &format!("PUT {STAGING}"), &headers, BODY)
    }

    /// Mallory's, with Bob's token and his certificate under this name.
    fn forged(&self, name: &str, value: fn(&Machine) -> String) -> Heard {
        self.mallory(&[&format!("{name}: {}", value(&self.bob))])
    }

    pub(crate) fn with_token(&self, token: &str) -> Heard {
        self.send(&self.bob, &format!("PUT {STAGING}"), &[&bearer(token)], BODY)
    }

    /// A token of which something is otherwise, signed by the authority's own key.
    fn claiming(&self, change: fn(&mut TokenClaims)) -> Heard {
        self.with_token(&self.stage.forged_token(&self.bob, change))
    }

    /// Bob's token for another target.
    fn at(&self, target: &str) -> Heard {
        self.send(&self.bob, &format!("PUT {target}"), &[&self.token()], BODY)
    }

    /// A token for Bob's PUT of [`BODY`] to [`PRODUCTION`], as a header.
    fn approved(&self) -> String {
        let details = approval("mesh.route.update", "PUT", PRODUCTION, BODY);
        bearer(&self.stage.action_token(&self.bob, details).token)
    }

    /// A token for Bob's bodiless DELETE, as a header.
    fn approved_delete(&self) -> String {
        let details = approval("mesh.cert.revoke", "DELETE", CERTIFICATE, "");
        bearer(&self.stage.action_token(&self.bob, details).token)
    }

    fn with_approval(&self, line: &str, headers: &[&str], body: &str) -> Heard {
        let token = self.approved();
        let headers: Vec<&str> = [&[token.as_str()], headers].concat();
        self.send(&self.bob, line, &headers, body)
    }

    /// Bytes after the head of Bob's request, that has these headers and this token.
    fn bytes(&self, line: &str, token: &str, headers: &[&str], rest: &str) -> Heard {
        let headers: Vec<&str> = [&[token], headers].concat();
        let mut bytes = request(line, &headers, "");
        bytes.extend_from_slice(rest.as_bytes());
        self.raw(&self.stage.client(&self.bob), &bytes)
    }

    fn h2(&self, fields: &[(&str, &str)], data: &[&str], trailers: &[(&str, &str)]) -> Heard {
        let token = self.token();
        let token = token.split_once(": ").unwrap().1;
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (*name, if *value == "TOKEN" { token } else { *value }))
            .collect();
        let request = H2Request { fields: &fields, data, trailers };
        let client = self.stage.client(&self.bob);
        match raw_h2::send(&client, self.stage.gateway.address(), &request) {
            Ok(Some(status)) => Heard::H2(status),
            Ok(None) | Err(_) => Heard::Nothing,
        }
    }

    /// Bob's request over HTTP/2 with these fields too.
    fn h2_more(&self, more: &[(&str, &str)]) -> Heard {
        self.h2(&[&H2_GET[..], more].concat(), &[], &[])
    }
}

const H2_GET: [(&str, &str); 5] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "localhost"),
    (":path", STAGING),
    ("authorization", "TOKEN"),
];

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}")
}

fn hex(machine: &Machine) -> String {
    machine.thumbprint.to_hex()
}

fn escaped_pem(machine: &Machine) -> String {
    machine.certificate.replace(' ', "%20").replace('\n', "%0A").replace('+', "%2B")
}

fn base64_der(machine: &Machine) -> String {
    machine.certificate.lines().filter(|line| !line.starts_with('-')).collect()
}

/// The body in chunks of five bytes and the rest, and these trailers.
fn chunks(body: &str, trailers: &str) -> String {
    let (first, second) = body.split_at(5);
    format!("5\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n{trailers}\r\n", second.len())
}

const CHUNKED: &str = "transfer-encoding: chunked";
const PUT: &str = "PUT /v1/namespaces/payments/routes/api";

macro_rules! cases {
    ($($name:literal, $must:ident, $send:expr;)*) => {
        &[$(Case { name: $name, must: Must::$must, send: $send }),*]
    };
}

/// Who may ask at all.
const TOKENS: &[Case] = cases![
    "the owner's own request", Pass, |s| s.bob(&[]);
    "no token", BeRefused, |s| s.send(&s.bob, &format!("PUT {STAGING}"), &[], BODY);
    "another machine with the same token", BeRefused, |s| s.mallory(&[]);
    "no client certificate", BeRefused,
        |s| s.raw(&s.stage.nobody(), &request(&format!("PUT {STAGING}"), &[&s.token()], BODY));
    "a certificate with the owner's name from another CA", BeRefused, |s| {
        let client = s.stage.forger(&format!("spiffe://mesh.example/device/{}", s.bob.id));
        s.raw(&client, &request(&format!("PUT {STAGING}"), &[&s.token()], BODY))
    };
    "a gateway's certificate", BeRefused,
        |s| s.raw(&s.stage.other_gateway(), &request(&format!("PUT {STAGING}"), &[&s.token()], BODY));
    "a certificate whose name holds another's hash", BeRefused, |s| {
        let name = format!("spiffe://mesh.example/device/x;Hash={}", hex(&s.bob));
        s.raw(&s.stage.issued(&name), &request(&format!("PUT {STAGING}"), &[&s.token()], BODY))
    };
    "a token whose signature is cut", BeRefused, |s| {
        let token = s.token();
        s.send(&s.bob, &format!("PUT {STAGING}"), &[&token[..token.len() - 4]], BODY)
    };
    "a token that is not signed", BeRefused, |s| {
        let token = s.stage.session_token(&s.bob, 60).token;
        let payload = token.split('.').nth(1).unwrap();
        s.with_token(&format!("eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.{payload}."))
    };
    "a token for another audience", BeRefused, |s| s.claiming(|c| c.aud = "other.example".into());
    "a token of another issuer", BeRefused,
        |s| s.claiming(|c| c.iss = "https://other.example".into());
    "a token that has run out", BeRefused, |s| s.claiming(|c| {
        c.iat -= 400;
        c.nbf -= 400;
        c.exp -= 400;
    });
    "a token that does not hold yet", BeRefused, |s| s.claiming(|c| {
        c.iat += 200;
        c.nbf += 200;
        c.exp += 200;
    });
    "a token that the authority never gave", BeRefusedWhenAsked, |s| s.claiming(|_| {});
    "a token in the query", BeRefused, |s| {
        let token = s.stage.session_token(&s.bob, 60).token;
        s.send(&s.bob, &format!("PUT {STAGING}?access_token={token}"), &[], BODY)
    };
    "a token in a form", BeRefused, |s| {
        let token = s.stage.session_token(&s.bob, 60).token;
        let form = ["content-type: application/x-www-form-urlencoded"];
        s.send(&s.bob, &format!("POST {STAGING}"), &form, &format!("access_token={token}"))
    };
    "a token under another scheme", BeRefused, |s| {
        let token = s.token().replace("Bearer", "Basic");
        s.send(&s.bob, &format!("PUT {STAGING}"), &[&token], BODY)
    };
    "a second authorization after the good one", NotMislead, |s| s.bob(&["authorization: Bearer x"]);
    "a second authorization before the good one", NotMislead, |s| {
        let token = s.token();
        s.send(&s.bob, &format!("PUT {STAGING}"), &["authorization: Bearer x", &token], BODY)
    };
    "two tokens in one authorization", BeRefused, |s| {
        let token = format!("{}, Bearer x", s.token());
        s.send(&s.bob, &format!("PUT {STAGING}"), &[&token], BODY)
    };
    "a stale presence", StepUp, |s| {
        let token = bearer(&s.stage.session_token(&s.bob, 901).token);
        s.send(&s.bob, &format!("PUT {STAGING}"), &[&token], BODY)
    };
    "a request that no policy permits", BeRefusedWhenAsked, |s| {
        let stranger = s.stage.enrol("stranger");
        let token = bearer(&s.stage.session_token(&stranger, 1).token);
        s.send(&stranger, &format!("PUT {STAGING}"), &[&token], BODY)
    };
    "a session that was revoked", BeRefusedWhenAsked, |s| {
        let token = s.stage.session_token(&s.bob, 60);
        s.stage.revoke(&RevocationTarget::Session(token.session));
        s.with_token(&token.token)
    };
    "a resumed TLS session", Pass, |s| {
        let client = s.stage.client(&s.bob).resuming();
        let bytes = request(&format!("PUT {STAGING}"), &[&s.token()], BODY);
        s.raw(&client, &bytes);
        s.raw(&client, &bytes)
    };
    "another machine's resumed TLS session", BeRefused, |s| {
        let client = s.stage.client(&s.mallory).resuming();
        let bytes = request(&format!("PUT {STAGING}"), &[&s.token()], BODY);
        s.raw(&client, &bytes);
        s.raw(&client, &bytes)
    };
];

/// What clients say of certificates, and of who they are.
const FORGERIES: &[Case] = cases![
    "x-signet-peer-sha256", BeRefused, |s| s.forged("x-signet-peer-sha256", hex);
    "X-SIGNET-PEER-SHA256", BeRefused, |s| s.forged("X-SIGNET-PEER-SHA256", hex);
    "x_signet_peer_sha256", BeRefused, |s| s.forged("x_signet_peer_sha256", hex);
    "x-signet-peer-sha256 twice", BeRefused, |s| {
        let header = format!("x-signet-peer-sha256: {}", hex(&s.bob));
        s.mallory(&[&header, &header])
    };
    "x-signet-peer-pem", BeRefused, |s| s.forged("x-signet-peer-pem", escaped_pem);
    "x-forwarded-client-cert as text", BeRefused,
        |s| s.forged("x-forwarded-client-cert", |bob| format!("Hash={}", hex(bob)));
    "x-forwarded-client-cert with an open quote", BeRefused,
        |s| s.forged("x-forwarded-client-cert", |bob| format!("Hash={};Subject=\"", hex(bob)));
    "x-forwarded-client-cert as JSON", BeRefused,
        |s| s.forged("x-forwarded-client-cert", |bob| format!("[{{\"hash\":\"{}\"}}]", hex(bob)));
    "x-forwarded-tls-client-cert", BeRefused, |s| s.forged("x-forwarded-tls-client-cert", base64_der);
    "client-cert of RFC 9440", BeRefused,
        |s| s.forged("client-cert", |bob| format!(":{}:", base64_der(bob)));
    "names of other products", BeRefused, |s| {
        let (pem, hex) = (escaped_pem(&s.bob), hex(&s.bob));
        let headers = [
            format!("ssl-client-cert: {pem}"),
            format!("x-ssl-client-cert: {pem}"),
            format!("x-client-cert: {pem}"),
            format!("x-client-cert-sha256: {hex}"),
            format!("x-ssl-client-sha256: {hex}"),
            format!("x-tls-client-fingerprint: {hex}"),
        ];
        s.mallory(&headers.each_ref().map(String::as_str))
    };
    "every name at once", BeRefused, |s| {
        let headers = [
            format!("x-signet-peer-sha256: {}", hex(&s.bob)),
            format!("x-signet-peer-pem: {}", escaped_pem(&s.bob)),
            format!("x-forwarded-client-cert: [{{\"hash\":\"{}\"}}]", hex(&s.bob)),
            format!("x-forwarded-tls-client-cert: {}", base64_der(&s.bob)),
        ];
        s.mallory(&headers.each_ref().map(String::as_str))
    };
    "connection drops the gateway's own header", BeRefused, |s| s.mallory(&[
        &format!("x-signet-peer-sha256: {}", hex(&s.bob)),
        "connection: x-signet-peer-sha256, x-signet-peer-pem, x-forwarded-client-cert, \
         x-forwarded-tls-client-cert",
    ]);
    "the owner's connection drops the gateway's own header", NotMislead, |s| s.bob(&[
        "connection: x-signet-peer-sha256, x-signet-peer-pem, x-forwarded-client-cert, \
         x-forwarded-tls-client-cert, x-signet-body",
    ]);
    "connection drops the token", NotMislead, |s| s.bob(&["connection: authorization"]);
    "connection drops what the upstream is told", NotMislead, |s| s.bob(&[
        "x-signet-subject: root",
        "connection: x-signet-subject, x-signet-acr, x-signet-device",
    ]);
    "a forged subject", Pass, |s| s.bob(&["x-signet-subject: root", "X-Signet-Subject: admin"]);
    "a forged subject with underscores", NotMislead, |s| s.bob(&["x_signet_subject: root"]);
    "a forged subject with one underscore", NotMislead, |s| s.bob(&["x-signet_subject: root"]);
    "a forged decision, action and level", Pass, |s| s.bob(&[
        "x-signet-acr: signet.uv-hw",
        "x-signet-action: mesh.mtls.update",
        "x-signet-decision: 0",
        "x-signet-device: spiffe://mesh.example/device/0",
        "x-signet-session: 0",
    ]);
    "a forged address", Pass,
        |s| s.bob(&["x-signet-source: 10.9.9.9", "x-forwarded-for: 10.9.9.9", "forwarded: for=10.9.9.9"]);
    "another method in a header", Pass, |s| s.bob(&[
        "x-http-method-override: DELETE",
        "x-http-method: DELETE",
        "x-method-override: DELETE",
    ]);
    "another path in a header", Pass, |s| s.bob(&[
        "x-original-url: /v1/namespaces/payments/mtls",
        "x-rewrite-url: /v1/namespaces/payments/mtls",
        "x-original-uri: /v1/namespaces/payments/mtls",
    ]);
    "what the authority would be told, by the client", BeRefusedWhenAsked, |s| {
        let told = [
            &bearer(&s.stage.session_token(&s.bob, 901).token),
            "x-forwarded-method: GET",
            "x-forwarded-uri: /v1/namespaces/sandbox/routes/web",
            "x-forwarded-host: localhost",
            "x-original-method: GET",
        ];
        s.send(&s.bob, &format!("PUT {PRODUCTION}"), &told, BODY)
    };
    "the authority's own path", NotMislead, |s| s.at("/v1/authorize/v1/namespaces/sandbox/routes/web");
    "the gateway's inner path", NotMislead, |s| s.at("/_signet");
];

/// Targets that could be read in two ways.
const TARGETS: &[Case] = cases![
    "encoded dot segments", NotMislead,
        |s| s.at("/dashboards/mesh/%2e%2e/%2e%2e/v1/namespaces/payments/mtls");
    "encoded dot segments, upper case", NotMislead,
        |s| s.at("/dashboards/mesh/%2E%2E/%2E./v1/namespaces/payments/mtls");
    "dot segments", NotMislead, |s| s.at("/dashboards/mesh/../../v1/namespaces/payments/mtls");
    "a dot segment that changes nothing", NotMislead, |s| s.at("/v1/./namespaces/sandbox/routes/web");
    "a dot segment at the end", NotMislead, |s| s.at("/v1/namespaces/sandbox/routes/web/..");
    "dot segments past the root", NotMislead, |s| s.at("/../../v1/namespaces/sandbox/routes/web");
    "an encoded slash", NotMislead, |s| s.at("/v1/namespaces/sandbox/routes/web%2f..%2fapi");
    "an encoded backslash", NotMislead, |s| s.at("/v1/namespaces/sandbox/routes/web%5c..%5capi");
    "a backslash", NotMislead, |s| s.at("/v1/namespaces/sandbox/routes/web\\..\\api");
    "an encoded encoding", NotMislead, |s| s.at("/v1/namespaces/sandbox/%252e%252e/routes/web");
    "two slashes at the start", NotMislead, |s| s.at("//v1/namespaces/sandbox/routes/web");
    "two slashes inside", NotMislead, |s| s.at("/v1/namespaces/sandbox//routes/web");
    "a parameter", NotMislead, |s| s.at("/v1/namespaces/sandbox/routes/web;x=1");
    "an encoded letter", NotMislead, |s| s.at("/v1/namespaces/p%61yments/routes/api");
    "an encoded NUL", NotMislead, |s| s.at("/v1/namespaces/sandbox/routes/web%00");
    "an encoded line end", NotMislead,
        |s| s.at("/v1/namespaces/sandbox/routes/web%0d%0ax-signet-subject:%20root");
    "an overlong slash", NotMislead, |s| s.at("/v1/namespaces/sandbox/routes/web%c0%af..");
    "a broken encoding", NotMislead, |s| s.at("/v1/namespaces/sandbox/routes/web%zz");
    "a fragment", NotMislead, |s| s.at("/v1/namespaces/sandbox/routes/web#/../api");
    "letters beyond ASCII", NotMislead, |s| s.at("/v1/namespaces/sandbox/routes/w\u{e9}b");
    "a whole URL", NotMislead, |s| s.at("https://localhost/v1/namespaces/sandbox/routes/web");
    "a whole URL of another host", NotMislead,
        |s| s.at("https://other.example/v1/namespaces/sandbox/routes/web");
    "no target but a star", NotMislead,
        |s| s.send(&s.bob, "OPTIONS *", &[&s.token()], "");
    "a CONNECT", NotMislead, |s| s.send(&s.bob, "CONNECT localhost:443", &[&s.token()], "");
    "a TRACE", NotMislead, |s| s.send(&s.bob, &format!("TRACE {STAGING}"), &[&s.token()], "");
    "a method in lower case", NotMislead,
        |s| s.send(&s.bob, &format!("put {STAGING}"), &[&s.token()], BODY);
    "a method that nobody knows", NotMislead,
        |s| s.send(&s.bob, &format!("FROBNICATE {STAGING}"), &[&s.token()], BODY);
    "a second host", NotMislead, |s| s.bob(&["host: other.example"]);
    "a host with a user", NotMislead, |s| {
        let text = format!("GET {STAGING} HTTP/1.1\r\nhost: localhost@other.example\r\n");
        let text = format!("{text}connection: close\r\n{}\r\n\r\n", s.token());
        s.raw(&s.stage.client(&s.bob), text.as_bytes())
    };
    "no host", NotMislead, |s| {
        let text = format!("GET {STAGING} HTTP/1.1\r\nconnection: close\r\n{}\r\n\r\n", s.token());
        s.raw(&s.stage.client(&s.bob), text.as_bytes())
    };
    "HTTP/1.0 without a host", NotMislead, |s| {
        let text = format!("GET {STAGING} HTTP/1.0\r\n{}\r\n\r\n", s.token());
        s.raw(&s.stage.client(&s.bob), text.as_bytes())
    };
];

/// Approvals of one request, and bodies.
const BODIES: &[Case] = cases![
    "an approved request", PassWithBodies, |s| s.with_approval(PUT, &[], BODY);
    "an approved request twice", BeRefused, |s| {
        let token = s.approved();
        let before = s.stage.upstream.received().len();
        s.send(&s.bob, PUT, &[&token], BODY);
        // What passed the first time is not what this row is about.
        s.stage.upstream.forget_after(before);
        s.send(&s.bob, PUT, &[&token], BODY)
    };
    "another body than the approved", BeRefused, |s| s.with_approval(PUT, &[], OTHER_BODY);
    "no body instead of the approved", BeRefused, |s| s.with_approval(PUT, &[], "");
    "more than the approved body", BeRefused, |s| s.with_approval(PUT, &[], &format!("{BODY} "));
    "another query than the approved", BeRefused,
        |s| s.with_approval(&format!("{PUT}?force=1"), &[], BODY);
    "another path than the approved", BeRefused,
        |s| s.with_approval(&format!("PUT {STAGING}"), &[], BODY);
    "another method than the approved", BeRefused,
        |s| s.with_approval(&format!("POST {PRODUCTION}"), &[], BODY);
    "an approval for another host", BeRefused, |s| {
        let mut details = approval("mesh.route.update", "PUT", PRODUCTION, BODY);
        details.locations = vec!["https://other.example".into()];
        let token = bearer(&s.stage.action_token(&s.bob, details).token);
        s.send(&s.bob, PUT, &[&token], BODY)
    };
    "an approval for another port", BeRefused, |s| {
        let mut details = approval("mesh.route.update", "PUT", PRODUCTION, BODY);
        details.locations = vec!["https://localhost:8444".into()];
        let token = bearer(&s.stage.action_token(&s.bob, details).token);
        s.send(&s.bob, PUT, &[&token], BODY)
    };
    "an approval in another machine's hands", BeRefused,
        |s| s.send(&s.mallory, PUT, &[&s.approved()], BODY);
    "the client vouches for another body", BeRefused,
        |s| s.with_approval(PUT, &["x-signet-body: whole"], OTHER_BODY);
    "the client says that its body is not partial", BeRefused,
        |s| s.with_approval(PUT, &["x-envoy-auth-partial-body: false"], OTHER_BODY);
    "an approved body in chunks", NotMislead,
        |s| s.bytes(PUT, &s.approved(), &[CHUNKED], &chunks(BODY, ""));
    "another body in chunks", BeRefused,
        |s| s.bytes(PUT, &s.approved(), &[CHUNKED], &chunks(OTHER_BODY, ""));
    "trailers that forge", NotMislead, |s| {
        let trailers = "x-signet-subject: root\r\nauthorization: Bearer x\r\n";
        s.bytes(PUT, &s.approved(), &[CHUNKED, "trailer: x-signet-subject"], &chunks(BODY, trailers))
    };
    "a length and chunks", NotMislead, |s| {
        let headers = [CHUNKED, "content-length: 4"];
        s.bytes(PUT, &s.approved(), &headers, &chunks(OTHER_BODY, ""))
    };
    "two lengths", NotMislead, |s| {
        let headers = ["content-length: 14", "content-length: 4"];
        s.bytes(PUT, &s.approved(), &headers, BODY)
    };
    "chunks under a strange name", NotMislead,
        |s| s.bytes(PUT, &s.approved(), &["transfer-encoding: xchunked"], &chunks(OTHER_BODY, ""));
    "a second request hidden behind the body", NotMislead, |s| {
        let hidden = format!("{BODY}DELETE {PRODUCTION} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        s.bytes(PUT, &s.approved(), &["content-length: 14"], &hidden)
    };
    "a body that is announced and changed", BeRefused,
        |s| s.with_approval(PUT, &["expect: 100-continue"], OTHER_BODY);
    "an approved request without a body", PassWithoutBody,
        |s| s.send(&s.bob, &format!("DELETE {CERTIFICATE}"), &[&s.approved_delete()], "");
    "a body where none was approved", BeRefused,
        |s| s.send(&s.bob, &format!("DELETE {CERTIFICATE}"), &[&s.approved_delete()], BODY);
    "chunks where no body was approved", BeRefused, |s| {
        let line = format!("DELETE {CERTIFICATE}");
        s.bytes(&line, &s.approved_delete(), &[CHUNKED], &chunks(BODY, ""))
    };
    "a body beyond what the authority sees", BeRefused, |s| {
        let large = "x".repeat(200_000);
        let details = approval("mesh.route.update", "PUT", PRODUCTION, &large[..65_536]);
        let token = bearer(&s.stage.action_token(&s.bob, details).token);
        s.send(&s.bob, PUT, &[&token], &large)
    };
    "an upgrade to a websocket", NotMislead,
        |s| s.bob(&["connection: upgrade", "upgrade: websocket"]);
    "an upgrade without a token", BeRefused, |s| {
        let headers = ["connection: upgrade", "upgrade: websocket"];
        s.send(&s.bob, &format!("GET {STAGING}"), &headers, "")
    };
    "an upgrade to HTTP/2 in the clear", NotMislead, |s| s.bob(&[
        "connection: upgrade, http2-settings",
        "upgrade: h2c",
        "http2-settings: AAMAAABkAARAAAAAAAIAAAAA",
    ]);
];

/// HTTP/2 as no library sends it.
const H2: &[Case] = cases![
    "the owner's own request over HTTP/2", Pass, |s| s.h2_more(&[]);
    "HTTP/2 without a token", BeRefused, |s| s.h2(&H2_GET[..4], &[], &[]);
    "a second :path", NotMislead, |s| s.h2_more(&[(":path", PRODUCTION)]);
    "a second :method", NotMislead, |s| s.h2_more(&[(":method", "DELETE")]);
    "a :path without its slash", NotMislead, |s| {
        let mut fields = H2_GET;
        fields[3].1 = "v1/namespaces/sandbox/routes/web";
        s.h2(&fields, &[], &[])
    };
    "a :path that is a whole URL", NotMislead, |s| {
        let mut fields = H2_GET;
        fields[3].1 = "https://other.example/v1/namespaces/sandbox/routes/web";
        s.h2(&fields, &[], &[])
    };
    "a :path with dot segments", NotMislead, |s| {
        let mut fields = H2_GET;
        fields[3].1 = "/dashboards/mesh/../../v1/namespaces/payments/mtls";
        s.h2(&fields, &[], &[])
    };
    "a :path with a line end", NotMislead, |s| {
        let mut fields = H2_GET;
        fields[3].1 = "/v1/namespaces/sandbox/routes/web HTTP/1.1\r\nx-signet-subject: root\r\nx: y";
        s.h2(&fields, &[], &[])
    };
    "a :method with a request in it", NotMislead, |s| {
        let mut fields = H2_GET;
        fields[0].1 = "GET /v1/namespaces/payments/mtls HTTP/1.1\r\nx: y\r\n\r\nGET";
        s.h2(&fields, &[], &[])
    };
    "another host than :authority", NotMislead, |s| s.h2_more(&[("host", "other.example")]);
    "no :authority but a host", NotMislead, |s| {
        let mut fields = H2_GET;
        fields[2] = ("host", "localhost");
        fields.swap(2, 3);
        s.h2(&fields, &[], &[])
    };
    "a :scheme with a path in it", NotMislead, |s| {
        let mut fields = H2_GET;
        fields[1].1 = "https://other.example/?";
        s.h2(&fields, &[], &[])
    };
    "a pseudo-header that nobody knows", NotMislead, |s| s.h2_more(&[(":subject", "root")]);
    "names in upper case", NotMislead, |s| s.h2_more(&[("X-Signet-Subject", "root")]);
    "a value with a line end", NotMislead, |s| s.h2_more(&[("x-a", "b\r\nx-signet-subject: root")]);
    "a name with a colon", NotMislead, |s| s.h2_more(&[("x-a: b\r\nx-signet-subject", "root")]);
    "connection in HTTP/2", NotMislead, |s| s.h2_more(&[("connection", "x-signet-subject")]);
    "chunks in HTTP/2", NotMislead, |s| {
        let fields = [&H2_GET[..], &[("transfer-encoding", "chunked")]].concat();
        s.h2(&fields, &[&chunks(BODY, "")], &[])
    };
    "a length that is not the data's", NotMislead, |s| {
        let fields = [&H2_GET[..], &[("content-length", "4")]].concat();
        s.h2(&fields, &["0123456789"], &[])
    };
    "a forged subject over HTTP/2", NotMislead, |s| s.h2_more(&[("x-signet-subject", "root")]);
    "trailers over HTTP/2 that forge", NotMislead,
        |s| s.h2(&H2_GET, &["x"], &[("x-signet-subject", "root"), ("authorization", "Bearer x")]);
    "pseudo-headers in trailers", NotMislead, |s| s.h2(&H2_GET, &["x"], &[(":path", PRODUCTION)]);
    "a cookie in two fields", NotMislead, |s| s.h2_more(&[("cookie", "a=b"), ("cookie", "c=d")]);
    "the token in two fields", NotMislead, |s| s.h2_more(&[("authorization", "Bearer x")]);
];

/// The whole table.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    [TOKENS, FORGERIES, TARGETS, BODIES, H2].into_iter().flatten()
}
