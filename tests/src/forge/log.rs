//! Event logs of a few bytes (TCG PC Client Platform Firmware Profile section 10).

use signet_evidence::binding::sha256;

/// A first event that declares these banks, by algorithm and digest length.
pub(super) fn spec_id(banks: &[(u16, u16)]) -> Vec<u8> {
    let mut event = b"Spec ID Event03\0".to_vec();
    event.extend_from_slice(&[0, 0, 0, 0, 0, 2, 0, 2]); // platform class, version 2.00, 64-bit
    event.extend_from_slice(&u32::try_from(banks.len()).unwrap_or(0).to_le_bytes());
    for (algorithm, length) in banks {
        event.extend_from_slice(&algorithm.to_le_bytes());
        event.extend_from_slice(&length.to_le_bytes());
    }
    event.push(0); // no vendor information
    let mut log = vec![0, 0, 0, 0, 3, 0, 0, 0]; // PCR 0, EV_NO_ACTION
    log.extend_from_slice(&[0; 20]);
    log.extend_from_slice(&u32::try_from(event.len()).unwrap_or(0).to_le_bytes());
    log.extend(event);
    log
}

/// A SHA-256 log with a separator in PCR 0 to 7 and nothing else.
pub(super) fn separators() -> Vec<u8> {
    let mut log = spec_id(&[(0x000b, 32)]);
    for pcr in 0_u32..8 {
        log.extend_from_slice(&pcr.to_le_bytes());
        log.extend_from_slice(&4_u32.to_le_bytes());
        log.extend_from_slice(&1_u32.to_le_bytes());
        log.extend_from_slice(&0x000b_u16.to_le_bytes());
        log.extend_from_slice(&sha256(&[0; 4]));
        log.extend_from_slice(&4_u32.to_le_bytes());
        log.extend_from_slice(&[0; 4]);
    }
    log
}
