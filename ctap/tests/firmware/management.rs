//! Discoverable credentials on the key.

use signet_ctap::operation::{Feature, Prompt, assert_any};

use crate::person::with_pins;
use crate::*;

#[tokio::test]
async fn discoverable_credentials_are_listed_used_and_deleted() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_with_pin(&key).await;
        let (listed, _) = with_pins(&[PIN], async |p| opened.list_credentials(&p).await).await;
        let (empty, parties) = listed.unwrap();
        assert_eq!((empty.existing, parties.len()), (0, 0), "{firmware:?}");

        let mut request = registration(BY_PIN);
        request.resident_key = true;
        let first = register(&mut opened, &request).await;
        request.user.id = b"operator-2".to_vec();
        let second = register(&mut opened, &request).await;
        request.rp.id = "other.mesh.example".into();
        register(&mut opened, &request).await;

        let (listed, _) = with_pins(&[PIN], async |p| opened.list_credentials(&p).await).await;
        let (metadata, parties) = listed.unwrap();
        assert_eq!((metadata.existing, parties.len()), (3, 2), "{firmware:?}");
        let (_, ours) = parties
            .iter()
            .find(|(party, _)| party.id.as_deref() == Some(RP_ID))
            .expect("our relying party");
        assert_eq!(ours.len(), 2);
        assert!(ours.iter().any(|c| c.id == first.credential_id && c.user_id == b"operator-1"));
        assert!(ours.iter().any(|c| c.id == second.credential_id && c.protection == Some(3)));

        // No allow list: the key finds one by itself.
        let mut request = assertion(&first, BY_PIN);
        request.allow_list.clear();
        let signed = assert_by_pin(&mut opened, &request).await.unwrap();
        assert_eq!(signed.credential_id, second.credential_id, "the newest comes first");
        assert_eq!(signed.user_handle.as_deref(), Some(&b"operator-2"[..]));

        // The same by way of the search for the right key.
        let by_any = async |p| assert_any(std::slice::from_mut(&mut opened), &request, &p).await;
        let (place, signed) = with_pins(&[PIN], by_any).await.0.unwrap();
        assert_eq!((place, signed.credential_id), (0, second.credential_id.clone()));

        for id in [&first.credential_id, &second.credential_id] {
            let (deleted, _) =
                with_pins(&[PIN], async |p| opened.remove_credential(id, &p).await).await;
            deleted.unwrap();
        }
        let result = assert_by_pin(&mut opened, &request).await;
        assert!(matches!(result, Err(OperationError::NoCredentials)), "{firmware:?}: {result:?}");
    }
}

#[tokio::test]
async fn a_stored_credential_gets_another_name_and_the_room_is_told() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_with_pin(&key).await;
        // Each firmware counts in two ways of its own.
        let room = opened.info().remaining_discoverable.unwrap();
        let (listed, _) = with_pins(&[PIN], async |p| opened.list_credentials(&p).await).await;
        let before = listed.unwrap().0;
        let mut request = registration(BY_PIN);
        request.resident_key = true;
        let made = register(&mut opened, &request).await;
        assert_eq!(opened.refresh().await.unwrap().remaining_discoverable, Some(room - 1));

        let id = &made.credential_id;
        let user = UserEntity {
            id: request.user.id.clone(),
            name: "newer".into(),
            display_name: "Newer Name".into(),
        };
        let rename = async |p| opened.rename_credential(id, &user, &p).await;
        with_pins(&[PIN], rename).await.0.unwrap();
        let (listed, _) = with_pins(&[PIN], async |p| opened.list_credentials(&p).await).await;
        let (metadata, parties) = listed.unwrap();
        assert_eq!((metadata.existing, metadata.room), (1, before.room - 1), "{firmware:?}");
        assert_eq!(parties[0].1[0].user_name.as_deref(), Some("newer"));
        let request = assertion(&made, BY_PIN);
        assert_by_pin(&mut opened, &request).await.unwrap();

        let none = vec![7; id.len()];
        let rename = async |p| opened.rename_credential(&none, &user, &p).await;
        let result = with_pins(&[PIN], rename).await.0;
        assert!(matches!(result, Err(OperationError::CredentialNotFound)), "{result:?}");
        let remove = async |p| opened.remove_credential(&none, &p).await;
        let result = with_pins(&[PIN], remove).await.0;
        assert!(matches!(result, Err(OperationError::CredentialNotFound)), "{result:?}");
        let remove = async |p| opened.remove_credential(id, &p).await;
        with_pins(&[PIN], remove).await.0.unwrap();
        let (listed, _) = with_pins(&[PIN], async |p| opened.list_credentials(&p).await).await;
        assert_eq!(listed.unwrap().0, before, "{firmware:?}");
    }
}

#[tokio::test]
async fn management_needs_a_pin() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open(&key).await;
        let result = opened.list_credentials(&Prompt::nobody()).await;
        assert!(matches!(result, Err(OperationError::PinNotSet)), "{firmware:?}: {result:?}");
        let result = opened.list_fingers(&Prompt::nobody()).await;
        match firmware {
            Firmware::OpenSk => assert!(matches!(result, Err(OperationError::PinNotSet))),
            Firmware::Trussed => assert!(matches!(
                result,
                Err(OperationError::Unsupported(Feature::FingerEnrolment))
            )),
        }
    }
}

#[tokio::test]
async fn a_discoverable_credential_is_found_by_touch_alone() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = [open_with_pin(&key).await];
        let mut request = registration(BY_PIN);
        request.protection = None;
        request.resident_key = true;
        let made = register(&mut opened[0], &request).await;
        let mut request = assertion(&made, UserVerification::Discouraged);
        request.allow_list.clear();
        let (_, signed) = assert_any(&mut opened, &request, &Prompt::nobody()).await.unwrap();
        assert_eq!(signed.credential_id, made.credential_id);
        request.rp_id = "other.mesh.example".into();
        let result = assert_any(&mut opened, &request, &Prompt::nobody()).await;
        assert!(matches!(result, Err(OperationError::NoCredentials)), "{firmware:?}: {result:?}");
    }
}
