//! Hearing what other nodes and processes wrote.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Location;
use super::database::in_time;
use super::postgres::{self, Server};
use super::sqlite::{self, File};

/// How often SQLite is asked whether anything was written; PostgreSQL tells.
const POLL: Duration = Duration::from_millis(20);
/// After how much silence a listening connection is asked whether it still works, and how long after
/// a failure the next attempt is made.
const SILENCE: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(250);

/// Started by the first who wants to hear.
#[derive(Default)]
pub(super) struct News(OnceLock<Listening>);

struct Listening {
    heard: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl News {
    pub(super) fn subscribe(&self, location: &Location) -> watch::Receiver<u64> {
        let listening = self.0.get_or_init(|| {
            let (sender, heard) = watch::channel(0);
            let task = match location.clone() {
                Location::File(file) => tokio::spawn(follow_file(file, sender)),
                Location::Server(server) => tokio::spawn(follow_server(server, sender)),
            };
            Listening { heard, task }
        });
        let mut heard = listening.heard.clone();
        heard.mark_unchanged();
        heard
    }
}

impl Drop for News {
    fn drop(&mut self) {
        if let Some(listening) = self.0.get() {
            listening.task.abort();
        }
    }
}

fn tell(news: &watch::Sender<u64>) {
    news.send_modify(|count| *count += 1);
}

async fn follow_file(file: File, news: watch::Sender<u64>) {
    loop {
        if let Err(error) = poll(&file, &news).await {
            tracing::debug!(%error, "cannot ask the database for news");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn poll(file: &File, news: &watch::Sender<u64>) -> Result<(), sqlx::Error> {
    let mut connection = file.connect().await?;
    // What was written before this connection was there is news too.
    let mut last = None;
    loop {
        let version = sqlite::version(&mut connection).await?;
        if last.replace(version) != Some(version) {
            tell(news);
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn follow_server(server: Server, news: watch::Sender<u64>) {
    loop {
        if let Err(error) = listen(&server, &news).await {
            tracing::debug!(%error, "cannot listen for news of the database");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn listen(server: &Server, news: &watch::Sender<u64>) -> Result<(), sqlx::Error> {
    let mut listener = server.listener().await?;
    in_time(listener.listen(postgres::CHANNEL)).await?;
    // What was said before counts as heard by whoever reads now.
    tell(news);
    loop {
        match tokio::time::timeout(SILENCE, listener.try_recv()).await {
            Ok(heard) => {
                // Without a notification the connection was lost, and with it what was said meanwhile.
                let lost = heard?.is_none();
                tell(news);
                if lost {
                    return Ok(());
                }
            }
            Err(_) => {
                let alive = sqlx::query("SELECT 1").execute(&mut listener);
                in_time(alive).await?;
            }
        }
    }
}
