//! Hides CTAP2 from the host, so that a firmware is a key of the U2F generation.
//!
//! Nothing of the firmware changes: the answer to INIT loses its CTAP2 flag, and CTAP2 requests are
//! refused as a key that never heard of them refuses.

use crate::wire::Report;

const INIT: u8 = 0x86;
const CBOR: u8 = 0x90;
const ERROR: u8 = 0xBF;
const INVALID_COMMAND: u8 = 0x01;
/// Place of the capability flags in the answer to INIT, and its CTAP2 bit.
const FLAGS: usize = 7 + 16;
const CAPABILITY_CBOR: u8 = 0x04;

/// What happens to a report from the host.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// It goes on to the firmware.
    On,
    /// It is dropped.
    Dropped,
    /// It is dropped and answered with this.
    Answered(Box<Report>),
}

/// The filter between host and firmware.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// Channel whose request is being refused; its continuation packets go nowhere.
    refused: Option<[u8; 4]>,
}

impl Filter {
    /// Judges a report from the host.
    pub(crate) fn judge(&mut self, report: &Report) -> Passage {
        let channel = [report[0], report[1], report[2], report[3]];
        match report[4] {
            CBOR => {
                self.refused = Some(channel);
                let mut error = [0; 64];
                error[..4].copy_from_slice(&channel);
                error[4..8].copy_from_slice(&[ERROR, 0, 1, INVALID_COMMAND]);
                Passage::Answered(Box::new(error))
            }
            first if first & 0x80 != 0 => {
                self.refused = self.refused.filter(|refused| *refused != channel);
                Passage::On
            }
            _ if self.refused == Some(channel) => Passage::Dropped,
            _ => Passage::On,
        }
    }

    /// Takes the CTAP2 flag out of an answer to INIT.
    pub(crate) fn without_ctap2(report: &Report) -> Report {
        let mut report = *report;
        if report[4] == INIT {
            report[FLAGS] &= !CAPABILITY_CBOR;
        }
        report
    }
}
