//! Nodes of one version on the tables of another.

use std::path::Path;

use signet_authority::store::{
    Authorisation, Event, OpenError, SessionKind, SqlStore, Store, StoreError,
};
use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection, SqliteConnection};

use super::rows::{NOW, allowed, enrol_device, enrol_key, session_record};
use super::{Bench, Place, integrity};

/// Brings the tables to what these files say, as another version of the program would.
async fn migrate(place: &Place, folder: &Path) {
    let mut migrations = Migrator::new(folder).await.unwrap();
    migrations.set_ignore_missing(true);
    if place.is_postgresql() {
        let mut connection = PgConnection::connect(&place.url).await.unwrap();
        migrations.run(&mut connection).await.unwrap();
    } else {
        let mut connection = SqliteConnection::connect(&place.url).await.unwrap();
        migrations.run(&mut connection).await.unwrap();
    }
}

fn files(place: &Place) -> std::path::PathBuf {
    let kind = if place.is_postgresql() { "postgres" } else { "sqlite" };
    Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(kind)
}

/// The migrations up to a number.
fn up_to(place: &Place, last: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(files(place)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.split('_').next().unwrap().parse::<u32>().unwrap() <= last {
            std::fs::copy(entry.path(), folder.path().join(name)).unwrap();
        }
    }
    folder
}

/// Everything that a node does all day, on connections that did it before.
async fn a_days_work(store: &SqlStore, ek: u8) {
    let device = enrol_device(store, ek).await;
    let key = [ek; 4];
    let before = store.credentials_of("alice").await.unwrap().len();
    if before == 0 {
        enrol_key(store, &device, &key, Authorisation::Grant).await.unwrap();
    }
    let action = session_record(store, &device, SessionKind::Action).await;
    store.mint(&action, &allowed(Event::TokenAction)).await.unwrap();
    store.redeem(&action.token.id, NOW, &allowed(Event::Redeem)).await.unwrap();
    assert!(store.session(action.token.session).await.unwrap().is_some());
    assert!(store.token(&action.token.id).await.unwrap().unwrap().redeemed);
    store.machine(&device.id).await.unwrap();
    store.revocations_after(0).await.unwrap();
    store.metadata().await.unwrap();
    store.ek_pins().await.unwrap();
    store.ticket_requests(NOW).await.unwrap();
    assert!(!store.audit_after(0, 1000).await.unwrap().is_empty());
    store.ping().await.unwrap();
}

pub(super) async fn data_of_the_first_schema_is_still_there(bench: &impl Bench) {
    let place = bench.place().await;
    migrate(&place, up_to(&place, 6).path()).await;
    place.execute("INSERT INTO operators (name, created_at) VALUES ('alice', 1)").await;
    let store = SqlStore::open(place.location.clone(), integrity()).await.unwrap();
    a_days_work(&store, 1).await;
    store.close().await;
}

pub(super) async fn a_node_goes_on_while_a_later_one_migrates(bench: &impl Bench) {
    let place = bench.place().await;
    let store = SqlStore::create(place.location.clone(), integrity()).await.unwrap();
    a_days_work(&store, 1).await;
    let folder = up_to(&place, u32::MAX);
    let mut later = String::from("CREATE TABLE later (id BIGINT);\n");
    for table in place.tables().await {
        later.push_str(&format!("ALTER TABLE {table} ADD COLUMN added_later TEXT;\n"));
    }
    std::fs::write(folder.path().join("9999_later.sql"), later).unwrap();
    migrate(&place, folder.path()).await;
    a_days_work(&store, 2).await;
    store.close().await;
    // And starts on it, too.
    let store = SqlStore::open(place.location.clone(), integrity()).await.unwrap();
    a_days_work(&store, 3).await;

    place.execute("UPDATE compatibility SET oldest = 9999").await;
    assert!(matches!(store.ping().await, Err(StoreError::Outdated)));
    let write = store.append_audit(&allowed(Event::Authorize)).await;
    assert!(matches!(write, Err(StoreError::Outdated)), "{write:?}");
    let open = SqlStore::open(place.location, integrity()).await.map(|_| ());
    assert!(matches!(open, Err(OpenError::Outdated { .. })), "{open:?}");
}
