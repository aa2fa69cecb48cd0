//! Runs the table of hostile requests through each gateway, which is started once.

use std::time::Instant;

use serde_json::Value;
use signet_authority::store::RevocationTarget;
use signet_evidence::action::is_unambiguous_path;
use signet_tests::gateway::profile;
use signet_tests::upstream::Received;

use crate::cases::{Case, Heard, Must, Scene, all};
use crate::outage;
use crate::stage::Stage;

/// What the upstream is told of the decision.
const TOLD: [&str; 6] = ["subject", "device", "acr", "session", "action", "decision"];
/// Headers by which some upstreams let a client replace method, path or certificate.
const NEVER: [&str; 11] = [
    "authorization",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-original-uri",
    "x-original-method",
    "x-rewrite-url",
    "client-cert",
    "x-signet-peer-sha256",
    "x-signet-peer-pem",
];

/// Runs every case through the gateway of this name, then takes the authority away.
fn run(name: &str) {
    let scene = Scene::set(Stage::of(profile::named(name).unwrap()));
    let faults: Vec<String> = all().filter_map(|case| fault(&scene, case)).collect();
    assert!(
        faults.is_empty(),
        "{} of {} rows:\n{}\n{}",
        faults.len(),
        all().count(),
        faults.join("\n"),
        scene.stage.gateway.log().lines().rev().take(5).collect::<Vec<_>>().join("\n")
    );
    react(&scene);
    outage::survive(scene);
}

/// Of how many revocations the reaction is measured.
const REVOCATIONS: usize = 5;

/// Somebody revokes in another process; from its commit on nothing passes a gateway that asks. How long
/// the first refusal takes is said (`--nocapture`), for the table in `docs/gateways/README.md`.
fn react(scene: &Scene) {
    let mut times = Vec::new();
    for _ in 0..REVOCATIONS {
        let token = scene.stage.session_token(&scene.bob, 60);
        assert!(scene.with_token(&token.token).passed());
        scene.stage.revoke_beside(&RevocationTarget::Session(token.session));
        let committed = Instant::now();
        let passed = scene.with_token(&token.token).passed();
        times.push(committed.elapsed());
        assert_eq!(passed, scene.stage.profile.authority.is_none());
    }
    times.sort_unstable();
    let (name, median) = (scene.stage.profile.name, times[REVOCATIONS / 2]);
    let said = if scene.stage.profile.authority.is_some() {
        format!(
            "refused with the next request, whose answer took {:.1} ms",
            median.as_secs_f64() * 1e3
        )
    } else {
        "still passes".to_owned()
    };
    eprintln!("revocation at {name}: {said}");
}

/// What is wrong with what came of a case.
fn fault(scene: &Scene, case: &Case) -> Option<String> {
    let before = scene.stage.upstream.received().len();
    let heard = (case.send)(scene);
    let received: Vec<_> = scene.stage.upstream.received().into_iter().skip(before).collect();
    let lie = received.iter().find_map(|one| lie(scene, one).map(|lie| (lie, one)));
    if let Some((lie, one)) = lie {
        return Some(format!("{}: {lie}: {one:?}", case.name));
    }
    let profile = &scene.stage.profile;
    let pass = match case.must {
        Must::NotMislead => None,
        Must::Pass => Some(true),
        Must::BeRefused => Some(false),
        Must::BeRefusedWhenAsked => profile.authority.is_some().then_some(false),
        Must::PassWithBodies => Some(profile.bodies),
        Must::PassWithoutBody => Some(profile.no_bodies),
        Must::StepUp if profile.step_up => {
            let challenged = received.is_empty() && is_challenge(&heard);
            return (!challenged).then(|| format!("{}: no challenge: {heard:?}", case.name));
        }
        Must::StepUp => None,
    };
    let wrong = match pass {
        None => false,
        Some(true) => {
            received.len() != 1 && case.name != "a resumed TLS session" || !heard.passed()
        }
        Some(false) => !received.is_empty() || heard.passed(),
    };
    wrong.then(|| {
        let detail = scene.stage.decisions().pop().map(|record| record.detail);
        format!(
            "{}: {:?}, but {heard:?}\n  upstream {received:?}\n  {detail:?}",
            case.name, case.must
        )
    })
}

/// RFC 9470's challenge, intact.
fn is_challenge(heard: &Heard) -> bool {
    let Heard::Answer(answer) = heard else { return false };
    let expected = "Bearer realm=\"signet\", error=\"insufficient_user_authentication\", \
                    error_description=\"prove your presence for this request\", \
                    acr_values=\"signet.uv signet.uv-hw\", max_age=\"900\"";
    let challenge = answer.header("www-authenticate").unwrap_or_default();
    answer.status == 401 && challenge.starts_with(expected)
}

/// What the upstream saw that no permit says.
fn lie(scene: &Scene, received: &Received) -> Option<String> {
    if !is_unambiguous_path(&received.target) {
        return Some("a target with two readings".into());
    }
    let names = || received.headers.iter().map(|(name, _)| name.as_str());
    if let Some(name) = names().find(|name| NEVER.contains(&name.replace('_', "-").as_str())) {
        return Some(format!("header {name}"));
    }
    let told = |what: &str| {
        let wanted = format!("x-signet-{what}");
        let values = received.headers.iter().filter(|(name, _)| name.replace('_', "-") == wanted);
        values.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    let device = format!("spiffe://mesh.example/device/{}", scene.bob.id);
    let facts = [("subject", "bob"), ("device", device.as_str()), ("acr", "signet.uv")];
    if let Some((what, _)) = facts.into_iter().find(|(what, value)| told(what) != [*value])
        // Without the authority a good token of anybody's passes.
        && (scene.stage.profile.authority.is_some() || told("subject") != ["stranger"])
    {
        return Some(format!("x-signet-{what} is {:?}", told(what)));
    }
    scene.stage.profile.authority?;
    let several = TOLD.into_iter().find(|what| told(what).len() != 1);
    if let Some(what) = several {
        return Some(format!("x-signet-{what} is {:?}", told(what)));
    }
    let [id] = told("decision")[..] else { return Some("no decision".into()) };
    let host = received.header("host").join(" and ");
    let path = received.target.split('?').next().unwrap_or_default();
    let permit = format!("{id} {} {host}{path} ", received.method);
    let permitted = scene
        .stage
        .decisions()
        .into_iter()
        .find(|record| record.decision == "allowed" && record.detail.starts_with(&permit));
    let Some(permitted) = permitted else { return Some(format!("no permit {permit:?}")) };
    let asked: Value = serde_json::from_str(&permitted.request.unwrap_or_default()).unwrap();
    let source = asked["source"].as_str();
    source.is_some_and(|source| source != "127.0.0.1").then(|| format!("client at {source:?}"))
}

#[test]
fn envoy_fingerprint_header() {
    run("envoy-fingerprint-header");
}

#[test]
fn envoy_xfcc_json() {
    run("envoy-xfcc-json");
}

#[test]
fn envoy_grpc() {
    run("envoy-grpc");
}

#[test]
fn envoy_cel() {
    run("envoy-cel");
}

#[test]
fn nginx_escaped_pem() {
    run("nginx-escaped-pem");
}

#[test]
fn caddy_fingerprint() {
    run("caddy-fingerprint");
}

#[test]
fn traefik_der() {
    run("traefik-der");
}

#[test]
fn haproxy_native() {
    run("haproxy-native");
}

#[test]
fn haproxy_lua() {
    run("haproxy-lua");
}

#[test]
fn the_table_is_long_enough_and_each_row_has_its_own_name() {
    let mut names: Vec<_> = all().map(|case| case.name).collect();
    assert!(names.len() >= 40, "{}", names.len());
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}
