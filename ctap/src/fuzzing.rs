//! Entry points for the fuzz targets (`fuzz/`) and for the tests that replay their seeds: bytes as a
//! key might send them, at the parsers that meet them first. No part of the API.

use crate::authenticator_data::AuthenticatorData;
use crate::cbor::{self, Fields};
use crate::commands::client_pin::token_of;
use crate::commands::credential_management::{credential, relying_party};
use crate::commands::{
    GetAssertionAnswer, Info, MakeCredentialAnswer, Metadata, PinRetries, Sample, SensorInfo,
    Template, U2fAssertion, U2fRegistration,
};
use crate::packet::{self, Assembler, Command, MAX_MESSAGE};
use crate::pin_protocol::{PinProtocol, SharedSecret};
use crate::reports::{REPORT_SIZE, Report};

const CHANNEL: u32 = 1;

/// Reports of 64 bytes, the last one filled up, to channel 1.
pub fn ctaphid_reassembly(input: &[u8]) {
    let mut assembler = Assembler::new(CHANNEL);
    for chunk in input.chunks(REPORT_SIZE) {
        let mut report: Report = [0; REPORT_SIZE];
        report[..chunk.len()].copy_from_slice(chunk);
        match assembler.push(&report) {
            Ok(progress) => {
                if let Some((_, message)) = progress.message {
                    assert!(progress.ours && message.len() <= MAX_MESSAGE);
                    assert_eq!(reassembled(&message).as_ref(), Some(&message));
                    assembler = Assembler::new(CHANNEL);
                }
            }
            Err(packet::BadPacket) => assembler = Assembler::new(CHANNEL),
        }
    }
}

fn reassembled(message: &[u8]) -> Option<Vec<u8>> {
    let mut assembler = Assembler::new(CHANNEL);
    packet::split(CHANNEL, Command::Cbor, message)
        .filter_map(|report| assembler.push(&report).ok()?.message)
        .map(|(_, message)| message)
        .last()
}

/// The CBOR of one answer, as if to every command in turn.
pub fn ctap_response(input: &[u8]) {
    if let Ok(value) = cbor::decode(input) {
        assert!(cbor::decode(&cbor::encode(&value)).is_ok(), "what is read can be written");
    }
    let _ = AuthenticatorData::parse(input);
    let Ok(fields) = Fields::decode(input) else { return };
    let again = || fields.clone();
    if let Ok(info) = Info::from_fields(again()) {
        assert!(!info.u2f_only);
        assert!(!info.always_uv() || info.make_credential_needs_uv(false));
    }
    if let Ok(made) = MakeCredentialAnswer::from_fields(again()) {
        assert_eq!(AuthenticatorData::parse(&made.auth_data).as_ref(), Ok(&made.parsed));
    }
    if let Ok(signed) = GetAssertionAnswer::from_fields(again()) {
        assert_eq!(AuthenticatorData::parse(&signed.auth_data).as_ref(), Ok(&signed.parsed));
    }
    let _ = SensorInfo::from_fields(again());
    let _ = Sample::first(again());
    let _ = Template::all_from_fields(again());
    let _ = Metadata::from_fields(again());
    let _ = relying_party(again());
    let _ = credential(again());
    let _ = PinRetries::from_fields(again());
    let agreed = again().required(0x01).ok();
    for protocol in [PinProtocol::One, PinProtocol::Two] {
        let Some(Ok(secret)) = agreed.clone().map(|key| SharedSecret::agree(protocol, key)) else {
            continue;
        };
        let _ = token_of(&secret, again());
    }
}

/// The data of a U2F answer, without its status word.
pub fn u2f_response(input: &[u8]) {
    if let Ok(made) = U2fRegistration::parse(input) {
        let written = [
            &[0x05][..],
            &made.public_point,
            &[made.key_handle.len() as u8],
            &made.key_handle,
            &made.certificate,
            &made.signature,
        ];
        assert_eq!(written.concat(), input);
    }
    if let Ok(signed) = U2fAssertion::parse(input) {
        let counter = signed.counter.to_be_bytes();
        assert_eq!([&[signed.user_presence][..], &counter, &signed.signature].concat(), input);
    }
}
