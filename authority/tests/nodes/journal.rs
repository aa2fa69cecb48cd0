//! Nodes that note yeses to reads in a journal of their own.

use std::process::Command;

use reqwest::{Method, StatusCode};
use signet_authority::journal::newest;
use signet_authority::store::{RevocationTarget, SessionKind};

use crate::disk::SmallDisk;
use crate::house::{House, Machine};
use crate::skip;
use crate::stage::{Node, PROGRAM};

const ROUTE: &str = "/v1/authorize/v1/namespaces/sandbox/routes/web";

/// A gateway, and somebody's token whom policy lets read and write.
struct Asker {
    gateway: reqwest::Client,
    machine: Machine,
    token: String,
}

impl Asker {
    async fn of(house: &House) -> Self {
        let machine = house.machine("bob").await;
        let token = house.token(&machine, SessionKind::Person).await;
        Self { gateway: house.gateway("edge"), machine, token }
    }

    async fn ask(&self, method: Method, gateways: &str) -> StatusCode {
        let request = self.gateway.request(method, format!("{gateways}{ROUTE}"));
        let request = request.bearer_auth(&self.token).header("host", "ctl.mesh.example");
        let peer = self.machine.thumbprint().to_hex();
        request.header("x-signet-peer-sha256", peer).send().await.unwrap().status()
    }

    async fn read(&self, gateways: &str) -> StatusCode {
        self.ask(Method::GET, gateways).await
    }
}

/// Yeses to gateways that are in the log, each once.
async fn permits(house: &House) -> usize {
    house.authority.journal.settled().await;
    let records = house.authority.store.audit_after(0, 10_000).await.unwrap();
    let mut details: Vec<String> = records
        .into_iter()
        .filter(|record| record.event == "authorize" && record.decision == "allowed")
        .map(|record| record.detail)
        .collect();
    let all = details.len();
    // Each begins with the decision's own id.
    details.sort_unstable();
    details.dedup();
    assert_eq!(details.len(), all);
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_does_not_wait_for_the_database_and_a_write_does() {
    let house = House::with_journal().await;
    let (asker, gateways) = (Asker::of(&house).await, house.gateways(""));
    // The token is looked up once.
    assert_eq!(asker.read(&gateways).await, StatusCode::OK);
    let held = house.hold_database().await;
    assert_eq!(asker.read(&gateways).await, StatusCode::OK);
    assert!(house.authority.journal.waiting() > 0);
    {
        let write = std::pin::pin!(asker.ask(Method::PUT, &gateways));
        let read = asker.read(&gateways);
        // The one that comes first is the read, though it was asked later.
        match futures_util::future::select(write, std::pin::pin!(read)).await {
            futures_util::future::Either::Right((read, write)) => {
                assert_eq!(read, StatusCode::OK);
                held.let_go().await;
                assert_eq!(write.await, StatusCode::OK);
            }
            futures_util::future::Either::Left(_) => panic!("the write did not wait"),
        }
    }
    assert_eq!(permits(&house).await, 4);
    assert_eq!(house.authority.journal.waiting(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_holds_for_writes_at_once_and_for_reads_as_soon_as_the_node_heard() {
    let house = House::with_journal().await;
    let gateways = house.gateways("");
    let (asker, other) = (Asker::of(&house).await, Asker::of(&house).await);
    for asker in [&asker, &other] {
        for _ in 0..2 {
            assert_eq!(asker.read(&gateways).await, StatusCode::OK);
        }
    }
    house.revoke_beside(RevocationTarget::Device(asker.machine.id.clone())).await;
    assert_eq!(asker.ask(Method::PUT, &gateways).await, StatusCode::UNAUTHORIZED);
    house.until_revoked(&asker.machine).await;
    assert_eq!(asker.read(&gateways).await, StatusCode::UNAUTHORIZED);
    let refused = house.authority.store.audit_after(0, 10_000).await.unwrap();
    let refused = refused.iter().filter(|record| record.code.as_deref() == Some("token-revoked"));
    assert_eq!(refused.count(), 2);
    // What this node revokes itself it knows.
    assert_eq!(other.read(&gateways).await, StatusCode::OK);
    house.revoke(RevocationTarget::Device(other.machine.id.clone())).await;
    assert_eq!(other.read(&gateways).await, StatusCode::UNAUTHORIZED);
}

/// This process makes what the test needs; the node that notes is the real program.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_node_had_noted_is_in_the_log_when_it_starts_again() {
    let house = House::start().await;
    let journal = name_journal(&house, "audit.journal");
    let mut node = Node::start(&house);
    let asker = Asker::of(&house).await;
    assert_eq!(asker.read(&node.gateways).await, StatusCode::OK);
    let held = house.hold_database().await;
    for _ in 0..5 {
        assert_eq!(asker.read(&node.gateways).await, StatusCode::OK);
    }
    node.kill();
    held.let_go().await;
    let (_, last) = newest(&journal).unwrap().unwrap();
    assert_eq!((last, permits(&house).await), (5, 1));
    // A person who looks now hears of it.
    let list = Command::new(PROGRAM)
        .args(["audit", "list", "--config"])
        .arg(house.settings_file())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&list.stderr);
    assert!(list.status.success(), "{said}");
    assert!(said.contains("5 records are in the journal"), "{said}");
    let node = Node::start(&house);
    assert_eq!(permits(&house).await, 6);
    assert_eq!(newest(&journal).unwrap(), None);
    assert_eq!(asker.read(&node.gateways).await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_has_one_node() {
    let house = House::with_journal().await;
    let second = Command::new(PROGRAM)
        .args(["serve", "--config"])
        .arg(house.settings_file())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success());
    assert!(said.contains("belongs to another process that serves"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_without_room_leaves_reads_to_the_database() {
    let Some(disk) = SmallDisk::mount() else {
        return skip("only root can mount the small disk that this fills");
    };
    let house = House::start().await;
    let path = disk.folder.with_file_name("audit.journal");
    name_journal(&house, path.to_str().unwrap());
    let node = Node::start(&house);
    let asker = Asker::of(&house).await;
    assert_eq!(asker.read(&node.gateways).await, StatusCode::OK);
    disk.fill();
    for _ in 0..20 {
        assert_eq!(asker.read(&node.gateways).await, StatusCode::OK);
    }
    while permits(&house).await < 21 {}
    // What fits into the page that it has.
    assert!(std::fs::metadata(&path).unwrap().len() <= 4096);
    disk.make_room();
    let held = house.hold_database().await;
    assert_eq!(asker.read(&node.gateways).await, StatusCode::OK);
    held.let_go().await;
    while permits(&house).await < 22 {}
}

/// Gives nodes that start from now on a journal.
fn name_journal(house: &House, name: &str) -> std::path::PathBuf {
    let file = house.settings_file();
    let settings = std::fs::read_to_string(&file).unwrap();
    let named = settings.replace("# journal = \"audit.journal\"", &format!("journal = \"{name}\""));
    assert_ne!(named, settings);
    std::fs::write(&file, named).unwrap();
    file.with_file_name(name)
}
