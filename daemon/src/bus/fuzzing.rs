//! Entry point for fuzzing: the options of a call, as any process on the machine may send them. In builds with
//! debug assertions only: no program that is released has it.

use signet_ctap::operation::Config;
use signet_evidence::Purpose;
use zbus::wire::Endian;
use zbus::wire::serialized::{Context, Data};

use super::arguments::{self, Dictionary};
use super::request;
use crate::authenticator::Task;

/// What a caller may be, and what its connection is called.
const CALLER: &str = ":1.42";

/// The first byte is the method, the rest an `a{sv}` as a message brings it, its lowest byte first.
pub fn request_mapping(input: &[u8]) {
    let Some((method, body)) = input.split_first() else { return };
    let data = Data::new(body, Context::new(Endian::Little, 0));
    let Ok((options, _)) = data.deserialize::<Dictionary>() else { return };
    map(method % 13, options);
    handle_token(body);
}

/// Whatever is read keeps to what the method allows.
fn map(method: u8, options: Dictionary) {
    let members = options.len();
    match method {
        0 => {
            if let Ok((request, _)) = arguments::presence(options) {
                assert_ne!(request.purpose, Purpose::EnrolKey);
                assert!(request.allow_credentials.len() <= 64 && members >= 2);
                assert!(request.allow_credentials.iter().all(|id| (1..=1023).contains(&id.len())));
            }
        }
        1 => {
            if let Ok((request, _)) = arguments::registration(options) {
                assert_eq!(request.purpose, Purpose::EnrolKey);
                assert!(request.user_verification && request.subject.is_some());
            }
        }
        2 => {
            if let Ok(activation) = arguments::activation(options) {
                assert!(activation.nonce.len() <= 4096 && members == 5);
            }
        }
        3 => drop(arguments::admission(options)),
        4 => drop(arguments::renewal(options)),
        5 => drop(arguments::abilities(options)),
        6 => drop(arguments::change_pin(options)),
        7 => {
            if let Ok(upkeep) = arguments::add_finger(options) {
                let Task::AddFinger { name } = upkeep.task else { panic!("another task") };
                assert!(!name.contains(char::is_control) && (1..=64).contains(&name.len()));
            }
        }
        8 => drop(arguments::rename_finger(options)),
        9 => drop(arguments::remove_credential(options)),
        10 => {
            if let Ok(upkeep) = arguments::reset(options) {
                assert!(upkeep.path.is_some(), "the key must be named");
            }
        }
        11 => {
            if let Ok(upkeep) = arguments::configuration(options)
                && let Task::Configure(Config::MinPinLength { length, .. }) = upkeep.task
            {
                assert!(length.is_none_or(|length| (4..=63).contains(&length)));
            }
        }
        _ => drop(arguments::user(options)),
    }
}

/// A caller's token makes one part of a path below the caller's own, and nothing else.
fn handle_token(body: &[u8]) {
    let Ok(token) = std::str::from_utf8(body) else { return };
    if let Ok(path) = request::path(CALLER, token) {
        let path = path.as_str();
        let last = path.strip_prefix("/org/signet/Presence1/request/1_42/");
        assert!(last.is_some_and(|last| last == token && !last.contains('/')));
    }
}
