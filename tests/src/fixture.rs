//! Fixtures: one file each, a header of `name: value` lines, an empty line, then base64.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::world::{Change, World};

/// What the bytes of a fixture are, and so which entry points judge them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Evidence for `POST /v1/token`.
    Evidence,
    /// Evidence of a new key for `POST /v1/enrol/authenticator`.
    Registration,
    /// A JWT for a gateway.
    Token,
}

impl Kind {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Evidence, "evidence"),
        (Self::Registration, "registration"),
        (Self::Token, "token"),
    ];
}

/// One fixture.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// Where it was read from.
    pub path: PathBuf,
    /// `accepted`, or a rejection code.
    pub expect: String,
    /// What the bytes are.
    pub kind: Kind,
    /// When it is judged.
    pub now: i64,
    /// Client certificate of the connection, by its name in the world; none: no certificate.
    pub peer: Option<String>,
    /// Changes to what the verifier knows.
    pub with: Vec<Change>,
    /// For tokens: what they are used for, as `METHOD URL [BODY]`.
    pub request: Option<String>,
    /// Clause that demands the answer.
    pub spec: String,
    /// What was done to genuine bytes.
    pub comment: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A fixture file that cannot be read: a fault of the tree, never skipped.
#[derive(Debug, thiserror::Error)]
pub enum FixtureError {
    /// The file system.
    #[error("cannot read {0}")]
    Io(PathBuf, #[source] io::Error),
    /// A header is missing, unknown or malformed.
    #[error("{0}: header {1:?} is missing or malformed")]
    Header(PathBuf, &'static str),
    /// The body is not base64.
    #[error("{0}: body is not base64")]
    Body(PathBuf),
}

/// The folder of all fixtures.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

/// The world that the fixtures were made in.
///
/// # Errors
/// [`FixtureError`].
pub fn world() -> Result<World, FixtureError> {
    let path = folder().join("world.json");
    let text = fs::read(&path).map_err(|error| FixtureError::Io(path.clone(), error))?;
    serde_json::from_slice(&text).map_err(|_| FixtureError::Header(path, "world"))
}

/// Every fixture in `accepted/` and `rejected/<code>/`: an unlisted file cannot hide.
///
/// # Errors
/// [`FixtureError`] for the first file that is no fixture.
pub fn all() -> Result<Vec<Fixture>, FixtureError> {
    let mut fixtures = Vec::new();
    for path in files(&folder().join("accepted"))? {
        fixtures.push(Fixture::read(&path)?);
    }
    for code in entries(&folder().join("rejected"))? {
        for path in files(&code)? {
            let fixture = Fixture::read(&path)?;
            // The folder is the code; a file in the wrong one is a fault.
            if code.file_name().and_then(|name| name.to_str()) != Some(fixture.expect.as_str()) {
                return Err(FixtureError::Header(path, "expect"));
            }
            fixtures.push(fixture);
        }
    }
    Ok(fixtures)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, FixtureError> {
    entries(folder)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, FixtureError> {
    let failed = |error| FixtureError::Io(folder.to_path_buf(), error);
    let mut paths = fs::read_dir(folder)
        .map_err(failed)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    paths.sort();
    Ok(paths)
}

impl Fixture {
    /// Reads one file.
    ///
    /// # Errors
    /// [`FixtureError`].
    pub fn read(path: &Path) -> Result<Self, FixtureError> {
        let text = fs::read_to_string(path)
            .map_err(|error| FixtureError::Io(path.to_path_buf(), error))?;
        let fault = |name| FixtureError::Header(path.to_path_buf(), name);
        let (header, body) = text.split_once("\n\n").ok_or_else(|| fault("header"))?;
        let mut found = std::collections::BTreeMap::new();
        for line in header.lines() {
            let (name, value) = line.split_once(": ").ok_or_else(|| fault("header"))?;
            found.insert(name, value);
        }
        let mut take = |name: &'static str| found.remove(name).ok_or_else(|| fault(name));
        let kind = take("kind")?;
        let peer = take("peer")?;
        let with = take("with")?;
        let request = take("request")?;
        let fixture = Self {
            path: path.to_path_buf(),
            expect: take("expect")?.into(),
            kind: Kind::ALL
                .into_iter()
                .find(|(_, name)| *name == kind)
                .map(|(kind, _)| kind)
                .ok_or_else(|| fault("kind"))?,
            now: take("now")?.parse().map_err(|_| fault("now"))?,
            peer: (peer != "none").then(|| peer.to_owned()),
            with: match with {
                "nothing" => Vec::new(),
                names => names
                    .split(", ")
                    .map(|name| Change::from_name(name).ok_or_else(|| fault("with")))
                    .collect::<Result<_, _>>()?,
            },
            request: (request != "none").then(|| request.to_owned()),
            spec: take("spec")?.into(),
            comment: take("comment")?.into(),
            bytes: STANDARD
                .decode(body.split_whitespace().collect::<String>())
                .map_err(|_| FixtureError::Body(path.to_path_buf()))?,
        };
        if found.is_empty() { Ok(fixture) } else { Err(fault("unknown")) }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// [`io::Error`].
    pub fn write(&self) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&self.path, self.text())
    }

    /// The file's content.
    pub fn text(&self) -> String {
        let with: Vec<_> = self.with.iter().map(|change| change.as_str()).collect();
        let with = if with.is_empty() { "nothing".to_owned() } else { with.join(", ") };
        let kind =
            Kind::ALL.into_iter().find(|(kind, _)| *kind == self.kind).map_or("", |(_, name)| name);
        let mut text = format!(
            "expect: {}\nkind: {kind}\nnow: {}\npeer: {}\nwith: {with}\nrequest: {}\nspec: {}\ncomment: {}\n\n",
            self.expect,
            self.now,
            self.peer.as_deref().unwrap_or("none"),
            self.request.as_deref().unwrap_or("none"),
            self.spec,
            self.comment,
        );
        let body = STANDARD.encode(&self.bytes);
        for line in body.as_bytes().chunks(76) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text
    }
}
