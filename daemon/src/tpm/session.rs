//! The nonce of a session, out of its saved context.

/// Name and policy type of a session in libtss2's own record of it (`IESYSC_SESSION_RSRC`).
const SESSION: u32 = 3;
/// `TPM_SE_POLICY`.
const POLICY: u8 = 1;

/// `nonceTPM` in the context blob that `Esys_ContextSave` gives of a policy session
/// (`IESYS_CONTEXT_DATA` of libtss2, the same from 2.4 to 4.2): the TPM's own blob, then libtss2's
/// record of the session, all big-endian. `None` when it is something else.
pub(super) fn nonce(context: &[u8]) -> Option<Vec<u8>> {
    let mut left = Left(context);
    if left.number(4)? != 0 {
        return None;
    }
    left.sized()?; // the TPM's blob
    left.number(2)?; // size of the record
    left.number(4)?; // handle
    left.sized()?; // name
    if left.number(4)? != SESSION {
        return None;
    }
    left.sized()?; // name of the bound object
    left.sized()?; // encrypted salt
    left.sized()?; // salt
    // Algorithm, key size and mode for the encryption of parameters: AES-128 in CFB mode.
    if (left.number(2)?, left.number(2)?, left.number(2)?) != (0x0006, 128, 0x0043) {
        return None;
    }
    left.number(2)?; // hash
    left.sized()?; // session key
    if left.number(1)? != u32::from(POLICY) {
        return None;
    }
    left.number(1)?; // attributes
    left.sized()?; // nonceCaller
    left.sized().filter(|nonce| (16..=64).contains(&nonce.len())).map(<[u8]>::to_vec)
}

struct Left<'a>(&'a [u8]);

impl<'a> Left<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, length: usize) -> Option<u32> {
        let bytes = self.take(length)?;
        Some(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    fn sized(&mut self) -> Option<&'a [u8]> {
        let length = self.number(2)?;
        self.take(usize::try_from(length).ok()?)
    }
}
