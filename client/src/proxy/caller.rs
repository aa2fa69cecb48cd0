//! Who calls, and for what: nobody but the user, and nothing but the targets.

use std::net::SocketAddr;

use hyper::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN, PROXY_AUTHORIZATION};
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Method, Request, Version};

use super::headers::View;
use super::pac;
use super::refusal::{Challenge, Refusal};
use super::secret::Secret;
use super::target::Targets;

/// Where a request came in.
#[derive(Clone, Debug)]
pub(super) enum Door {
    /// The Unix socket, whose peer was checked.
    Socket,
    /// A loopback port: the secret says whose request it is.
    Port {
        /// Address and port.
        address: SocketAddr,
        /// The secret.
        secret: Secret,
    },
    /// A tunnel (CONNECT) that came in by one of the others, and was let in there.
    Tunnel {
        /// What it is.
        tunnel: Tunnel,
        /// The port's secret, where it came in by a port.
        secret: Option<Secret>,
    },
}

/// A tunnel that ends here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tunnel {
    /// The name that it is for, without the port that its scheme has anyway.
    pub(super) name: Authority,
    /// The target's place.
    pub(super) target: usize,
    /// What is spoken inside.
    pub(super) inside: Inside,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inside {
    /// HTTP as it is.
    Plain,
    /// HTTP in TLS, which ends here.
    Tls,
}

impl Inside {
    fn scheme(self) -> &'static str {
        match self {
            Self::Plain => "http",
            Self::Tls => "https",
        }
    }

    /// A name to compare: lower case, without the port that the scheme has anyway.
    fn bare(self, name: &Authority) -> String {
        let name = name.as_str().to_ascii_lowercase();
        let port = if self == Self::Plain { ":80" } else { ":443" };
        name.strip_suffix(port).map_or(name.clone(), str::to_owned)
    }
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Visit {
    /// Something of our own.
    Pac,
    /// A request for a target.
    Request {
        /// Its place.
        target: usize,
        /// How the tool sees it.
        view: View,
        /// Path and query.
        path: String,
    },
    /// A tunnel to a target.
    Tunnel(Tunnel),
}

impl Door {
    /// What is spoken here.
    fn spoken(&self) -> Inside {
        match self {
            Self::Tunnel { tunnel, .. } => tunnel.inside,
            Self::Socket | Self::Port { .. } => Inside::Plain,
        }
    }

    /// The secret of the port, here or before the tunnel.
    pub(super) fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Socket => None,
            Self::Port { secret, .. } => Some(secret),
            Self::Tunnel { secret, .. } => secret.as_ref(),
        }
    }

    /// Whether this name is ours.
    fn is_own(&self, name: &Authority) -> bool {
        match self {
            Self::Socket => name.host().eq_ignore_ascii_case("localhost"),
            Self::Port { address, .. } => {
                let host = name.host().trim_start_matches('[').trim_end_matches(']');
                let ours =
                    host.eq_ignore_ascii_case("localhost") || host.parse() == Ok(address.ip());
                ours && name.port_u16().unwrap_or(80) == address.port()
            }
            Self::Tunnel { .. } => false,
        }
    }
}

/// Decides what a request is for, and whether it may be.
pub(super) fn admit<B>(
    door: &Door,
    targets: &Targets,
    request: &Request<B>,
) -> Result<Visit, Refusal> {
    let spoken = door.spoken();
    let name = name_of(request, spoken)?;
    // Before anything that a page of another site could make a browser ask its user for.
    same_site(request.headers(), spoken, &name)?;
    if request.method() == Method::CONNECT {
        return tunnel(door, targets, request, name);
    }
    if request.method() == Method::TRACE {
        return Err(Refusal::Trace);
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    if !path.starts_with('/') {
        return Err(Refusal::Malformed("a request is for a path"));
    }
    let own = door.is_own(&name);
    let target = match door {
        Door::Tunnel { tunnel, .. } if spoken.bare(&tunnel.name) != spoken.bare(&name) => {
            return Err(Refusal::Malformed("the host is not the one that the tunnel is for"));
        }
        Door::Tunnel { tunnel, .. } => Some(tunnel.target),
        _ if own => None,
        _ => Some(targets.find(&name).ok_or_else(|| not_a_target(&name))?),
    };
    let as_proxy = !own && request.version() < Version::HTTP_2 && request.uri().host().is_some();
    let (path, prefix) = rightful(door, request.headers(), path, as_proxy)?;
    if own && path == pac::PATH {
        return Ok(Visit::Pac);
    }
    if own && path.starts_with("/.signet/") {
        return Err(Refusal::NothingHere);
    }
    let browser = || request.headers().keys().any(|name| name.as_str().starts_with("sec-fetch-"));
    if !prefix.is_empty() && browser() {
        return Err(Refusal::BrowserPath);
    }
    let target = target.or_else(|| targets.only()).ok_or(Refusal::WhichTarget)?;
    let view = View { origin: format!("{}://{name}", spoken.scheme()), prefix };
    Ok(Visit::Request { target, view, path: path.to_owned() })
}

/// A tunnel goes to a target and ends here, or it is refused: nothing passes that is not looked at.
fn tunnel<B>(
    door: &Door,
    targets: &Targets,
    request: &Request<B>,
    name: Authority,
) -> Result<Visit, Refusal> {
    let port = name.port_u16().ok_or(Refusal::Malformed("a tunnel is for a host and a port"))?;
    let target = targets.find(&name).ok_or_else(|| not_a_target(&name))?;
    if let Door::Tunnel { .. } = door {
        return Err(Refusal::Malformed("a tunnel holds no tunnels"));
    }
    rightful(door, request.headers(), "", true)?;
    if request.version() >= Version::HTTP_2 {
        return Err(Refusal::Malformed("a tunnel is asked for in HTTP/1.1"));
    }
    // Plain websockets of browsers, and `kubectl exec` towards an http:// server, come to port 80.
    let inside = if port == 80 { Inside::Plain } else { Inside::Tls };
    let name = inside.bare(&name).parse().map_err(|_| Refusal::Malformed("the host is none"))?;
    Ok(Visit::Tunnel(Tunnel { name, target, inside }))
}

/// Who is called. Host and URI may not say different things (RFC 9112 §3.2.2 would let the URI win).
fn name_of<B>(request: &Request<B>, spoken: Inside) -> Result<Authority, Refusal> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    if more.is_some() {
        return Err(Refusal::Malformed("there is more than one host header"));
    }
    let host = host.map(|host| Authority::try_from(host.as_bytes()));
    let host = host.transpose().map_err(|_| Refusal::Malformed("the host header is none"))?;
    let named = request.uri().authority().cloned();
    let is_http =
        request.uri().scheme_str().is_none_or(|scheme| matches!(scheme, "http" | "https"));
    let name = match (named, host) {
        (Some(named), Some(host)) if spoken.bare(&named) != spoken.bare(&host) => {
            return Err(Refusal::Malformed("the host header and the URL name different hosts"));
        }
        (Some(named), _) => named,
        (None, Some(host)) => host,
        (None, None) => return Err(Refusal::Malformed("there is no host header")),
    };
    if name.as_str().contains('@') || name.host().is_empty() || !is_http {
        return Err(Refusal::Malformed("the URL is not http://host[:port]/path"));
    }
    Ok(name)
}

/// What browsers say of the page that asks (Fetch standard, "Origin" and Fetch Metadata).
fn same_site(headers: &HeaderMap, spoken: Inside, name: &Authority) -> Result<(), Refusal> {
    let site = headers.get(HeaderName::from_static("sec-fetch-site"));
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return Err(Refusal::CrossSite);
    }
    let ours = |origin: &[u8]| {
        let origin = std::str::from_utf8(origin).ok();
        let host = origin.and_then(|origin| origin.strip_prefix(spoken.scheme()));
        let host = host.and_then(|host| host.strip_prefix("://"));
        let host = host.and_then(|host| host.parse::<Authority>().ok());
        host.is_some_and(|host| spoken.bare(&host) == spoken.bare(name))
    };
    match headers.get_all(ORIGIN).iter().all(|origin| ours(origin.as_bytes())) {
        true => Ok(()),
        false => Err(Refusal::CrossSite),
    }
}

/// Whether the user calls: gives the path without the secret, and the prefix that held it.
fn rightful<'a>(
    door: &Door,
    headers: &HeaderMap,
    path: &'a str,
    as_proxy: bool,
) -> Result<(&'a str, String), Refusal> {
    let authorized = headers.contains_key(AUTHORIZATION);
    let only = |name: &HeaderName| {
        let mut all = headers.get_all(name).iter();
        all.next().filter(|_| all.next().is_none())
    };
    let carries = |name| {
        let (value, secret) = (only(name), door.secret());
        value.zip(secret).is_some_and(|(value, secret)| secret.is_in(value.as_bytes()))
    };
    let Door::Port { secret, .. } = door else {
        // Tools that want credentials of their own, such as kubectl, may show the secret there too.
        let refused = authorized && !carries(&AUTHORIZATION);
        return if refused { Err(Refusal::Authorization) } else { Ok((path, String::new())) };
    };
    if carries(&PROXY_AUTHORIZATION) {
        return if authorized { Err(Refusal::Authorization) } else { Ok((path, String::new())) };
    }
    if as_proxy {
        return Err(Refusal::Secret(Challenge::Proxy));
    }
    if let Some(rest) = secret.strip(path) {
        let prefix = path.strip_suffix(rest).unwrap_or(path).to_owned();
        return if authorized { Err(Refusal::Authorization) } else { Ok((rest, prefix)) };
    }
    // The place of a token of ours is free for the secret.
    if carries(&AUTHORIZATION) {
        return Ok((path, String::new()));
    }
    Err(Refusal::Secret(Challenge::Server))
}

fn not_a_target(name: &Authority) -> Refusal {
    Refusal::NotATarget(crate::authority::printable(name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::target::Target;

    fn targets(all: &[&str]) -> Targets {
        Targets(all.iter().map(|url| Target::parse(url).unwrap()).collect())
    }

    fn port() -> (Door, String, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let secret = Secret::in_file(&path).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        (Door::Port { address: "127.0.0.1:8123".parse().unwrap(), secret }, text, folder)
    }

    fn asked(door: &Door, targets: &Targets, head: &str) -> Result<Visit, (u16, &'static str)> {
        let mut lines = head.lines().map(str::trim);
        let (method, uri) = lines.next().unwrap().split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(uri);
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        let request = request.body(()).unwrap();
        admit(door, targets, &request)
            .map_err(|refusal| (refusal.status().as_u16(), refusal.code()))
    }

    fn request(target: usize, origin: &str, path: &str) -> Result<Visit, (u16, &'static str)> {
        let view = View { origin: origin.into(), prefix: String::new() };
        Ok(Visit::Request { target, view, path: path.into() })
    }

    #[test]
    fn the_socket_knows_its_user_and_only_its_targets() {
        let one = targets(&["https://ctl.example:8443"]);
        let ask = |head: &str| asked(&Door::Socket, &one, head);
        let served = request(0, "http://ctl.example", "/a?b");
        assert_eq!(ask("GET /a?b\nhost: ctl.example"), served);
        assert_eq!(ask("GET http://ctl.example/a?b\nhost: ctl.example"), served);
        assert_eq!(ask("GET /\nhost: localhost"), request(0, "http://localhost", "/"));
        assert_eq!(ask("GET /\nhost: evil.example"), Err((403, "not-a-target")));
        assert_eq!(ask("GET /\nhost: ctl.example:9"), Err((403, "not-a-target")));
        assert_eq!(ask("GET /.signet/proxy.pac\nhost: localhost"), Ok(Visit::Pac));
        assert_eq!(ask("GET /.signet/x\nhost: localhost"), Err((404, "nothing-here")));
        let two = targets(&["https://a.example", "https://b.example"]);
        let both = |head: &str| asked(&Door::Socket, &two, head);
        assert_eq!(both("GET /\nhost: localhost"), Err((421, "which-target")));
        assert_eq!(both("GET /\nhost: b.example"), request(1, "http://b.example", "/"));
    }

    #[test]
    fn names_that_differ_and_heads_that_are_none_are_refused() {
        let one = targets(&["https://ctl.example"]);
        let ask = |head: &str| asked(&Door::Socket, &one, head);
        for head in [
            "GET /",
            "GET /\nhost: ctl.example\nhost: ctl.example",
            "GET http://ctl.example/\nhost: other.example",
            "GET http://me@ctl.example/",
            "GET ftp://ctl.example/",
            "GET /\nhost: a b",
            "OPTIONS *\nhost: ctl.example",
        ] {
            assert_eq!(ask(head), Err((400, "malformed")), "{head}");
        }
        let sent = "GET /\nhost: ctl.example\nauthorization: Bearer x";
        assert_eq!(ask(sent), Err((400, "authorization-sent")));
        assert_eq!(ask("TRACE /\nhost: ctl.example"), Err((405, "trace")));
    }

    #[test]
    fn a_port_wants_the_secret_before_anything() {
        let (door, secret, _folder) = port();
        let one = targets(&["https://ctl.example"]);
        let ask = |head: String| asked(&door, &one, &head);
        let own = request(0, "http://127.0.0.1:8123", "/a");
        assert_eq!(ask("GET /a\nhost: 127.0.0.1:8123".into()), Err((401, "secret")));
        assert_eq!(
            ask("GET /.signet/proxy.pac\nhost: 127.0.0.1:8123".into()),
            Err((401, "secret"))
        );
        let head = format!("GET /a\nhost: 127.0.0.1:8123\nauthorization: Bearer {secret}");
        assert_eq!(ask(head.clone()), own);
        assert_eq!(ask(format!("{head}\nauthorization: Bearer x")), Err((401, "secret")));
        let wrong = "GET /a\nhost: 127.0.0.1:8123\nauthorization: Bearer guess";
        assert_eq!(ask(wrong.into()), Err((401, "secret")));
        let as_proxy = "GET http://ctl.example/a\nhost: ctl.example";
        assert_eq!(ask(as_proxy.into()), Err((407, "secret")));
        assert_eq!(
            ask(format!("{as_proxy}\nproxy-authorization: Bearer {secret}")),
            request(0, "http://ctl.example", "/a")
        );
        // As a proxy, the place of a token is not the secret's.
        let there = format!("{as_proxy}\nauthorization: Bearer {secret}");
        assert_eq!(ask(there), Err((407, "secret")));
        let both = format!("{as_proxy}\nproxy-authorization: Bearer {secret}\nauthorization: x");
        assert_eq!(ask(both), Err((400, "authorization-sent")));
        let view = View { origin: "http://localhost:8123".into(), prefix: format!("/~{secret}") };
        let inside = Visit::Request { target: 0, view, path: "/a?b".into() };
        let path = format!("GET /~{secret}/a?b\nhost: localhost:8123");
        assert_eq!(ask(path.clone()), Ok(inside));
        assert_eq!(ask(format!("{path}\nsec-fetch-site: none")), Err((403, "browser-path")));
    }

    #[test]
    fn rebound_names_and_other_sites_pages_are_refused() {
        let (door, secret, _folder) = port();
        let one = targets(&["https://ctl.example"]);
        let ask = |host: &str, more: &str| {
            let head = format!("POST /a\nhost: {host}\nauthorization: Bearer {secret}{more}");
            asked(&door, &one, &head)
        };
        for host in ["evil.example", "evil.example:8123", "127.0.0.1:9", "127.0.0.2:8123"] {
            assert_eq!(ask(host, ""), Err((403, "not-a-target")), "{host}");
        }
        let own = "127.0.0.1:8123";
        for more in [
            "\norigin: http://evil.example",
            "\norigin: null",
            "\norigin: https://127.0.0.1:8123",
            "\norigin: http://127.0.0.1:8124",
            "\nsec-fetch-site: cross-site",
            "\nsec-fetch-site: same-site",
            "\norigin: http://127.0.0.1:8123\norigin: http://evil.example",
        ] {
            assert_eq!(ask(own, more), Err((403, "cross-site")), "{more}");
        }
        for more in ["\norigin: http://127.0.0.1:8123", "\nsec-fetch-site: same-origin"] {
            assert_eq!(ask(own, more), request(0, "http://127.0.0.1:8123", "/a"), "{more}");
        }
    }

    #[test]
    fn tunnels_are_for_targets_and_end_here() {
        let one = targets(&["https://ctl.example:8443", "https://b.example"]);
        let ask = |head: &str| asked(&Door::Socket, &one, head);
        let tunnel =
            |name: &str, target, inside| Tunnel { name: name.parse().unwrap(), target, inside };
        let plain = tunnel("ctl.example", 0, Inside::Plain);
        let tls = tunnel("ctl.example:8443", 0, Inside::Tls);
        let usual = tunnel("b.example", 1, Inside::Tls);
        for (head, expected) in [
            ("CONNECT ctl.example:80\nhost: ctl.example:80", Ok(plain.clone())),
            ("CONNECT CTL.example:8443\nhost: ctl.example:8443", Ok(tls.clone())),
            ("CONNECT b.example:443", Ok(usual.clone())),
            ("CONNECT ctl.example:443", Err((403, "not-a-target"))),
            ("CONNECT b.example:8443", Err((403, "not-a-target"))),
            ("CONNECT sub.b.example:443", Err((403, "not-a-target"))),
            ("CONNECT evil.example:80", Err((403, "not-a-target"))),
            ("CONNECT 127.0.0.1:22", Err((403, "not-a-target"))),
            ("CONNECT b.example", Err((400, "malformed"))),
            ("CONNECT b.example:443\nhost: ctl.example:8443", Err((400, "malformed"))),
        ] {
            assert_eq!(ask(head), expected.map(Visit::Tunnel), "{head}");
        }
        let (door, _, _folder) = port();
        assert_eq!(asked(&door, &one, "CONNECT ctl.example:80"), Err((407, "secret")));
        assert_eq!(asked(&door, &one, "CONNECT b.example:443"), Err((407, "secret")));

        let inside = |tunnel: &Tunnel, head: &str| {
            let door = Door::Tunnel { tunnel: tunnel.clone(), secret: None };
            asked(&door, &one, head)
        };
        let served = request(0, "http://ctl.example", "/");
        assert_eq!(inside(&plain, "GET /\nhost: ctl.example"), served);
        let served = request(0, "https://ctl.example:8443", "/a");
        assert_eq!(inside(&tls, "GET /a\nhost: ctl.example:8443"), served);
        for host in ["b.example", "b.example:443"] {
            let served = request(1, &format!("https://{host}"), "/");
            assert_eq!(inside(&usual, &format!("GET /\nhost: {host}")), served);
        }
        for (tunnel, head) in [
            (&plain, "GET /\nhost: localhost"),
            (&plain, "CONNECT ctl.example:80"),
            (&tls, "GET /\nhost: ctl.example"),
            (&tls, "GET /\nhost: b.example"),
            (&tls, "CONNECT ctl.example:8443"),
            (&usual, "GET /\nhost: b.example:80"),
            (&usual, "GET https://ctl.example:8443/\nhost: b.example"),
        ] {
            assert_eq!(inside(tunnel, head), Err((400, "malformed")), "{head}");
        }
        let page =
            |origin: &str| inside(&usual, &format!("GET /\nhost: b.example\norigin: {origin}"));
        assert_eq!(page("https://b.example"), request(1, "https://b.example", "/"));
        for other in ["http://b.example", "https://ctl.example:8443", "https://b.example:8443"] {
            assert_eq!(page(other), Err((403, "cross-site")), "{other}");
        }
        let sent = inside(&usual, "GET /\nhost: b.example\nauthorization: Bearer x");
        assert_eq!(sent, Err((400, "authorization-sent")));
        // Tools that insist on credentials of their own show the port's secret.
        let (Door::Port { secret, .. }, text, _folder) = port() else { panic!() };
        let door = Door::Tunnel { tunnel: usual, secret: Some(secret) };
        let shown = |token: &str| {
            let head = format!("GET /\nhost: b.example\nauthorization: Bearer {token}");
            asked(&door, &one, &head)
        };
        assert_eq!(shown(&text), request(1, "https://b.example", "/"));
        for other in ["x".to_owned(), format!("{text}\nauthorization: Bearer {text}")] {
            assert_eq!(shown(&other), Err((400, "authorization-sent")), "{other}");
        }
    }
}
