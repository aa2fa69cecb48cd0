use signet_verifier::events::Revoked;
use signet_verifier::token::claims::{Confirmation, Facts, Status, StatusListEntry};

use super::*;

const ISSUER: &str = "https://authority.example";

fn knowledge(writes: Duration, reads: Duration) -> Knowledge {
    let settings = Settings {
        authority: "https://localhost:9443".into(),
        authority_ca: Vec::new(),
        certificate: Vec::new(),
        key: rustls::pki_types::PrivatePkcs8KeyDer::from(Vec::new()).into(),
        issuer: ISSUER.into(),
        audience: "mesh.example".into(),
        bounds: Bounds { writes, reads },
    };
    Knowledge::new(&settings)
}

/// One that was just proved to know all, up to position 10.
fn fresh() -> Knowledge {
    let knowledge = knowledge(Duration::from_secs(60), Duration::from_secs(600));
    knowledge.reset(10, Place::default(), HashMap::new());
    knowledge.prove(10, Moment::now());
    knowledge
}

fn claims(uri: &str, idx: u64) -> TokenClaims {
    let status_list = StatusListEntry { idx, uri: uri.into() };
    TokenClaims {
        iss: ISSUER.into(),
        aud: "mesh.example".into(),
        sub: "alice".into(),
        client_id: "spiffe://mesh.example/device/01".into(),
        iat: 0,
        nbf: 0,
        exp: 0,
        jti: String::new(),
        sid: String::new(),
        auth_time: None,
        acr: "signet.uv".into(),
        amr: Vec::new(),
        cnf: Confirmation { x5t_s256: None, ckt: None },
        scope: None,
        authorization_details: None,
        status: Status { status_list },
        signet: Facts {
            human: true,
            uvm: None,
            uvm_src: None,
            key_att: None,
            dev: "proven".into(),
            boot: "approved".into(),
            pres_exp: None,
            sess_exp: 0,
            x5t_hex: String::new(),
            once: false,
        },
    }
}

fn standing(knowledge: &Knowledge, list: u64, idx: u64, access: Access) -> &'static str {
    let claims = claims(&format!("{ISSUER}/status/{list}"), idx);
    said(knowledge.standing(&claims, access))
}

fn said(standing: Result<(), Refused>) -> &'static str {
    match standing {
        Ok(()) => "good",
        Err(Refused::Revoked) => "revoked",
        Err(Refused::Stale) => "stale",
        Err(_) => "other",
    }
}

fn event(after: i64, position: i64, kind: &str, place: Option<Place>) -> Revocations {
    let revoked = vec![Revoked { kind: kind.into(), id: String::new(), place }];
    Revocations { after, position, revoked }
}

#[test]
fn a_revoked_place_is_refused_and_its_neighbours_are_not() {
    let knowledge = fresh();
    assert_eq!(standing(&knowledge, 3, 7, Access::Write), "good");
    let place = Some(Place { list: 3, idx: 7 });
    knowledge.apply(&event(10, 11, "session", place)).unwrap();
    assert_eq!(standing(&knowledge, 3, 7, Access::Read), "revoked");
    for (list, idx) in [(3, 6), (3, 8), (2, 7), (4, 7)] {
        assert_eq!(standing(&knowledge, list, idx, Access::Write), "good", "{list} {idx}");
    }
}

#[test]
fn everything_refuses_all_places_before_its_own() {
    let knowledge = fresh();
    knowledge.apply(&event(10, 11, "all", Some(Place { list: 1, idx: 5 }))).unwrap();
    for (list, idx, expected) in
        [(0, 65_535, "revoked"), (1, 4, "revoked"), (1, 5, "good"), (2, 0, "good")]
    {
        assert_eq!(standing(&knowledge, list, idx, Access::Write), expected, "{list} {idx}");
    }
    // An earlier one that comes late takes nothing back.
    knowledge.apply(&event(11, 12, "all", Some(Place { list: 0, idx: 1 }))).unwrap();
    assert_eq!(standing(&knowledge, 1, 4, Access::Write), "revoked");
}

#[test]
fn what_was_heard_before_changes_nothing_and_what_was_missed_is_noticed() {
    let knowledge = fresh();
    let place = Some(Place { list: 0, idx: 1 });
    // Replayed: known already.
    knowledge.apply(&event(4, 9, "session", place)).unwrap();
    knowledge.apply(&event(9, 10, "session", place)).unwrap();
    assert_eq!((knowledge.position(), standing(&knowledge, 0, 1, Access::Write)), (10, "good"));
    // One event between was lost.
    let missed = knowledge.apply(&event(11, 12, "session", place));
    assert_eq!(missed, Err(Gap { known: 10, after: 11 }));
    assert_eq!(knowledge.position(), 10);
    let beat = |position| knowledge.beat(Heartbeat { position, time: 0 });
    assert_eq!(beat(10), Ok(()));
    assert_eq!(beat(11), Err(Gap { known: 10, after: 11 }));
    // One that begins before what is known and leads beyond it is taken.
    knowledge.apply(&event(8, 12, "session", place)).unwrap();
    assert_eq!((knowledge.position(), standing(&knowledge, 0, 1, Access::Write)), (12, "revoked"));
}

#[test]
fn a_reset_replaces_what_was_known() {
    let knowledge = fresh();
    knowledge.apply(&event(10, 11, "session", Some(Place { list: 0, idx: 1 }))).unwrap();
    let mut list = StatusList::new(LIST_LENGTH);
    list.set(2);
    knowledge.reset(5, Place::default(), HashMap::from([(0, list)]));
    assert_eq!(knowledge.position(), 5);
    assert_eq!(standing(&knowledge, 0, 1, Access::Write), "good");
    assert_eq!(standing(&knowledge, 0, 2, Access::Write), "revoked");
}

#[test]
fn a_place_that_cannot_be_looked_up_is_refused() {
    let knowledge = fresh();
    for uri in [
        "https://other.example/status/0",
        "https://authority.example/status/x",
        "https://authority.example/status/",
        "https://authority.example.evil/status/0",
        "",
    ] {
        assert_eq!(said(knowledge.standing(&claims(uri, 0), Access::Read)), "revoked", "{uri}");
    }
    assert_eq!(standing(&knowledge, 0, LIST_LENGTH, Access::Read), "revoked");
}

#[test]
fn writes_are_refused_before_reads_and_both_before_the_first_proof() {
    let bounds = (Duration::from_secs(60), Duration::from_secs(600));
    let knowledge = knowledge(bounds.0, bounds.1);
    let both = |knowledge: &Knowledge| {
        [Access::Write, Access::Read].map(|access| standing(knowledge, 0, 0, access))
    };
    assert_eq!(both(&knowledge), ["stale", "stale"]);
    knowledge.reset(10, Place::default(), HashMap::new());
    assert_eq!(both(&knowledge), ["stale", "stale"]);
    knowledge.prove(10, Moment::now().before(700_000));
    assert_eq!(both(&knowledge), ["stale", "stale"]);
    knowledge.prove(10, Moment::now().before(100_000));
    assert_eq!(both(&knowledge), ["stale", "good"]);
    knowledge.prove(10, Moment::now());
    assert_eq!(both(&knowledge), ["good", "good"]);
    // An older proof that comes late takes nothing back.
    knowledge.prove(10, Moment::now().before(700_000));
    assert_eq!(both(&knowledge), ["good", "good"]);
}

#[test]
fn a_proof_counts_once_what_it_speaks_of_is_in_force() {
    let knowledge = knowledge(Duration::from_secs(60), Duration::from_secs(600));
    knowledge.reset(10, Place::default(), HashMap::new());
    // The authority knows of 11, which is still on its way.
    knowledge.prove(11, Moment::now());
    assert_eq!(knowledge.age(), None);
    knowledge.apply(&event(10, 11, "device", None)).unwrap();
    assert!(knowledge.age().is_some());
}

#[test]
fn a_clock_that_was_turned_back_does_not_make_old_tokens_good() {
    let knowledge = fresh();
    let ahead = unix_now().0 + 1000;
    knowledge.heard_time(ahead);
    knowledge.heard_time(5);
    assert_eq!(knowledge.now(), UnixTime(ahead));
}
