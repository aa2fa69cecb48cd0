//! `backup` and `restore`.

use std::fs::{self, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use serde_json::json;
use signet_authority::config::Config;
use signet_authority::keys;
use signet_authority::state::system_clock;
use signet_authority::store::{AuditEntry, Decision, Event, OpenError, RestoreTime, SqlStore};

use super::output::Output;
use super::ticket::open_store;

pub(super) async fn back_up(settings: &Path, file: &Path, output: Output) -> anyhow::Result<()> {
    let store = open_store(&Config::load(settings)?).await?;
    let written = write(&store, file).await;
    if written.is_err() {
        // Nobody should take half a backup for one. One that was there before is not ours.
        let ours = !matches!(&written, Err(error) if error.is::<Exists>());
        if ours {
            let _ = fs::remove_file(file);
        }
    }
    let header = written?;
    store.close().await;
    let text = format!(
        "{}: {} audit records, schema {}; keep a copy of the key directory apart",
        file.display(),
        header.records,
        header.schema
    );
    output.line(&text, &serde_json::to_value(header)?)
}

/// Nothing is overwritten.
#[derive(Debug, thiserror::Error)]
#[error("the file exists already; choose another name")]
struct Exists;

async fn write(
    store: &SqlStore,
    file: &Path,
) -> anyhow::Result<signet_authority::store::BackupHeader> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(file);
    let opened = opened.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => anyhow::Error::new(Exists),
        _ => error.into(),
    });
    let place = || format!("cannot write {}", file.display());
    let mut out = BufWriter::new(opened.with_context(place)?);
    let header = store.back_up(system_clock()(), &mut out).await.with_context(place)?;
    out.flush().with_context(place)?;
    out.get_ref().sync_all().with_context(place)?;
    Ok(header)
}

pub(super) async fn restore(settings: &Path, file: &Path, output: Output) -> anyhow::Result<()> {
    let config = Config::load(settings)?;
    let place = || format!("cannot restore {}", file.display());
    let mut backup = fs::File::open(file).with_context(place)?;
    let store = open_or_create(&config).await?;
    let now = system_clock()();
    let answering = config.settings.lifetimes.challenge.get_ref().duration();
    let time = RestoreTime { now, refuse_challenges_until: now.plus(answering) };
    let mut entry = AuditEntry::new(now, Event::Restore, Decision::Allowed);
    entry.detail =
        format!("from {}; what was recorded after that backup is missing", file.display());
    let restored = store.restore(&mut backup, time, &entry).await.with_context(place)?;
    store.close().await;
    let header = restored.header;
    let text = format!(
        "{} rows as of {}, {} audit records; {} live sessions ended\n\
         revocations made since are not in it: make them again before the nodes start",
        restored.rows, header.made_at, header.records, restored.ended
    );
    output.line(
        &text,
        &json!({
            "rows": restored.rows,
            "made_at": header.made_at,
            "records": header.records,
            "sessions_ended": restored.ended,
        }),
    )
}

async fn open_or_create(config: &Config) -> anyhow::Result<SqlStore> {
    let integrity = || keys::load_integrity(&config.keys());
    match SqlStore::create(config.database(), integrity()?).await {
        Err(OpenError::Exists { .. }) => Ok(SqlStore::open(config.database(), integrity()?).await?),
        created => Ok(created?),
    }
}
