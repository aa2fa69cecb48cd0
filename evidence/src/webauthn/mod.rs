//! WebAuthn structures as they travel in Evidence (W3C Web Authentication Level 3).
//!
//! Nothing here is verified: these are the sender's values until `signet-verifier` has checked a
//! signature over them.

mod attestation_object;
mod authenticator_data;
mod client_data;
mod cose_key;

pub use attestation_object::{
    AttestationObject, AttestationObjectError, AttestationStatement, PackedStatement, TpmStatement,
    U2fStatement,
};
pub use authenticator_data::{
    Aaguid, AttestedCredentialData, AuthenticatorData, AuthenticatorDataError, CredProtect,
    Extensions, Flags, LONGEST_CREDENTIAL_ID,
};
pub use client_data::{Ceremony, ClientData, ClientDataError};
pub use cose_key::{COSE_ALG_ES256, COSE_ALG_RS256, CoseKey, CoseKeyError};
