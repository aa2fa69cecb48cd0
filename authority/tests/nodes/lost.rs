//! COMMITs whose answer never comes: the connection ends between question and answer.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use signet_authority::store::{
    Appended, AuditEntry, Decision, Event, IntegrityKey, RevocationTarget, SqlStore, Store,
    StoreError,
};
use signet_evidence::UnixTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Notify;
use zeroize::Zeroizing;

use crate::postgres::{server, shared};
use crate::stage::records;

const NOW: UnixTime = UnixTime(1_790_000_000);

/// Where the next COMMIT is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    /// On the way there.
    Question,
    /// The server has it, and finds nobody to answer.
    Connection,
    /// The answer, on the way back.
    Answer,
}

/// A network in which one COMMIT is lost, and the connection with it.
#[derive(Default)]
struct Relay {
    next: Mutex<Option<Lost>>,
    /// The server's end is closed.
    is_lost: Notify,
    /// The client may notice.
    may_end: Notify,
}

impl Relay {
    /// To the Unix socket of a server.
    async fn start(server: PathBuf) -> (Arc<Self>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let relay = Arc::new(Self::default());
        let each = relay.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&server).await.unwrap();
                let relay = each.clone();
                tokio::spawn(async move { relay.carry(client, server).await });
            }
        });
        (relay, address)
    }

    async fn carry(&self, mut client: TcpStream, mut server: UnixStream) {
        let (mut there, mut back) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
        loop {
            tokio::select! {
                Ok(count @ 1..) = client.read(&mut there) => {
                    let sent = &there[..count];
                    let armed = if sent.ends_with(b"COMMIT\0") { self.take() } else { None };
                    if armed != Some(Lost::Question) {
                        server.write_all(sent).await.unwrap();
                    }
                    if armed == Some(Lost::Answer) {
                        assert_ne!(server.read(&mut back).await.unwrap(), 0);
                    }
                    if armed.is_some() {
                        drop(server);
                        self.is_lost.notify_one();
                        return self.may_end.notified().await;
                    }
                }
                Ok(count @ 1..) = server.read(&mut back) => {
                    if client.write_all(&back[..count]).await.is_err() {
                        return;
                    }
                }
                else => return,
            }
        }
    }

    fn take(&self) -> Option<Lost> {
        self.next.lock().unwrap().take()
    }

    /// Runs `writing` while its COMMIT is lost, and `meanwhile` before anybody notices.
    async fn lose<T>(
        &self,
        lost: Lost,
        writing: impl Future<Output = T>,
        meanwhile: impl Future<Output = ()>,
    ) -> T {
        *self.next.lock().unwrap() = Some(lost);
        let noticed = async {
            self.is_lost.notified().await;
            meanwhile.await;
            self.may_end.notify_one();
        };
        let (outcome, ()) = tokio::join!(writing, noticed);
        assert_eq!(self.take(), None);
        outcome
    }
}

fn entry(detail: &str) -> AuditEntry {
    let mut entry = AuditEntry::new(NOW, Event::Authorize, Decision::Allowed);
    entry.detail = detail.to_owned();
    entry
}

/// A store by way of the relay, and one past it.
async fn stores() -> (Arc<Relay>, SqlStore, SqlStore) {
    let cluster = shared();
    let url = cluster.database().await;
    let (relay, address) = Relay::start(cluster.folder().join(".s.PGSQL.5432")).await;
    let database = url.split('?').next().unwrap().rsplit('/').next().unwrap();
    let by_relay = format!("postgres://signet@{address}/{database}");
    let integrity = || IntegrityKey::new(&Zeroizing::new([7; 32]));
    let direct = SqlStore::create(server(&url), integrity()).await.unwrap();
    let relayed = SqlStore::open(server(&by_relay), integrity()).await.unwrap();
    (relay, relayed, direct)
}

async fn count(store: &dyn Store, detail: &str) -> usize {
    records(store).await.into_iter().filter(|record| record.detail == detail).count()
}

#[tokio::test]
async fn a_record_whose_commit_was_not_answered_stands_once() {
    let (relay, store, direct) = stores().await;
    for lost in [Lost::Question, Lost::Connection, Lost::Answer] {
        let detail = format!("alone, {lost:?} lost");
        let one = entry(&detail);
        relay.lose(lost, store.append_audit(&one), async {}).await.unwrap();
        assert_eq!(count(&direct, &detail).await, 1, "{detail}");
        // More than one commit takes, all alike: each is one of its own.
        let detail = format!("of many, {lost:?} lost");
        let one = entry(&detail);
        let all = join_all((0..40).map(|_| store.append_audit(&one)));
        let written = relay.lose(lost, all, async {}).await;
        written.into_iter().collect::<Result<Vec<_>, StoreError>>().unwrap();
        assert_eq!(count(&direct, &detail).await, 40, "{detail}");
    }
}

/// Whether a yes that nobody heard of counts is what the lost COMMIT says, and no later look.
#[tokio::test]
async fn a_revocation_after_a_commit_that_was_not_answered_takes_nothing_back() {
    for (lost, expected, standing) in
        [(Lost::Question, Appended::Overtaken, 0), (Lost::Answer, Appended::Written, 1)]
    {
        let (relay, store, direct) = stores().await;
        let one = entry("yes");
        let revoked = async {
            let revocation = AuditEntry::new(NOW, Event::Revoke, Decision::Allowed);
            let made =
                direct.revoke(&RevocationTarget::Everything, NOW, &revocation).await.unwrap();
            assert!(made.is_some());
        };
        let appended = relay.lose(lost, store.append_as_of(&one, 0), revoked).await.unwrap();
        assert_eq!((appended, count(&direct, "yes").await), (expected, standing), "{lost:?}");
    }
}
