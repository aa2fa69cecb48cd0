//! FIDO2 client: CTAPHID, CTAP 2.0 to 2.2 and U2F over any pipe of 64-byte reports.
//!
//! Find keys with [`discover`] or take a path from configuration, open them with [`Key::open_path`],
//! then run one of the operations:
//!
//! ```no_run
//! # async fn example(request: signet_ctap::operation::AssertRequest) -> Result<(), Box<dyn std::error::Error>> {
//! use signet_ctap::operation::{Event, Prompt};
//! use signet_ctap::{Key, Timing};
//!
//! let mut key = Key::open_path("/dev/hidraw0".as_ref(), Timing::default()).await?;
//! let (prompt, mut events) = Prompt::new();
//! let mut assertion = std::pin::pin!(key.assert(&request, &prompt));
//! let assertion = loop {
//!     tokio::select! {
//!         result = &mut assertion => break result?,
//!         Some(event) = events.next() => match event {
//!             Event::PinNeeded(question) => question.decline(),
//!             event => eprintln!("{event:?}"),
//!         },
//!     }
//! };
//! # let _ = assertion; Ok(()) }
//! ```
//!
//! Beside [`Key::assert`] and [`Key::register`]: PINs ([`Key::set_pin`], [`Key::change_pin`]), fingers
//! ([`Key::enroll_finger`], [`Key::list_fingers`], [`Key::rename_finger`], [`Key::remove_finger`],
//! [`Key::fingerprint_sensor`]), stored credentials ([`Key::list_credentials`],
//! [`Key::rename_credential`], [`Key::remove_credential`]), settings ([`Key::configure`]) and
//! [`Key::reset_to_factory`]; of several keys, [`operation::assert_any`] and [`operation::choose`] take
//! the one that is touched.
//!
//! How a user is verified: by the key itself where it can, with as many tries as it gives; by PIN where
//! the key knows no finger or takes none any more, and only if the request's policy and the key's
//! options (`noMcGaPermissionsWithClientPin`) both allow it. Each signature gets a fresh token, good
//! for one permission and one relying party. Where the key insists (`alwaysUv`, `makeCredUvNotRqd`)
//! the user is verified although the request did not ask. Management takes the PIN, or, on keys without
//! one, the finger where the key says that it manages (`uvAcfg`, `uvBioEnroll`).
//!
//! Keys of the U2F generation ([`commands::Info::u2f_only`]) make and use credentials by touch, with
//! attestation of format `fido-u2f`; everything else is
//! [`Unsupported`](operation::OperationError::Unsupported). CTAP 2.0 keys with a sensor verify during
//! the command; those of CTAP 2.1 previews speak their prototype commands for fingers and credentials.
//!
//! A program that may not open device nodes gets them open from one that may: [`handover`].
//!
//! Layers, from below: [`reports`] (a pipe of reports), [`channel`] (CTAPHID), [`commands`] (CTAP2 and
//! U2F, typed, without policy), [`operation`] (what a daemon wants done, with events for a prompt).

pub mod authenticator_data;
pub mod cbor;
pub mod channel;
pub mod commands;
mod discover;
#[doc(hidden)]
pub mod fuzzing;
pub mod handover;
mod key;
pub mod operation;
mod packet;
mod pin_protocol;
pub mod reports;
mod status;

pub use channel::{Channel, ChannelError, Timing};
pub use discover::{Found, discover, identify};
pub use key::{CommandError, Key, OpenError};
pub use pin_protocol::{PinProtocol, PinProtocolError, Token};
pub use reports::{DescriptorReports, Reports};
pub use status::{Status, StatusWord};
pub use zeroize::Zeroizing;
