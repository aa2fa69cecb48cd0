use std::path::Path;

use super::*;

fn template() -> String {
    render_template(
        "127.0.0.1:8443".parse().unwrap(),
        "127.0.0.1:9443".parse().unwrap(),
        &"https://localhost:8443".to_owned().try_into().unwrap(),
        &"mesh.example".to_owned().try_into().unwrap(),
        &"presence.mesh.example".to_owned().try_into().unwrap(),
    )
}

fn message(text: &str) -> String {
    Config::parse(text, Path::new("authority.toml")).unwrap_err().to_string()
}

fn line(text: &str, needle: &str) -> usize {
    text.lines().position(|line| line.starts_with(needle)).unwrap() + 1
}

#[test]
fn the_template_is_valid_and_says_the_defaults() {
    let config = Config::parse(&template(), Path::new("authority.toml")).unwrap();
    let written = &config.settings.lifetimes;
    let default = Lifetimes::default();
    assert_eq!(written.session_token.get_ref(), default.session_token.get_ref());
    assert_eq!(written.presence.get_ref(), default.presence.get_ref());
    assert_eq!(written.session.get_ref(), default.session.get_ref());
    assert_eq!(config.origin(), "https://presence.mesh.example");
    let (limits, default) = (format!("{:?}", config.settings.limits), Limits::default());
    assert_eq!(limits, format!("{default:?}"));
}

#[test]
fn each_mistake_names_its_line_and_what_to_write() {
    let cases = [
        ("session_token = \"5m\"", "session_token = \"20m\"", "at most session_token = \"15m\""),
        ("action_token = \"60s\"", "action_token = \"2m\"", "at most action_token = \"60s\""),
        ("presence = \"4h\"", "presence = \"11h\"", "a presence that is at most session"),
        ("grant = \"15m\"", "grant = \"0s\"", "write at least 1s"),
        ("session = \"10h\"", "session = \"10 hours\"", "write a number and s, m, h or d"),
        ("session = \"10h\"", "sesion = \"10h\"", "unknown field `sesion`"),
        ("issuer = ", "issuer = \"http://localhost\" #", "not an https origin"),
        ("rp_id = ", "rp_id = \"https://x\" #", "not a relying party id"),
        ("trust_domain = ", "trust_domain = \"spiffe://x\" #", "not a trust domain"),
        ("gateway_listen = ", "gateway_listen = \"127.0.0.1:8443\" #", "give gateways their own"),
        ("required_pcrs = ", "required_pcrs = [24] #", "between 0 and 23"),
        ("cred_protect = ", "cred_protect = \"most\" #", "unknown variant `most`"),
        ("deny_aaguids = ", "deny_aaguids = [\"x\"] #", "not an AAGUID"),
        ("boot = ", "boot = \"whatever\" #", "unknown variant `whatever`"),
        ("connections = ", "connections = 0 #", "expected a nonzero usize"),
        ("requests = ", "requests = 0 #", "expected a nonzero usize"),
        ("address = ", "address = \"0/1m\" #", "write how often in what time"),
        ("machine = ", "machine = \"60\" #", "such as \"600/1m\""),
        ("gateway = ", "gateway = \"60/0s\" #", "at least \"1/1s\""),
        ("guesses = ", "guesses = \"-1/1m\" #", "not a rate"),
        ("body_timeout = ", "body_timeout = \"0s\" #", "a time of zero refuses everything"),
    ];
    let template = template();
    for (old, new, expected) in cases {
        assert!(template.contains(old), "{old}");
        let text = template.replace(&format!("\n{old}"), &format!("\n{new}"));
        let prefix = format!("authority.toml:{}: ", line(&template, old));
        let message = message(&text);
        assert!(message.starts_with(&prefix), "{message} does not start with {prefix}");
        assert!(message.contains(expected), "{message} does not contain {expected}");
    }
}

#[test]
fn a_gateway_of_another_trust_domain_is_refused() {
    let text = template()
        + "\n[[gateways]]\nspiffe_id = \"spiffe://other.example/gateway/edge\"\npeer_certificate = \"sha256-header\"\n";
    let expected = line(&text, "spiffe_id");
    assert!(message(&text).starts_with(&format!("authority.toml:{expected}: spiffe_id is not")));
    let unknown = text.replace("other.example", "mesh.example").replace("sha256-header", "any");
    assert!(message(&unknown).contains("unknown variant `any`"));
}

#[test]
fn each_mistake_about_gateways_names_its_line_and_what_to_write() {
    let gateway = |name: &str, more: &str| {
        format!(
            "\n[[gateways]]\nspiffe_id = \"spiffe://mesh.example/gateway/{name}\"\n\
             peer_certificate = \"escaped-pem\"\n{more}\n"
        )
    };
    let users = "socket = \"a.sock\"\nsocket_uids = [33]";
    let good = template() + &gateway("a", users) + &gateway("b", "request = \"forwarded\"");
    let config = Config::parse(&good, Path::new("authority.toml")).unwrap();
    let [a, b] = &config.settings.gateways[..] else { panic!() };
    assert_eq!((a.request, b.request), (RequestForm::Path, RequestForm::Forwarded));
    assert_eq!(a.peer_certificate, PeerCertificateSource::EscapedPem);
    let cases = [
        (gateway("a", "socket = \"a.sock\""), "socket =", "socket_uids go together"),
        (gateway("a", "socket = \"a.sock\"\nsocket_uids = []"), "socket =", "go together"),
        (gateway("a", "socket_uids = [33]"), "spiffe_id", "go together"),
        (gateway("a", "request = \"any\""), "request = \"any", "unknown variant `any`"),
        (gateway("a", users) + &gateway("b", users), "", "have the same socket"),
    ];
    for (more, at, expected) in cases {
        let text = template() + &more;
        let message = message(&text);
        assert!(message.contains(expected), "{message} does not contain {expected}");
        if !at.is_empty() {
            let prefix = format!("authority.toml:{}: ", line(&text, at));
            assert!(message.starts_with(&prefix), "{message} does not start with {prefix}");
        }
    }
}

#[test]
fn each_mistake_about_metadata_names_its_line_and_what_to_write() {
    let roots = "roots = \"roots.pem\"\n";
    let cases = [
        ("file = \"a\"\nurl = \"https://x.example/\"", "url", "write one of them"),
        ("signer = \"\"", "signer", "write the DNS name"),
        ("refresh = \"59s\"", "refresh", "write refresh = \"6h\""),
        ("url = \"http://x.example/\"", "url", "not an https URL"),
        ("stale = \"ignore\"", "stale", "unknown variant `ignore`"),
        ("accept_all = true", "accept_all", "unknown field `accept_all`"),
    ];
    for (written, setting, expected) in cases {
        let text = format!("{}\n[metadata]\n{roots}{written}\n", template());
        let line = line(&text, &format!("{setting} ="));
        let message = message(&text);
        assert!(message.starts_with(&format!("authority.toml:{line}: ")), "{message}");
        assert!(message.contains(expected), "{message} does not contain {expected}");
    }
    let both = template().replace(
        "deny_aaguids = []",
        "allow_aaguids = [\"0ea242b4-43c4-4a1b-8b17-dd6d0b6baec6\"]\n\
         deny_aaguids = [\"0ea242b4-43c4-4a1b-8b17-dd6d0b6baec6\"]",
    );
    let expected = format!("authority.toml:{}: ", line(&both, "deny_aaguids"));
    let message = message(&both);
    assert!(message.starts_with(&expected) && message.contains("write it in one"), "{message}");
}

#[test]
fn a_collector_has_an_address() {
    let text =
        |address: &str| format!("{}\n[telemetry]\notlp_endpoint = \"{address}\"\n", template());
    let good = Config::parse(&text("http://127.0.0.1:4318"), Path::new("authority.toml")).unwrap();
    assert!(!good.settings.telemetry.unwrap().otlp_endpoint.is_https());
    for wrong in ["127.0.0.1:4318", "grpc://127.0.0.1:4317", "http://", "http://a?b"] {
        assert!(message(&text(wrong)).contains("not a collector's address"), "{wrong}");
    }
}

#[test]
fn a_missing_directory_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("authority.toml");
    std::fs::write(&file, template()).unwrap();
    let error = Config::load(&file).unwrap_err();
    let ConfigError::Missing { line: found, missing, .. } = &error else { panic!("{error}") };
    assert_eq!(*found, line(&template(), "ek_roots"));
    assert_eq!(*missing, directory.path().join("ek-roots"));
}

#[test]
fn aaguids_have_one_form() {
    let text = "0ea242b4-43c4-4a1b-8b17-dd6d0b6baec6";
    assert_eq!(AaguidText::try_from(text.to_owned()).unwrap().to_string(), text);
    for wrong in ["0EA242B4-43c4-4a1b-8b17-dd6d0b6baec6", "0ea242b443c44a1b8b17dd6d0b6baec6", ""] {
        assert_eq!(AaguidText::try_from(wrong.to_owned()), Err(ValueError::Aaguid));
    }
}
