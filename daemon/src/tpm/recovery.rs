//! Cleaning a TPM without a resource manager, where a killed process leaves its keys behind.

use tss_esapi::Context;
use tss_esapi::constants::CapabilityType;
use tss_esapi::handles::TpmHandle;
use tss_esapi::structures::CapabilityData;

/// First handles of transient objects, loaded sessions and saved sessions (TPM 2.0 part 2 §7.4).
const TRANSIENT: u32 = 0x8000_0000;
const LOADED_SESSION: u32 = 0x0200_0000;
const SAVED_SESSION: u32 = 0x0300_0000;

/// Flushes every transient object and session. Only for a TPM that nobody else uses.
pub(super) fn flush_leftovers(context: &mut Context) -> tss_esapi::Result<()> {
    for first in [TRANSIENT, LOADED_SESSION, SAVED_SESSION] {
        for handle in handles(context, first)? {
            // What cannot be flushed stays; the next command says so if the room is missing.
            if let Ok(object) = context.tr_from_tpm_public(handle) {
                let _ = context.flush_context(object);
            }
        }
    }
    Ok(())
}

/// The handles of one kind, at most 64.
pub(super) fn handles(context: &mut Context, first: u32) -> tss_esapi::Result<Vec<TpmHandle>> {
    match context.get_capability(CapabilityType::Handles, first, 64)? {
        (CapabilityData::Handles(handles), _) => Ok(handles.into_inner()),
        _ => Ok(Vec::new()),
    }
}
