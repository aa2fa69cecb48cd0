//! A witness of the authority's audit log: remembers the last checkpoint, and demands of each new one
//! the proof that it continues that. What it remembers is on its own disk, where nobody who owns the
//! authority can change it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use signet_evidence::UnixTime;
use signet_verifier::log::{
    Checkpoint, FileLogSigner, Inconsistent, LogSigner, Note, NoteKey, NoteKeyError, SignatureKind,
    Succession, TreeHead, Update, UpdateError,
};
use signet_verifier::token::SigningUnavailable;
use thiserror::Error;
use tokio::sync::{Mutex, Notify, watch};
use zeroize::Zeroizing;

/// The checkpoint that is remembered, as the log signed it.
const CHECKPOINT: &str = "checkpoint";
/// The update that contradicted it; never overwritten.
const ALARM: &str = "alarm";
const KEY: &str = "witness.key";
/// The keys of the log that were believed so far, one a line, the newest last.
const LOG_KEYS: &str = "log-keys";
/// Longest answer that is read.
const MAX_ANSWER: usize = 128 * 1024;
/// How often the log is looked at where no event comes.
const LOOK: Duration = Duration::from_secs(10);

/// How a witness is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WitnessState {
    /// Nothing was seen yet.
    New,
    /// The log continues what was seen of it; this is its size.
    Sound(u64),
    /// The log contradicts its own signature. It stays so until a person has looked and has removed the
    /// file `alarm`.
    Alarm(String),
}

/// The witness. It holds one folder of its own: key, checkpoint and alarm.
pub struct Witness {
    folder: PathBuf,
    name: String,
    signer: FileLogSigner,
    /// One look at a time.
    known: Mutex<Known>,
    state: watch::Sender<WitnessState>,
}

/// What is remembered of the log.
struct Known {
    /// Its keys, the newest last; never empty. Checkpoints count when the newest signed them.
    keys: Vec<NoteKey>,
    head: Option<TreeHead>,
}

/// A witness that cannot do its work.
#[derive(Debug, Error)]
pub enum WitnessError {
    /// The folder.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its own files are not what it wrote.
    #[error("{} is not what this witness wrote; look at it before you remove it", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The name.
    #[error("a witness is called after its SPIFFE ID")]
    Name(#[from] NoteKeyError),
    /// Its key.
    #[error("the witness's key cannot be used")]
    Key(#[from] SigningUnavailable),
    /// The authority does not answer.
    #[error("the authority does not answer")]
    Http(#[from] reqwest::Error),
    /// The authority answers with something else.
    #[error("the authority's answer about its log cannot be used")]
    Answer(#[source] UpdateError),
    /// The log contradicts its own signature.
    #[error("the audit log of the authority was rewritten")]
    Alarm(#[source] Inconsistent),
    /// It did so before.
    #[error("{} says that the audit log was rewritten; look into it, then remove the file", path.display())]
    Alarmed {
        /// The file with the proof.
        path: PathBuf,
    },
}

impl Witness {
    /// Opens the folder of the witness of the gateway or service with this SPIFFE ID; makes folder and
    /// key where there are none. `log` is the key that `signet-authority gateway` puts beside the
    /// certificate as `authority-log.vkey`. A key that was not believed before takes the place of the last
    /// one, as after an emergency; what is remembered of the log stays.
    ///
    /// # Errors
    /// See [`WitnessError`]; what cannot be read is never taken for nothing.
    pub fn open(folder: &Path, spiffe_id: &str, log: NoteKey) -> Result<Self, WitnessError> {
        let io = |source| WitnessError::Io { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(io)?;
        let name = spiffe_id.trim_start_matches("spiffe://").to_owned();
        let signer = load_key(&folder.join(KEY))?;
        NoteKey::new(&name, SignatureKind::Witness, signer.public_key())?;
        let keys = known_keys(folder, log)?;
        let known = read(&folder.join(CHECKPOINT))?.map(|text| {
            let note = Note::parse(&text).ok();
            let checkpoint = note.and_then(|note| Checkpoint::verify_by_any(&note, &keys).ok());
            let path = folder.join(CHECKPOINT);
            checkpoint.map(|one| one.head).ok_or(WitnessError::Malformed { path })
        });
        let known = known.transpose()?;
        let state = match (known, folder.join(ALARM).exists()) {
            (_, true) => WitnessState::Alarm("an earlier alarm was not looked at".to_owned()),
            (None, false) => WitnessState::New,
            (Some(head), false) => WitnessState::Sound(head.size),
        };
        let known = Mutex::new(Known { keys, head: known });
        let state = watch::Sender::new(state);
        Ok(Self { folder: folder.to_owned(), name, signer, known, state })
    }

    /// How it is doing, now and later.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<WitnessState> {
        self.state.subscribe()
    }

    /// Looks at the log of the authority at `authority` once: asks for the proof, remembers the new
    /// checkpoint, and cosigns it there. Returns the log's size.
    ///
    /// # Errors
    /// [`WitnessError::Alarm`] when the log contradicts what is remembered, which stays as it is; and
    /// others, after which the next look may go well.
    pub async fn look(&self, http: &reqwest::Client, authority: &str) -> Result<u64, WitnessError> {
        let mut known = self.known.lock().await;
        let alarm = self.folder.join(ALARM);
        if alarm.exists() {
            return Err(WitnessError::Alarmed { path: alarm });
        }
        let old = known.head.map_or(0, |head| head.size);
        let url = format!("{authority}/log/update?old={old}");
        let text = bounded(http.get(url).send().await?.error_for_status()?).await?;
        let update = Update::parse(&text).map_err(WitnessError::Answer)?;
        if signs_another(&update.note, &known.keys) {
            self.follow_keys(http, authority, &mut known).await?;
        }
        let newest = known.keys.last().ok_or(WitnessError::Name(NoteKeyError::Format))?;
        let checked = update.accept(known.head.as_ref(), newest);
        let new = match checked {
            Ok(checked) => checked,
            Err(UpdateError::Inconsistent(inconsistent)) => {
                return Err(self.alarm(&text, inconsistent)?);
            }
            Err(error) => return Err(WitnessError::Answer(error)),
        };
        if known.head != Some(new.head) {
            // On the disk first: what was cosigned is never forgotten.
            self.write(CHECKPOINT, update.note.to_string().as_bytes(), 0o644)?;
            known.head = Some(new.head);
        }
        self.state.send_replace(WitnessState::Sound(new.head.size));
        self.cosign(http, authority, &new).await?;
        Ok(new.head.size)
    }

    /// Looks whenever `news` says that something new was signed, and every ten seconds, for as long as it
    /// is polled. What goes wrong is logged.
    pub async fn follow(&self, http: &reqwest::Client, authority: &str, news: &Notify) {
        let mut alarmed = false;
        loop {
            match self.look(http, authority).await {
                Ok(_) => alarmed = false,
                Err(WitnessError::Alarmed { .. }) if alarmed => {}
                Err(error @ (WitnessError::Alarm(_) | WitnessError::Alarmed { .. })) => {
                    alarmed = true;
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the authority's audit log was rewritten: tell whoever runs it, by another way"
                    );
                }
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot witness the audit log"
                ),
            }
            // Whichever comes first.
            let _ = tokio::time::timeout(LOOK, news.notified()).await;
        }
    }

    /// Takes the keys that the log's keys named as their successors, one after the other.
    async fn follow_keys(
        &self,
        http: &reqwest::Client,
        authority: &str,
        known: &mut Known,
    ) -> Result<(), WitnessError> {
        let url = format!("{authority}/log/keys");
        let text = bounded(http.get(url).send().await?.error_for_status()?).await?;
        let answer: Keys =
            serde_json::from_str(&text).map_err(|_| WitnessError::Answer(UpdateError::Format))?;
        for note in answer.successions {
            let (Ok(note), Some(newest)) = (Note::parse(&note), known.keys.last()) else {
                continue;
            };
            // Those of keys that ours came from, and of others, say nothing about what comes next.
            let Ok(Succession { next }) = Succession::verify(&note, newest) else { continue };
            if known.keys.contains(&next) {
                continue;
            }
            tracing::info!(key = %next, "the log has a new key, named by the one before it");
            known.keys.push(next);
        }
        self.write(LOG_KEYS, lines(&known.keys).as_bytes(), 0o644)
    }

    async fn cosign(
        &self,
        http: &reqwest::Client,
        authority: &str,
        checkpoint: &Checkpoint,
    ) -> Result<(), WitnessError> {
        let mut note = Note::new(checkpoint.to_string());
        note.add(note.cosign(&self.name, &self.signer, now())?);
        let key = NoteKey::new(&self.name, SignatureKind::Witness, self.signer.public_key())?;
        let body = json!({"key": key.to_string(), "note": note.to_string()});
        let url = format!("{authority}/log/cosignatures");
        http.post(url).json(&body).send().await?.error_for_status()?;
        Ok(())
    }

    /// Keeps the proof, and says so from now on.
    fn alarm(&self, text: &str, found: Inconsistent) -> Result<WitnessError, WitnessError> {
        self.state.send_replace(WitnessState::Alarm(found.to_string()));
        self.write(ALARM, text.as_bytes(), 0o644)?;
        Ok(WitnessError::Alarm(found))
    }

    fn write(&self, name: &str, content: &[u8], mode: u32) -> Result<(), WitnessError> {
        replace(&self.folder, name, content, mode)
            .map_err(|source| WitnessError::Io { path: self.folder.join(name), source })
    }
}

/// What `/log/keys` answers.
#[derive(serde::Deserialize)]
struct Keys {
    successions: Vec<String>,
}

/// Whether the log signed with a key that is not known.
fn signs_another(note: &Note, known: &[NoteKey]) -> bool {
    let name = known.last().map(NoteKey::name);
    let of_log = note.signatures().iter().filter(|one| Some(one.name.as_str()) == name);
    of_log.into_iter().any(|one| known.iter().all(|key| key.id() != one.key_id))
}

/// The keys that were believed so far; `log` is the newest where it is not one of them.
fn known_keys(folder: &Path, log: NoteKey) -> Result<Vec<NoteKey>, WitnessError> {
    let path = folder.join(LOG_KEYS);
    let text = read(&path)?.unwrap_or_default();
    let keys: Result<Vec<NoteKey>, _> = text.lines().map(str::parse).collect();
    let mut keys = keys.map_err(|_| WitnessError::Malformed { path: path.clone() })?;
    if !keys.contains(&log) {
        keys.push(log);
        let written = replace(folder, LOG_KEYS, lines(&keys).as_bytes(), 0o644);
        written.map_err(|source| WitnessError::Io { path, source })?;
    }
    Ok(keys)
}

fn lines(keys: &[NoteKey]) -> String {
    keys.iter().map(|key| format!("{key}\n")).collect()
}

/// The whole new content or the whole old, whatever happens in between.
fn replace(folder: &Path, name: &str, content: &[u8], mode: u32) -> io::Result<()> {
    let new = folder.join(format!(".{name}.new"));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, folder.join(name))?;
    File::open(folder)?.sync_all()
}

fn read(path: &Path) -> Result<Option<String>, WitnessError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(WitnessError::Io { path: path.to_owned(), source }),
    }
}

fn load_key(path: &Path) -> Result<FileLogSigner, WitnessError> {
    let io = |source| WitnessError::Io { path: path.to_owned(), source };
    let pkcs8 = match fs::read(path) {
        Ok(pkcs8) => Zeroizing::new(pkcs8),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let pkcs8 = FileLogSigner::generate()?;
            let folder = path.parent().unwrap_or(Path::new("."));
            replace(folder, KEY, &pkcs8, 0o600).map_err(io)?;
            pkcs8
        }
        Err(source) => return Err(io(source)),
    };
    Ok(FileLogSigner::from_pkcs8(&pkcs8)?)
}

async fn bounded(mut response: reqwest::Response) -> Result<String, WitnessError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_ANSWER {
            return Err(WitnessError::Answer(UpdateError::Format));
        }
    }
    String::from_utf8(bytes).map_err(|_| WitnessError::Answer(UpdateError::Format))
}

fn now() -> UnixTime {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime(i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX))
}
