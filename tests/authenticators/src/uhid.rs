//! The kernel's `/dev/uhid` in bytes: a program that writes these events is a HID device.
//!
//! Layout of `struct uhid_event` in `linux/uhid.h`: a 32-bit type and a packed union, in the machine's
//! byte order. The kernel takes events that are shorter than the union; the rest counts as zero.

use crate::wire::Report;

/// Bytes that one `read` of `/dev/uhid` needs room for.
pub const EVENT_SIZE: usize = 4 + 4372;

const UHID_DESTROY: u32 = 1;
const UHID_OUTPUT: u32 = 6;
const UHID_GET_REPORT: u32 = 9;
const UHID_GET_REPORT_REPLY: u32 = 10;
const UHID_CREATE2: u32 = 11;
const UHID_INPUT2: u32 = 12;
const UHID_SET_REPORT: u32 = 13;
const UHID_SET_REPORT_REPLY: u32 = 14;

const DATA_MAX: usize = 4096;
const BUS_USB: u16 = 3;
const EIO: u16 = 5;

/// Usage page F1D0, usage 1; input and output reports of 64 bytes without report id (CTAP 2.1 §11.2.8.1).
const FIDO_DESCRIPTOR: [u8; 34] = [
    0x06, 0xd0, 0xf1, 0x09, 0x01, 0xa1, 0x01, // usage page, usage, collection (application)
    0x09, 0x20, 0x15, 0x00, 0x26, 0xff, 0x00, 0x75, 0x08, 0x95, 0x40, 0x81, 0x02, // input
    0x09, 0x21, 0x15, 0x00, 0x26, 0xff, 0x00, 0x75, 0x08, 0x95, 0x40, 0x91, 0x02, // output
    0xc0,
];

/// What a device says of itself.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Product name; what does not fit into 127 bytes is cut off.
    pub name: String,
    /// Serial number, cut off at 63 bytes.
    pub serial: String,
    /// USB vendor id.
    pub vendor: u32,
    /// USB product id.
    pub product: u32,
}

/// The event that plugs a FIDO key in (`UHID_CREATE2`).
pub fn plug_in(identity: &Identity) -> Vec<u8> {
    let mut event = UHID_CREATE2.to_ne_bytes().to_vec();
    push_text(&mut event, &identity.name, 128);
    push_text(&mut event, "signet-uhid", 64);
    push_text(&mut event, &identity.serial, 64);
    event.extend((FIDO_DESCRIPTOR.len() as u16).to_ne_bytes());
    event.extend(BUS_USB.to_ne_bytes());
    for number in [identity.vendor, identity.product, 1, 0] {
        event.extend(number.to_ne_bytes());
    }
    event.extend(FIDO_DESCRIPTOR);
    event
}

/// The event that pulls the key out (`UHID_DESTROY`).
pub fn pull_out() -> Vec<u8> {
    UHID_DESTROY.to_ne_bytes().to_vec()
}

/// The event that carries a report to the host (`UHID_INPUT2`).
pub fn input(report: &Report) -> Vec<u8> {
    let mut event = UHID_INPUT2.to_ne_bytes().to_vec();
    event.extend((report.len() as u16).to_ne_bytes());
    event.extend(report);
    event
}

/// What the kernel wants of the device.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Take this report from the host.
    Output(Box<Report>),
    /// Write this event back: the host asked for a feature report, and a FIDO key has none.
    Reply(Vec<u8>),
    /// Nothing: the node was opened or closed, or a report has another length than 64.
    Nothing,
}

/// Reads an event of the kernel.
pub fn read_event(event: &[u8]) -> Wanted {
    let Some((kind, body)) = event.split_first_chunk::<4>() else { return Wanted::Nothing };
    match u32::from_ne_bytes(*kind) {
        UHID_OUTPUT => output(body).map_or(Wanted::Nothing, |report| Wanted::Output(report.into())),
        UHID_GET_REPORT => refusal(UHID_GET_REPORT_REPLY, body),
        UHID_SET_REPORT => refusal(UHID_SET_REPORT_REPLY, body),
        _ => Wanted::Nothing,
    }
}

/// The report of an output event: 64 bytes, after a report id of 0 where hidraw's writer gave one.
fn output(body: &[u8]) -> Option<Report> {
    let size = u16::from_ne_bytes(*body.get(DATA_MAX..)?.first_chunk()?);
    match body.get(..usize::from(size))? {
        [0, report @ ..] if report.len() == 64 => report.try_into().ok(),
        report => report.try_into().ok(),
    }
}

/// Answers a request by its id, so that the host does not wait five seconds for it.
fn refusal(kind: u32, body: &[u8]) -> Wanted {
    let Some(id) = body.first_chunk::<4>() else { return Wanted::Nothing };
    let mut event = kind.to_ne_bytes().to_vec();
    event.extend(id);
    event.extend(EIO.to_ne_bytes());
    Wanted::Reply(event)
}

fn push_text(event: &mut Vec<u8>, text: &str, room: usize) {
    let kept = text.len().min(room - 1);
    event.extend(&text.as_bytes()[..kept]);
    event.resize(event.len() + room - kept, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_kernel(kind: u32, data: &[u8], size: u16) -> Vec<u8> {
        let mut event = kind.to_ne_bytes().to_vec();
        event.extend(data);
        event.resize(4 + DATA_MAX, 0);
        event.extend(size.to_ne_bytes());
        event.resize(EVENT_SIZE, 0);
        event
    }

    #[test]
    fn a_key_is_plugged_in_as_the_kernel_lays_it_out() {
        let identity = Identity {
            name: "n".repeat(200),
            serial: "7".to_owned(),
            vendor: 0x1209,
            product: 0xf1d0,
        };
        let event = plug_in(&identity);
        assert_eq!(event.len(), 4 + 128 + 64 + 64 + 2 + 2 + 16 + FIDO_DESCRIPTOR.len());
        assert_eq!(event[4 + 126], b'n');
        assert_eq!(event[4 + 127], 0);
        assert_eq!(&event[4 + 192..][..2], b"7\0");
        assert_eq!(&event[4 + 256..][..2], &(FIDO_DESCRIPTOR.len() as u16).to_ne_bytes());
        assert_eq!(&event[4 + 260..][..4], &0x1209u32.to_ne_bytes());
    }

    #[test]
    fn a_report_comes_with_and_without_its_id() {
        let report = [7; 64];
        let with_id: Vec<u8> = std::iter::once(0).chain(report).collect();
        for (data, size) in [(&report[..], 64), (&with_id[..], 65)] {
            assert_eq!(
                read_event(&from_kernel(UHID_OUTPUT, data, size)),
                Wanted::Output(report.into())
            );
        }
    }

    #[test]
    fn odd_lengths_and_short_events_ask_for_nothing() {
        assert_eq!(read_event(&from_kernel(UHID_OUTPUT, &[1; 66], 66)), Wanted::Nothing);
        assert_eq!(read_event(&from_kernel(UHID_OUTPUT, &[], u16::MAX)), Wanted::Nothing);
        assert_eq!(read_event(&UHID_OUTPUT.to_ne_bytes()), Wanted::Nothing);
        assert_eq!(read_event(&[1, 2]), Wanted::Nothing);
    }

    #[test]
    fn a_feature_report_is_refused_by_its_id() {
        let Wanted::Reply(reply) = read_event(&from_kernel(UHID_GET_REPORT, &[9, 0, 0, 0], 0))
        else {
            panic!("a reply");
        };
        assert_eq!(reply[..4], UHID_GET_REPORT_REPLY.to_ne_bytes());
        assert_eq!(reply[4..], [&[9, 0, 0, 0][..], &EIO.to_ne_bytes()].concat());
    }
}
