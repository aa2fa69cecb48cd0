//! Several authorities on one PostgreSQL: what races wins once, what one revokes all refuse, and
//! whatever fails takes nothing along and comes back by itself.
#![allow(clippy::unwrap_used)] // a test ends where its stage cannot be set

mod disk;
#[path = "../house/mod.rs"]
#[allow(dead_code)] // this suite uses its part of the house
mod house;
#[path = "../postgres/mod.rs"]
mod postgres;
mod proxy;
mod races;
mod stage;

use std::time::{Duration, Instant};

use signet_authority::store::RevocationTarget;

use disk::SmallDisk;
use postgres::{Cluster, shared};
use proxy::Proxy;
use stage::{Stage, Told, all, own_server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_gateways_that_ask_three_nodes_at_once_one_is_told_yes() {
    let stage = Stage::set(&shared().database().await).await;
    let tokens = stage.many(20).await;
    let told = all(stage.redeem_all(&tokens, 3)).await;
    for once in &tokens {
        let of = |wanted| {
            told.iter().filter(|(other, told)| other.id == once.id && *told == wanted).count()
        };
        assert_eq!((of(Told::Active), of(Told::Inactive)), (1, 8));
    }
    stage.check(&told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_revokes_the_others_refuse_within_a_second() {
    let stage = Stage::set(&shared().database().await).await;
    let tokens = stage.many(3).await;
    stage.house.revoke(RevocationTarget::Device(stage.machine.id.clone())).await;
    let revoked = Instant::now();
    // The store refuses at once; what is measured is that each node knows by itself.
    for (node, once) in tokens.iter().enumerate() {
        while stage.redeem(node, once).await == Told::Active {}
        assert_eq!(stage.redeem(node, once).await, Told::Inactive);
    }
    for node in &stage.nodes {
        let list = || async {
            let answer = stage.house.stranger().get(format!("{}/status/0", node.clients)).send();
            answer.await.unwrap().headers()["etag"].clone()
        };
        let here = stage.house.stranger().get(stage.house.clients("/status/0")).send();
        let here = here.await.unwrap().headers()["etag"].clone();
        while list().await != here {
            assert!(revoked.elapsed() < Duration::from_secs(20));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_killed_takes_nothing_along() {
    let mut stage = Stage::set(&shared().database().await).await;
    let tokens = stage.many(60).await;
    let asking = stage.redeem_all(&tokens, 1);
    tokio::time::sleep(Duration::from_millis(100)).await;
    stage.nodes[0].kill();
    let told = all(asking).await;
    stage.check(&told).await;
    stage.nodes.remove(0);
    stage.until_ready().await;
    // Whatever the dead node left under way is free: each token is used up now.
    let again = all(stage.redeem_all(&tokens, 1)).await;
    let both: Vec<_> = told.into_iter().chain(again).collect();
    stage.check(&both).await;
    let records = stage.records().await;
    for once in &tokens {
        let used = |record: &&signet_authority::store::AuditRecord| {
            record.event == "redeem"
                && record.decision == "allowed"
                && record.token.as_deref() == Some(&once.id)
        };
        assert_eq!(records.iter().filter(used).count(), 1);
    }
}

/// Asks until something fails, makes `trouble`, waits for 503, ends the trouble, and checks that
/// nothing was lost and that the service came back by itself.
async fn survives(stage: &Stage, trouble: impl AsyncFnOnce(), end: impl AsyncFnOnce()) {
    let before = stage.many(30).await;
    let kept = stage.records().await.len();
    let asking = stage.redeem_all(&before, 1);
    trouble().await;
    stage.until_down(&before[0]).await;
    end().await;
    stage.until_ready().await;
    let told = all(asking).await;
    let again = all(stage.redeem_all(&before, 1)).await;
    let both: Vec<_> = told.into_iter().chain(again).collect();
    stage.check(&both).await;
    assert!(stage.records().await.len() >= kept);
    // And it works as before.
    let fresh = stage.once().await;
    assert_eq!(stage.redeem(1, &fresh).await, Told::Active);
    assert_eq!(stage.redeem(2, &fresh).await, Told::Inactive);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_is_killed_under_load_loses_nothing() {
    let (mut cluster, url) = own_server("").await;
    let stage = Stage::set(&url).await;
    let cluster = std::cell::RefCell::new(&mut cluster);
    let kill = async || cluster.borrow_mut().kill();
    let resume = async || cluster.borrow_mut().resume();
    survives(&stage, kill, resume).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_is_cut_loses_nothing() {
    let (cluster, url) = own_server("").await;
    let proxy = Proxy::start(cluster.folder().join(".s.PGSQL.5432")).await;
    let stage = Stage::set(&proxy.url(&url)).await;
    survives(&stage, async || proxy.cut(), async || proxy.mend()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_the_database_loses_nothing() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("NOT CHECKED: only root can mount the small disk that this fills");
        return;
    };
    let cluster = Cluster::start_on(&disk.folder);
    let stage = Stage::set(&cluster.database().await).await;
    survives(&stage, async || disk.fill(), async || disk.make_room()).await;
}
