//! The gateways that may be reached, and the names by which tools call them.

use hyper::http::uri::Authority;
use reqwest::Url;
use thiserror::Error;

/// A gateway: the key and a token go there and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    origin: Url,
    host: String,
    port: u16,
}

/// Why a text names no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a target has the form https://host[:port] and nothing more")]
pub struct TargetError;

impl Target {
    /// Reads `https://host[:port]`.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let origin = Url::parse(text).map_err(|_| TargetError)?;
        let bare = origin.path() == "/" && origin.query().is_none() && origin.fragment().is_none();
        let anonymous = origin.username().is_empty() && origin.password().is_none();
        let host = origin.host_str().unwrap_or_default().to_owned();
        let port = origin.port_or_known_default().unwrap_or_default();
        if origin.scheme() != "https" || !bare || !anonymous || host.is_empty() {
            return Err(TargetError);
        }
        Ok(Self { origin, host, port })
    }

    /// `https://host[:port]`.
    #[must_use]
    pub fn origin(&self) -> String {
        self.origin.origin().ascii_serialization()
    }

    /// Host name or address; an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Host name or address, as certificates and sockets have it: without brackets.
    #[must_use]
    pub fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host[:port]`, without the port that https has anyway.
    #[must_use]
    pub fn authority(&self) -> String {
        match self.port {
            443 => self.host.clone(),
            port => format!("{}:{port}", self.host),
        }
    }

    /// Its URL of this path and query.
    pub(super) fn url(&self, path: &str) -> Option<Url> {
        Url::parse(&format!("{}{path}", self.origin())).ok()
    }
}

/// All targets.
#[derive(Clone, Debug, Default)]
pub(super) struct Targets(pub(super) Vec<Target>);

impl Targets {
    /// The target of this name, by its place. A tool speaks plain HTTP to us, so that a name without a
    /// port, or with port 80, means the one target of that host.
    pub(super) fn find(&self, name: &Authority) -> Option<usize> {
        let host = name.host().to_ascii_lowercase();
        let host = host.trim_end_matches('.');
        let all = || self.0.iter().enumerate().filter(|(_, target)| target.host == host);
        match name.port_u16() {
            Some(port) if port != 80 => all().find(|(_, target)| target.port == port),
            _ => all().find(|(_, target)| target.port == 443).or_else(|| {
                let mut of_host = all();
                let first = of_host.next();
                first.filter(|_| of_host.next().is_none())
            }),
        }
        .map(|(place, _)| place)
    }

    /// The target, where there is only one.
    pub(super) fn only(&self) -> Option<usize> {
        (self.0.len() == 1).then_some(0)
    }

    pub(super) fn get(&self, place: usize) -> Option<&Target> {
        self.0.get(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_https_origin_is_a_target() {
        let target = Target::parse("https://CTL.mesh.example:8443").unwrap();
        assert_eq!(target.origin(), "https://ctl.mesh.example:8443");
        assert_eq!(target.authority(), "ctl.mesh.example:8443");
        assert_eq!(Target::parse("https://a.example/").unwrap().authority(), "a.example");
        for bad in [
            "http://a.example",
            "https://a.example/x",
            "https://u@a.example",
            "https://a.example/?q",
            "https://a.example/#f",
            "a.example",
            "",
        ] {
            assert_eq!(Target::parse(bad), Err(TargetError), "{bad}");
        }
    }

    #[test]
    fn a_name_without_a_port_means_the_one_target_of_its_host() {
        let of =
            |all: &[&str]| Targets(all.iter().map(|url| Target::parse(url).unwrap()).collect());
        let find = |targets: &Targets, name: &str| targets.find(&name.parse().unwrap());
        let one = of(&["https://a.example:8443", "https://b.example"]);
        assert_eq!(find(&one, "A.example"), Some(0));
        assert_eq!(find(&one, "a.example."), Some(0));
        assert_eq!(find(&one, "a.example:80"), Some(0));
        assert_eq!(find(&one, "a.example:8443"), Some(0));
        assert_eq!(find(&one, "a.example:443"), None);
        assert_eq!(find(&one, "b.example:443"), Some(1));
        assert_eq!(find(&one, "c.example"), None);
        assert_eq!(find(&one, "a.example.evil"), None);
        let two = of(&["https://a.example:8443", "https://a.example:9443"]);
        assert_eq!(find(&two, "a.example"), None);
        let two = of(&["https://a.example:8443", "https://a.example"]);
        assert_eq!(find(&two, "a.example"), Some(1));
        assert_eq!((one.only(), of(&["https://a.example"]).only()), (None, Some(0)));
    }
}
