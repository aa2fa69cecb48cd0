//! Asking the workstation from a host that is reached by ssh, through a forwarded Unix socket.
//!
//! No signature, no token and no key leaves the workstation. The far host says which request it wants
//! sent; the workstation shows that request to the person, gets the action token for it, and makes the
//! TLS connection to the gateway itself, through the far host, which carries bytes that it cannot read
//! or change. What comes back is the gateway's answer. docs/remote.md has the protocol.

mod exchange;
mod far;
mod frame;
mod message;
mod station;
mod tunnel;

pub use far::{Answer, FarError, ask};
pub use frame::{Frame, FrameError, FrameReader, FrameWriter, Kind, MAX_PIECE};
pub use message::{FarMessage, Header, MAX_BODY, Refusal, StationMessage, VERSION, Wanted};
pub use station::{ListenError, Station, socket_path};
