//! Patterns that requests are matched with: hosts and paths of `actions.toml`.

use std::collections::BTreeMap;

use thiserror::Error;

/// What the `{name}` segments of a path pattern stood for.
pub(super) type Captures = BTreeMap<String, String>;

/// A pattern that cannot be understood.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum PatternError {
    /// A path pattern that does not begin with `/`, or has an empty or dot segment.
    #[error("a path pattern begins with `/` and has no empty, `.` or `..` segment")]
    Path,
    /// `**` before the end.
    #[error("`**` stands only at the end of a path pattern")]
    RestNotLast,
    /// `{`, `}` or `*` in another place than a whole segment.
    #[error("`*` and `{{name}}` stand for a whole segment of a path pattern")]
    PartialSegment,
    /// Two segments of one name.
    #[error("each `{{name}}` of a path pattern is there once")]
    DuplicateName,
    /// Not a lower-case host name, address, `*.example` or `*`, with or without a port.
    #[error("a host is a lower-case name or address, `*.` and a name, or `*`; a port may follow")]
    Host,
    /// An `id` with a `{name}` that the path does not have.
    #[error("`{{name}}` in an id must be a segment of the path")]
    UnknownName,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Any,
    Named(String),
}

/// A path pattern: literal segments, `*`, `{name}`, and `**` at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathPattern {
    segments: Vec<Segment>,
    rest: bool,
}

impl PathPattern {
    pub(super) fn parse(text: &str) -> Result<Self, PatternError> {
        let mut segments = Vec::new();
        let mut rest = false;
        let trimmed = text.strip_prefix('/').ok_or(PatternError::Path)?;
        for segment in trimmed.split('/').filter(|_| !trimmed.is_empty()) {
            if rest {
                return Err(PatternError::RestNotLast);
            }
            match segment {
                "" | "." | ".." => return Err(PatternError::Path),
                "**" => rest = true,
                "*" => segments.push(Segment::Any),
                _ => segments.push(parse_segment(segment)?),
            }
        }
        let pattern = Self { segments, rest };
        let mut names: Vec<_> = pattern.names().collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(PatternError::DuplicateName);
        }
        Ok(pattern)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Named(name) => Some(name.as_str()),
            Segment::Literal(_) | Segment::Any => None,
        })
    }

    /// The named segments if `path` (without query) fits. A slash at the end makes no difference,
    /// so that a request cannot slip past a narrow entry by adding one.
    pub(super) fn matches(&self, path: &str) -> Option<Captures> {
        let path = path.strip_prefix('/')?;
        let path = path.strip_suffix('/').unwrap_or(path);
        let mut found = path.split('/').filter(|_| !path.is_empty());
        let mut captures = Captures::new();
        for segment in &self.segments {
            let text = found.next().filter(|text| !text.is_empty())?;
            match segment {
                Segment::Literal(expected) if expected != text => return None,
                Segment::Literal(_) | Segment::Any => {}
                Segment::Named(name) => {
                    captures.insert(name.clone(), text.to_owned());
                }
            }
        }
        (self.rest || found.next().is_none()).then_some(captures)
    }

    /// A path that fits, for checks at start.
    pub(super) fn sample(&self) -> String {
        self.segments.iter().fold(String::new(), |path, segment| {
            path + "/"
                + match segment {
                    Segment::Literal(text) => text,
                    Segment::Any | Segment::Named(_) => "sample",
                }
        })
    }
}

fn parse_segment(text: &str) -> Result<Segment, PatternError> {
    if let Some(name) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        return if !name.is_empty() && name.bytes().all(plain) {
            Ok(Segment::Named(name.to_owned()))
        } else {
            Err(PatternError::PartialSegment)
        };
    }
    if text.contains(['{', '}', '*', '?', '#']) {
        return Err(PatternError::PartialSegment);
    }
    Ok(Segment::Literal(text.to_owned()))
}

/// A host pattern: a name or address, `*.` and a name, or `*`; with a port, only that port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostPattern {
    name: HostName,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostName {
    Exact(String),
    OneLabelUnder(String),
    Any,
}

impl HostPattern {
    pub(super) fn parse(text: &str) -> Result<Self, PatternError> {
        let (name, port) = split_host(text).ok_or(PatternError::Host)?;
        let name = match name.strip_prefix("*.") {
            _ if name == "*" => HostName::Any,
            Some(parent) if is_host(parent) => HostName::OneLabelUnder(parent.to_owned()),
            None if is_host(name) => HostName::Exact(name.to_owned()),
            Some(_) | None => return Err(PatternError::Host),
        };
        Ok(Self { name, port })
    }

    /// Whether `host` (lower case, port if there was one) fits.
    pub(super) fn matches(&self, host: &str) -> bool {
        let Some((name, port)) = split_host(host) else { return false };
        if !is_host(name) || self.port.is_some_and(|expected| port != Some(expected)) {
            return false;
        }
        match &self.name {
            HostName::Any => true,
            HostName::Exact(expected) => expected == name,
            HostName::OneLabelUnder(parent) => name
                .split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
        }
    }

    /// A host that fits, for checks at start.
    pub(super) fn sample(&self) -> String {
        match &self.name {
            HostName::Exact(name) => name.clone(),
            HostName::OneLabelUnder(parent) => format!("sample.{parent}"),
            HostName::Any => "sample.example".to_owned(),
        }
    }
}

/// Host and port; IPv6 addresses keep their brackets.
fn split_host(text: &str) -> Option<(&str, Option<u16>)> {
    let after_address = text.rfind(']').map_or(0, |end| end + 1);
    match text.get(after_address..)?.rfind(':') {
        None => Some((text, None)),
        Some(colon) => {
            let (name, port) = text.split_at(after_address + colon);
            let digits = port.get(1..)?;
            // `parse` alone would take a sign.
            if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            Some((name, Some(digits.parse().ok()?)))
        }
    }
}

fn is_host(name: &str) -> bool {
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(address) = address {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.len() <= 253 && name.split('.').all(|label| !label.is_empty() && label.bytes().all(plain))
}

/// An entity id with `{name}` for segments of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IdTemplate(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Name(String),
}

impl IdTemplate {
    pub(super) fn parse(text: &str, path: &PathPattern) -> Result<Self, PatternError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, tail) = after.split_once('}').ok_or(PatternError::UnknownName)?;
            if !path.names().any(|known| known == name) {
                return Err(PatternError::UnknownName);
            }
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Name(name.to_owned()));
            rest = tail;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    pub(super) fn fill(&self, captures: &Captures) -> String {
        self.0
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.as_str(),
                // Checked in `parse`: every name is one of the path's.
                Part::Name(name) => captures.get(name).map_or("", String::as_str),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, path: &str) -> Option<Vec<(String, String)>> {
        Some(PathPattern::parse(pattern).unwrap().matches(path)?.into_iter().collect())
    }

    #[test]
    fn paths() {
        let named = |value: &str| Some(vec![("ns".to_owned(), value.to_owned())]);
        assert_eq!(fits("/v1/{ns}/mtls", "/v1/payments/mtls"), named("payments"));
        assert_eq!(fits("/v1/{ns}/mtls", "/v1/payments/mtls/"), named("payments"));
        assert_eq!(fits("/v1/{ns}/mtls", "/v1/payments/mtls/x"), None);
        assert_eq!(fits("/v1/{ns}/mtls", "/v1//mtls"), None);
        assert_eq!(fits("/v1/{ns}/mtls", "/V1/payments/mtls"), None);
        assert_eq!(fits("/a/*", "/a/b"), Some(vec![]));
        assert_eq!(fits("/a/*", "/a"), None);
        assert_eq!(fits("/a/**", "/a"), Some(vec![]));
        assert_eq!(fits("/a/**", "/a/b/c"), Some(vec![]));
        assert_eq!(fits("/a/**", "/ab"), None);
        assert_eq!(fits("/", "/"), Some(vec![]));
        assert_eq!(fits("/", "/a"), None);
        assert_eq!(fits("/**", "/"), Some(vec![]));
        assert_eq!(fits("/a", "a"), None);
    }

    #[test]
    fn bad_paths() {
        let parse = |text| PathPattern::parse(text).map(|_| ());
        assert_eq!(parse("a"), Err(PatternError::Path));
        assert_eq!(parse("/a//b"), Err(PatternError::Path));
        assert_eq!(parse("/a/../b"), Err(PatternError::Path));
        assert_eq!(parse("/a/**/b"), Err(PatternError::RestNotLast));
        assert_eq!(parse("/a/b*"), Err(PatternError::PartialSegment));
        assert_eq!(parse("/a/{}"), Err(PatternError::PartialSegment));
        assert_eq!(parse("/a/{x}-{y}"), Err(PatternError::PartialSegment));
        assert_eq!(parse("/{x}/{x}"), Err(PatternError::DuplicateName));
    }

    #[test]
    fn hosts() {
        let fits = |pattern: &str, host: &str| HostPattern::parse(pattern).unwrap().matches(host);
        assert!(fits("ctl.mesh.example", "ctl.mesh.example"));
        assert!(fits("ctl.mesh.example", "ctl.mesh.example:8443"));
        assert!(!fits("ctl.mesh.example:443", "ctl.mesh.example:8443"));
        assert!(!fits("ctl.mesh.example", "ctl.mesh.example."));
        assert!(!fits("ctl.mesh.example", "ctl.mesh.example:+443"));
        assert!(!fits("ctl.mesh.example", "ctl.mesh.example:443:443"));
        assert!(fits("*.mesh.example", "a.mesh.example"));
        assert!(!fits("*.mesh.example", "mesh.example"));
        assert!(!fits("*.mesh.example", "a.b.mesh.example"));
        assert!(fits("[::1]", "[::1]:8443"));
        assert!(fits("*", "127.0.0.1:1"));
        assert!(!fits("*", "a@b"));
        for bad in ["", "UPPER", "a_b", "*a.example", "*.", "http://x", "x:port", "[::1"] {
            assert_eq!(HostPattern::parse(bad), Err(PatternError::Host), "{bad}");
        }
    }

    #[test]
    fn ids_take_names_of_the_path_only() {
        let path = PathPattern::parse("/v1/{ns}/routes/{route}").unwrap();
        let id = IdTemplate::parse("{ns}/{route}", &path).unwrap();
        let captures = path.matches("/v1/a/routes/b").unwrap();
        assert_eq!(id.fill(&captures), "a/b");
        assert_eq!(IdTemplate::parse("{other}", &path), Err(PatternError::UnknownName));
        assert_eq!(IdTemplate::parse("{ns", &path), Err(PatternError::UnknownName));
    }
}
