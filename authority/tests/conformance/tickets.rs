//! Tickets that replace a machine or lost keys, and tickets that administrators approve.

use signet_authority::store::{
    NewTicket, NewTicketRequest, Quorum, TicketApproval, TicketDocument,
};
use signet_evidence::binding::sha256;

use super::*;

pub(crate) async fn the_same_tpm_again_takes_its_place_only_by_a_ticket_that_says_so(
    bench: &impl Bench,
) {
    let store = bench.store().await;
    let first = enrol_device(&*store, 1).await;
    let record = session_record(&*store, &first, SessionKind::Person).await;
    store.mint(&record, &allowed(Event::TokenSession)).await.unwrap();
    let other = enrol_device(&*store, 2).await;
    let enrol = async |kind: TicketKind, row: DeviceRow| {
        let made = NewTicket { operator: row.operator.clone(), ..ticket(kind, random::bytes()) };
        store.add_ticket(&made, &allowed(Event::Ticket)).await.unwrap();
        let enrolment =
            DeviceEnrolment { ticket: made.digest, device: row, grant_expires: at(900) };
        store.enrol_device(&enrolment, &allowed(Event::DeviceEnrol)).await
    };
    let enrolled = RejectionCode::DeviceEnrolled;
    assert_eq!(rejected(enrol(TicketKind::Device, device(1)).await), enrolled);
    // Nobody takes over the machine of another operator, and another TPM is another machine.
    let bobs = DeviceRow { operator: "bob".into(), ..device(1) };
    assert_eq!(rejected(enrol(TicketKind::Rebinding, bobs).await), enrolled);
    let invalid = RejectionCode::TicketInvalid;
    assert_eq!(rejected(enrol(TicketKind::Rebinding, device(3)).await), invalid);
    assert_eq!(rejected(enrol(TicketKind::Authenticator, device(3)).await), invalid);
    assert!(!store.device(&first.id).await.unwrap().unwrap().revoked);
    let second = device(1);
    enrol(TicketKind::Rebinding, second.clone()).await.unwrap();
    assert!(store.device(&first.id).await.unwrap().unwrap().revoked);
    assert!(!store.device(&other.id).await.unwrap().unwrap().revoked);
    assert!(!store.device(&second.id).await.unwrap().unwrap().revoked);
    assert!(store.session(record.token.session).await.unwrap().unwrap().ended);
}

pub(crate) async fn a_recovery_ticket_revokes_the_keys_that_were_lost(bench: &impl Bench) {
    let store = bench.store().await;
    let device = enrol_device(&*store, 1).await;
    enrol_key(&*store, &device, b"k1", Authorisation::Grant).await.unwrap();
    let mut record = session_record(&*store, &device, SessionKind::Person).await;
    if let SessionChange::Start(session) = &mut record.session {
        session.credential = Some(b"k1".to_vec());
    }
    store.mint(&record, &allowed(Event::TokenSession)).await.unwrap();
    let digest = [6; 32];
    let made = ticket(TicketKind::Recovery, digest);
    store.add_ticket(&made, &allowed(Event::Ticket)).await.unwrap();
    let by_ticket = Authorisation::Ticket(digest);
    enrol_key(&*store, &device, b"k2", by_ticket.clone()).await.unwrap();
    assert!(store.credential(b"k1").await.unwrap().unwrap().revoked);
    assert!(!store.credential(b"k2").await.unwrap().unwrap().revoked);
    assert!(store.session(record.token.session).await.unwrap().unwrap().ended);
    let again = enrol_key(&*store, &device, b"k3", by_ticket).await;
    assert_eq!(rejected(again.map(|_| ())), RejectionCode::TicketInvalid);
}

pub(crate) async fn a_ticket_takes_two_people_at_two_machines(bench: &impl Bench) {
    let store = bench.store().await;
    let desk = enrol_device(&*store, 1).await;
    enrol_key(&*store, &desk, b"k1", Authorisation::Grant).await.unwrap();
    let second = enrol_device(&*store, 2).await;
    for name in ["carol", "dave", "erin"] {
        let made = NewTicket {
            operator: name.into(),
            ..ticket(TicketKind::Device, sha256(name.as_bytes()))
        };
        store.add_ticket(&made, &allowed(Event::Ticket)).await.unwrap();
    }
    let id = [8; 32];
    let document = TicketDocument {
        ticket: "08".repeat(32),
        kind: "device".into(),
        operator: "alice".into(),
        asset: None,
        reason: "new laptop".into(),
        requested_by: "alice".into(),
        requested_at: NOW.0,
    };
    let request = |id: [u8; 32]| NewTicketRequest {
        id,
        document: document.clone(),
        bytes: serde_json::to_vec(&document).unwrap(),
        device: desk.id.clone(),
        expires: at(86_400),
    };
    let audit = allowed(Event::TicketRequest);
    store.request_ticket(&request(id), &audit).await.unwrap();
    let invalid = RejectionCode::TicketInvalid;
    assert_eq!(rejected(store.request_ticket(&request(id), &audit).await), invalid);
    let mut count = 1;
    let mut approve = async |administrator: &str, machine: &DeviceRow, id: [u8; 32]| {
        count += 1;
        let approval = TicketApproval {
            request: id,
            administrator: administrator.into(),
            device: machine.id.clone(),
            clock: clock(5, 2000),
            credential: (b"k1".to_vec(), count),
            challenge: rows::challenge(),
            evidence: [1; 32],
            at: NOW,
            quorum: Quorum {
                administrators: vec!["carol".into(), "dave".into(), "erin".into()],
                approvals: 2,
                opens: at(60),
                expires: at(900),
            },
        };
        store.approve_ticket(&approval, &allowed(Event::TicketApprove)).await
    };
    let third = enrol_device(&*store, 3).await;
    let repeated = RejectionCode::ApprovalRepeated;
    assert_eq!(rejected(approve("carol", &desk, [9; 32]).await), invalid);
    approve("carol", &desk, id).await.unwrap();
    assert_eq!(rejected(approve("carol", &second, id).await), repeated);
    assert_eq!(rejected(approve("dave", &desk, id).await), repeated);
    // Whoever was revoked since does not count.
    let revoke = RevocationTarget::Operator("carol".into());
    store.revoke(&revoke, NOW, &allowed(Event::Revoke)).await.unwrap();
    approve("dave", &second, id).await.unwrap();
    assert!(store.ticket(&id).await.unwrap().is_none());
    approve("erin", &third, id).await.unwrap();
    assert_eq!(rejected(approve("frank", &third, id).await), invalid);
    let made = store.ticket(&id).await.unwrap().unwrap();
    assert!(!made.opens(TicketKind::Device, at(59)) && made.opens(TicketKind::Device, at(60)));
    let early = DeviceEnrolment { ticket: id, device: device(4), grant_expires: at(900) };
    let audit = allowed(Event::DeviceEnrol);
    assert_eq!(rejected(store.enrol_device(&early, &audit).await), invalid);
    let due = DeviceRow { enrolled_at: at(60), ..device(4) };
    let due = DeviceEnrolment { ticket: id, device: due, grant_expires: at(900) };
    store.enrol_device(&due, &audit).await.unwrap();
    let found = store.ticket_request(&id).await.unwrap().unwrap();
    let names: Vec<_> = found.approvals.iter().map(|one| one.administrator.as_str()).collect();
    assert_eq!(names, ["carol", "dave", "erin"]);
    assert_eq!(found.ticket.unwrap().used, Some(at(60)));
    assert_eq!(store.ticket_requests(NOW).await.unwrap(), [found]);
    assert!(store.ticket_requests(at(1)).await.unwrap().is_empty());
}

pub(crate) async fn requests_that_wait_are_bounded(bench: &impl Bench) {
    let store = bench.store().await;
    let desk = enrol_device(&*store, 1).await;
    let ask = async |number: u8| {
        let document = TicketDocument {
            ticket: String::new(),
            kind: "device".into(),
            operator: "bob".into(),
            asset: None,
            reason: "again".into(),
            requested_by: "alice".into(),
            requested_at: NOW.0,
        };
        let bytes = serde_json::to_vec(&document).unwrap();
        let (device, expires) = (desk.id.clone(), at(60));
        let request = NewTicketRequest { id: [number; 32], document, bytes, device, expires };
        store.request_ticket(&request, &allowed(Event::TicketRequest)).await
    };
    for number in 0..8 {
        ask(number).await.unwrap();
    }
    assert_eq!(rejected(ask(8).await), RejectionCode::RequestsWaiting);
}
