//! Software FIDO2 keys for tests: third-party firmware behind a socket shaped like hidraw.
//!
//! Two programs, `opensk-key` (Google OpenSK: CTAP 2.1 with a fingerprint sensor) and `trussed-key`
//! (the Nitrokey 3 / Solo 2 firmware: PIN only), each in its own process. [`VirtualKey`] starts and
//! kills them. Only the button and the sensor are ours, so a client and the key it is tested against
//! share no code.
//!
//! By hand, in any folder:
//!
//! ```text
//! make-attestation pki
//! opensk-key --socket key.sock --control control.sock --state key.state --fingers right-index \
//!     --attestation-key pki/opensk.key --attestation-cert pki/opensk.der --manual-touch &
//! echo finger right-index | socat - UNIX-CONNECT:control.sock
//! ```
//!
//! `--u2f-only` makes a key of the U2F generation of either: CTAP2 is hidden from the host, and the
//! firmware's own U2F code answers. `--touch-only` makes a FIDO2 key without a PIN of `trussed-key`.
//!
//! `uhid-key --socket key.sock` makes a running key a `/dev/hidraw*` of the machine it runs on.
//!
//! A key ends when its stdin closes, so that nothing is left behind; `--detached` keeps it alive.

pub mod attestation;
pub mod panel;
pub mod rig;
mod u2f_only;
pub mod uhid;
mod virtual_key;
pub mod wire;

pub use attestation::{AttestationBatch, AttestationRoot, scalar};
pub use virtual_key::{Firmware, KeyError, KeyOptions, VirtualKey, aaguid_from_hex, command};
