//! CTAPHID packets (CTAP 2.1 §11.2.4): splitting messages and putting them together.

use aws_lc_rs::rand;

use crate::reports::{REPORT_SIZE, Report};

/// Channel on which a client asks for a channel of its own.
pub(crate) const BROADCAST: u32 = 0xFFFF_FFFF;

const FIRST_DATA: usize = REPORT_SIZE - 7;
const NEXT_DATA: usize = REPORT_SIZE - 5;
const MAX_SEQUENCE: usize = 0x7F;

/// 57 bytes in the first packet, 59 in each of at most 128 more.
pub(crate) const MAX_MESSAGE: usize = FIRST_DATA + (MAX_SEQUENCE + 1) * NEXT_DATA;

/// CTAPHID commands (CTAP 2.1 §11.2.9), without the bit that marks a first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Ping = 0x01,
    Message = 0x03,
    Init = 0x06,
    Wink = 0x08,
    Cbor = 0x10,
    Cancel = 0x11,
    Keepalive = 0x3B,
    Error = 0x3F,
}

/// One packet, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    First { command: u8, length: usize, data: &'a [u8; FIRST_DATA] },
    Next { sequence: u8, data: &'a [u8; NEXT_DATA] },
}

impl<'a> Packet<'a> {
    /// Channel id and packet. Every report is a packet; `None` cannot happen for 64 bytes.
    pub(crate) fn parse(report: &'a Report) -> Option<(u32, Self)> {
        let (id, rest) = report.split_first_chunk::<4>()?;
        let (&kind, rest) = rest.split_first()?;
        let packet = if kind & 0x80 == 0 {
            Self::Next { sequence: kind, data: rest.first_chunk()? }
        } else {
            let (length, data) = rest.split_first_chunk::<2>()?;
            Self::First {
                command: kind & 0x7F,
                length: usize::from(u16::from_be_bytes(*length)),
                data: data.first_chunk()?,
            }
        };
        Some((u32::from_be_bytes(*id), packet))
    }
}

/// Eight random bytes that tell our INIT answer from others'.
pub(crate) fn nonce() -> [u8; 8] {
    let mut nonce = [0; 8];
    // A weak nonce could at worst take another client's channel id.
    let _ = rand::fill(&mut nonce);
    nonce
}

/// A message of at most 57 bytes as one packet; longer data is cut.
pub(crate) fn single(id: u32, command: Command, data: &[u8]) -> Report {
    let mut report = [0; REPORT_SIZE];
    let carried = data.len().min(FIRST_DATA);
    report[..4].copy_from_slice(&id.to_be_bytes());
    report[4] = 0x80 | command as u8;
    report[5..7].copy_from_slice(&(data.len() as u16).to_be_bytes());
    report[7..7 + carried].copy_from_slice(&data[..carried]);
    report
}

/// The packets of a message of at most [`MAX_MESSAGE`] bytes.
pub(crate) fn split(id: u32, command: Command, data: &[u8]) -> impl Iterator<Item = Report> {
    let rest = data.get(FIRST_DATA..).unwrap_or_default();
    let next = rest.chunks(NEXT_DATA).zip(0u8..).map(move |(chunk, sequence)| {
        let mut report = [0; REPORT_SIZE];
        report[..4].copy_from_slice(&id.to_be_bytes());
        report[4] = sequence;
        report[5..5 + chunk.len()].copy_from_slice(chunk);
        report
    });
    std::iter::once(single(id, command, data)).chain(next)
}

/// The key broke the framing rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadPacket;

/// What a packet brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// It was for us.
    pub(crate) ours: bool,
    /// Command and data of the message it completed.
    pub(crate) message: Option<(u8, Vec<u8>)>,
}

/// Puts the packets of one channel together.
#[derive(Debug)]
pub(crate) struct Assembler {
    id: u32,
    started: Option<Started>,
}

#[derive(Debug)]
struct Started {
    command: u8,
    length: usize,
    sequence: u8,
    data: Vec<u8>,
}

impl Assembler {
    /// Listens to channel `id` only.
    pub(crate) fn new(id: u32) -> Self {
        Self { id, started: None }
    }

    /// Takes a packet. Packets of other channels, and continuations of nothing, are passed over.
    pub(crate) fn push(&mut self, report: &Report) -> Result<Progress, BadPacket> {
        let (id, packet) = Packet::parse(report).ok_or(BadPacket)?;
        if id != self.id {
            return Ok(Progress { ours: false, message: None });
        }
        match (packet, &mut self.started) {
            (Packet::First { command, length, data }, started @ None) => {
                if length > MAX_MESSAGE {
                    return Err(BadPacket);
                }
                *started = Some(Started { command, length, sequence: 0, data: data.to_vec() });
            }
            (Packet::Next { sequence, data }, Some(started)) => {
                if sequence != started.sequence {
                    return Err(BadPacket);
                }
                started.sequence += 1;
                started.data.extend_from_slice(data);
            }
            (Packet::First { .. }, Some(_)) => return Err(BadPacket),
            (Packet::Next { .. }, None) => {}
        }
        let message = self.started.take_if(|s| s.data.len() >= s.length).map(|mut complete| {
            complete.data.truncate(complete.length);
            (complete.command, complete.data)
        });
        Ok(Progress { ours: true, message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assemble(reports: impl Iterator<Item = Report>) -> Option<(u8, Vec<u8>)> {
        let mut assembler = Assembler::new(7);
        reports.filter_map(|report| assembler.push(&report).unwrap().message).last()
    }

    #[test]
    fn the_longest_message_has_7609_bytes() {
        assert_eq!(MAX_MESSAGE, 7609);
        let message = vec![0xA5; MAX_MESSAGE];
        assert_eq!(split(7, Command::Ping, &message).count(), 129);
        assert_eq!(assemble(split(7, Command::Ping, &message)), Some((1, message)));
    }

    #[test]
    fn a_longer_message_is_refused() {
        let mut report = single(7, Command::Cbor, &[]);
        report[5..7].copy_from_slice(&7610u16.to_be_bytes());
        assert_eq!(Assembler::new(7).push(&report), Err(BadPacket));
    }

    #[test]
    fn a_repeated_packet_is_refused() {
        let reports: Vec<_> = split(7, Command::Cbor, &[1; 200]).collect();
        let mut assembler = Assembler::new(7);
        for report in &reports[..2] {
            assert_eq!(assembler.push(report), Ok(Progress { ours: true, message: None }));
        }
        assert_eq!(assembler.push(&reports[1]), Err(BadPacket));
    }

    proptest! {
        #[test]
        fn split_and_assemble_are_inverse(data in prop::collection::vec(any::<u8>(), 0..MAX_MESSAGE)) {
            prop_assert_eq!(assemble(split(7, Command::Cbor, &data)), Some((0x10, data)));
        }

        #[test]
        fn any_reports_are_taken_without_panic(
            reports in prop::collection::vec((0u32..3, any::<u8>(), any::<[u8; 32]>()), 0..200),
        ) {
            let mut assembler = Assembler::new(1);
            for (id, kind, tail) in reports {
                let mut report = [0; REPORT_SIZE];
                report[..4].copy_from_slice(&id.to_be_bytes());
                report[4] = kind;
                report[5..37].copy_from_slice(&tail);
                let _ = assembler.push(&report);
            }
        }
    }
}
