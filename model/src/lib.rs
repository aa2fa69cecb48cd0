//! Two models of the protocol (docs/protocol.md) for the checker `stateright`: what ties the pieces
//! of an evidence and a token together, against an attacker who has the network, an enrolled machine
//! and perhaps the operator's own host ([`world`]); and spending once over several nodes that crash
//! ([`spend`]). docs/model.md says what is assumed, and what comes out.

pub mod binding;
pub mod property;
pub mod search;
pub mod spend;
pub mod step;
pub mod table;
pub mod term;
pub mod verify;
pub mod world;
