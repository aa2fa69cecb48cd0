//! FIDO2 client: CTAPHID and CTAP 2.1 over any pipe of 64-byte reports.
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
//! Layers, from below: [`reports`] (a pipe of reports), [`channel`] (CTAPHID), [`commands`] (CTAP 2.1,
//! typed, without policy), [`operation`] (what a daemon wants done, with events for a prompt).

pub mod authenticator_data;
pub mod cbor;
pub mod channel;
pub mod commands;
mod discover;
#[doc(hidden)]
pub mod fuzzing;
mod key;
pub mod operation;
mod packet;
mod pin_protocol;
pub mod reports;
mod status;

pub use channel::{Channel, ChannelError, Timing};
pub use discover::{Found, discover};
pub use key::{CommandError, Key, OpenError};
pub use pin_protocol::{PinProtocol, PinProtocolError, Token};
pub use reports::{DescriptorReports, Reports};
pub use status::{Status, StatusWord};
pub use zeroize::Zeroizing;
