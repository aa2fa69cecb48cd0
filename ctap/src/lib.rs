//! FIDO2 client: CTAPHID and CTAP 2.1 over any pipe of 64-byte reports.
