//! Which HTTP request is which named action: `actions.toml`.

use std::fmt;
use std::str::FromStr;

use cedar_policy::{EntityId, EntityTypeName, EntityUid};
use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

use super::pattern::{Captures, HostPattern, IdTemplate, PathPattern, PatternError};

/// What a request does to the mesh; decides how long presence holds and what happens when a
/// revocation list is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Changes nothing.
    Read,
    /// Changes something.
    Write,
}

impl Access {
    /// Its name: that of the action group in the schema, and in scopes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An entry of `actions.toml` that cannot take effect.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ActionMapError {
    /// Not TOML, or not the members that an entry has.
    #[error("not an action map: {0}")]
    Toml(Box<toml::de::Error>),
    /// The name is not of the form that prompts and tokens use.
    #[error("`{0}` is not a name of the form mesh.route.update")]
    Name(String),
    /// A host pattern.
    #[error("the host pattern `{0}` cannot be used")]
    Host(String, #[source] PatternError),
    /// A path pattern.
    #[error("the path pattern `{0}` cannot be used")]
    Path(String, #[source] PatternError),
    /// A resource id.
    #[error("the resource id `{0}` cannot be used")]
    Id(String, #[source] PatternError),
    /// A resource kind that is no entity type.
    #[error("`{0}` is not an entity type")]
    Kind(String),
    /// No host, here or for the whole file.
    #[error("no host: name some in `hosts`, in the entry or at the top of the file")]
    NoHost,
    /// No method, or one that is not upper case.
    #[error("methods are upper-case words, at least one")]
    Method,
    /// A gRPC method that is none, or beside `methods` or `path`.
    #[error(
        "`{0}` is not a gRPC method: write package.Service/Method or package.Service/*, without methods and path"
    )]
    Grpc(String),
    /// The same request belongs to two entries.
    #[error("hosts, methods and path repeat those of `{0}`, so this entry would never be used")]
    Unreachable(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMap {
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    action: Vec<Spanned<RawEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    name: String,
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    methods: Vec<String>,
    #[serde(default)]
    path: String,
    /// A gRPC method, in the place of `methods` and `path`.
    #[serde(default)]
    grpc: Option<String>,
    access: Access,
    #[serde(default)]
    single_use: bool,
    resource: RawResource,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawResource {
    kind: String,
    id: String,
    #[serde(rename = "in")]
    parent: Option<RawParent>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawParent {
    kind: String,
    id: String,
}

/// One entry: requests that are this action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MappedAction {
    pub(super) name: String,
    pub(super) access: Access,
    pub(super) single_use: bool,
    pub(super) line: usize,
    hosts: Vec<HostPattern>,
    methods: Vec<String>,
    path: PathPattern,
    resource: EntityTemplate,
    parent: Option<EntityTemplate>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct EntityTemplate {
    kind: EntityTypeName,
    id: IdTemplate,
}

impl EntityTemplate {
    fn parse(kind: &str, id: &str, path: &PathPattern) -> Result<Self, ActionMapError> {
        Ok(Self {
            kind: EntityTypeName::from_str(kind)
                .map_err(|_| ActionMapError::Kind(kind.to_owned()))?,
            id: IdTemplate::parse(id, path)
                .map_err(|source| ActionMapError::Id(id.to_owned(), source))?,
        })
    }

    fn fill(&self, captures: &Captures) -> EntityUid {
        let id = self.id.fill(captures);
        EntityUid::from_type_name_and_id(self.kind.clone(), EntityId::new(id))
    }
}

/// The resource of one request, and what it lies in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resource {
    pub(super) uid: EntityUid,
    pub(super) parent: Option<EntityUid>,
}

impl MappedAction {
    fn parse(
        raw: &RawEntry,
        line: usize,
        default_hosts: &[String],
    ) -> Result<Self, ActionMapError> {
        let word = |word: &str| {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            !word.is_empty() && word.bytes().all(plain)
        };
        if !raw.name.contains('.') || !raw.name.split('.').all(word) {
            return Err(ActionMapError::Name(raw.name.clone()));
        }
        let (methods, path) = match &raw.grpc {
            None => (raw.methods.clone(), raw.path.clone()),
            Some(grpc) => (vec!["POST".to_owned()], grpc_path(raw, grpc)?),
        };
        let method = |m: &String| !m.is_empty() && m.bytes().all(|b| b.is_ascii_uppercase());
        if methods.is_empty() || !methods.iter().all(method) {
            return Err(ActionMapError::Method);
        }
        let hosts = if raw.hosts.is_empty() { default_hosts } else { &raw.hosts };
        if hosts.is_empty() {
            return Err(ActionMapError::NoHost);
        }
        let host = |text: &String| {
            HostPattern::parse(text).map_err(|source| ActionMapError::Host(text.clone(), source))
        };
        let path = PathPattern::parse(&path)
            .map_err(|source| ActionMapError::Path(path.clone(), source))?;
        Ok(Self {
            name: raw.name.clone(),
            access: raw.access,
            single_use: raw.single_use,
            line,
            hosts: hosts.iter().map(host).collect::<Result<_, _>>()?,
            methods,
            resource: EntityTemplate::parse(&raw.resource.kind, &raw.resource.id, &path)?,
            parent: raw
                .resource
                .parent
                .as_ref()
                .map(|parent| EntityTemplate::parse(&parent.kind, &parent.id, &path))
                .transpose()?,
            path,
        })
    }

    fn matches(&self, method: &str, host: &str, path: &str) -> Option<Resource> {
        if !self.methods.iter().any(|known| known == method)
            || !self.hosts.iter().any(|pattern| pattern.matches(host))
        {
            return None;
        }
        Some(self.resource(&self.path.matches(path)?))
    }

    fn resource(&self, captures: &Captures) -> Resource {
        Resource {
            uid: self.resource.fill(captures),
            parent: self.parent.as_ref().map(|parent| parent.fill(captures)),
        }
    }

    /// A request that is this action, for checks at start: method, host, path.
    pub(super) fn sample(&self) -> (String, String, String) {
        let host = self.hosts.first().map(HostPattern::sample).unwrap_or_default();
        (self.methods.first().cloned().unwrap_or_default(), host, self.path.sample())
    }

    /// The resource of the sample request.
    pub(super) fn sample_resource(&self) -> Resource {
        self.resource(&self.path.matches(&self.path.sample()).unwrap_or_default())
    }

    fn repeats(&self, earlier: &Self) -> bool {
        self.path == earlier.path
            && self.hosts.iter().all(|host| earlier.hosts.contains(host))
            && self.methods.iter().all(|method| earlier.methods.contains(method))
    }
}

/// The path of a gRPC method's requests, which are all POST (gRPC over HTTP/2, "Requests").
fn grpc_path(raw: &RawEntry, grpc: &str) -> Result<String, ActionMapError> {
    let wrong = || ActionMapError::Grpc(grpc.to_owned());
    let (service, method) = grpc.split_once('/').ok_or_else(wrong)?;
    let word = |word: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        !word.is_empty() && word.bytes().all(plain)
    };
    let alone = raw.methods.is_empty() && raw.path.is_empty();
    if !alone || !service.split('.').all(word) || !(method == "*" || word(method)) {
        return Err(wrong());
    }
    Ok(format!("/{grpc}"))
}

/// All entries, in the order of the file.
#[derive(Clone, Debug)]
pub(super) struct ActionMap(Vec<MappedAction>);

impl ActionMap {
    /// Parses `actions.toml`; on failure every faulty entry, each with its line.
    pub(super) fn parse(text: &str) -> Result<Self, Vec<(Option<usize>, ActionMapError)>> {
        let raw: RawMap = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| line_of(text, span.start));
            vec![(line, ActionMapError::Toml(Box::new(error)))]
        })?;
        let mut entries: Vec<MappedAction> = Vec::new();
        let mut faults = Vec::new();
        for spanned in &raw.action {
            let line = line_of(text, spanned.span().start);
            match MappedAction::parse(spanned.get_ref(), line, &raw.hosts) {
                Ok(entry) => match entries.iter().find(|earlier| entry.repeats(earlier)) {
                    Some(earlier) => {
                        faults
                            .push((Some(line), ActionMapError::Unreachable(earlier.name.clone())));
                    }
                    None => entries.push(entry),
                },
                Err(fault) => faults.push((Some(line), fault)),
            }
        }
        if faults.is_empty() { Ok(Self(entries)) } else { Err(faults) }
    }

    /// The first entry that fits, with the resource of this request.
    pub(super) fn find(
        &self,
        method: &str,
        host: &str,
        path: &str,
    ) -> Option<(&MappedAction, Resource)> {
        self.0.iter().find_map(|entry| Some((entry, entry.matches(method, host, path)?)))
    }

    pub(super) fn entries(&self) -> &[MappedAction] {
        &self.0
    }
}

/// Line (from 1) of a byte offset.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = r#"
        [[action]]
        name = "a.b"
        methods = ["GET"]
        path = "/x/{ns}"
        access = "read"
        resource = { kind = "Thing", id = "{ns}" }
    "#;

    fn faults(text: &str) -> Vec<(Option<usize>, ActionMapError)> {
        ActionMap::parse(text).unwrap_err()
    }

    #[test]
    fn first_entry_that_fits() {
        let narrow = ENTRY.replace("a.b", "a.narrow").replace("/x/{ns}", "/x/{ns}/y");
        let wide = ENTRY.replace("a.b", "a.wide").replace("/x/{ns}", "/x/{ns}/**");
        let map = ActionMap::parse(&format!("hosts = [\"h\"]\n{narrow}\n{wide}")).unwrap();
        let name = |path| map.find("GET", "h", path).map(|(entry, _)| entry.name.as_str());
        assert_eq!(name("/x/1/y"), Some("a.narrow"));
        assert_eq!(name("/x/1/y/"), Some("a.narrow"));
        assert_eq!(name("/x/1/z"), Some("a.wide"));
        assert_eq!(name("/z"), None);
        assert_eq!(map.find("HEAD", "h", "/x/1/y"), None);
        assert_eq!(map.find("GET", "other", "/x/1/y"), None);
    }

    #[test]
    fn a_grpc_method_is_a_post_to_its_path() {
        let entry = ENTRY.replace("methods = [\"GET\"]", "grpc = \"a.v1.Keys/Sign\"");
        let entry = entry.replace("path = \"/x/{ns}\"", "").replace("{ns}", "keys");
        let all = entry.replace("Keys/Sign", "Keys/*").replace("a.b", "a.all");
        let map = ActionMap::parse(&format!("hosts = [\"h\"]\n{entry}\n{all}")).unwrap();
        let name = |method, path| map.find(method, "h", path).map(|(entry, _)| entry.name.as_str());
        assert_eq!(name("POST", "/a.v1.Keys/Sign"), Some("a.b"));
        assert_eq!(name("POST", "/a.v1.Keys/List"), Some("a.all"));
        assert_eq!(name("GET", "/a.v1.Keys/Sign"), None);
        assert_eq!(name("POST", "/a.v1.Keys"), None);
    }

    #[test]
    fn faults_name_their_line() {
        assert!(matches!(
            faults("hosts = [\"h\"]\nnope = 1")[..],
            [(Some(2), ActionMapError::Toml(_))]
        ));
        let with =
            |from: &str, to: &str| faults(&format!("hosts = [\"h\"]{}", ENTRY.replace(from, to)));
        assert_eq!(with("a.b", "Approve!"), [(Some(2), ActionMapError::Name("Approve!".into()))]);
        assert_eq!(with("GET", "get"), [(Some(2), ActionMapError::Method)]);
        assert_eq!(
            with("\"Thing\"", "\"no thing\""),
            [(Some(2), ActionMapError::Kind("no thing".into()))]
        );
        assert_eq!(
            with("id = \"{ns}\"", "id = \"{zone}\""),
            [(Some(2), ActionMapError::Id("{zone}".into(), PatternError::UnknownName))]
        );
        let grpc = |method: &str| {
            let entry = ENTRY.replace("methods = [\"GET\"]", &format!("grpc = \"{method}\""));
            faults(&format!("hosts = [\"h\"]{}", entry.replace("path = \"/x/{ns}\"", "")))
        };
        for bad in ["a.B", "/a.B/C", "a.B/C/D", "a..B/C", "a.B/{m}"] {
            assert_eq!(grpc(bad), [(Some(2), ActionMapError::Grpc(bad.into()))]);
        }
        assert_eq!(
            with("methods", "grpc = \"a.B/C\"\nmethods"),
            [(Some(2), ActionMapError::Grpc("a.B/C".into()))]
        );
        assert_eq!(faults(ENTRY), [(Some(2), ActionMapError::NoHost)]);
        assert_eq!(
            faults(&format!("hosts = [\"h\"]{ENTRY}{ENTRY}")),
            [(Some(9), ActionMapError::Unreachable("a.b".into()))]
        );
    }
}
