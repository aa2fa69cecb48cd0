//! What gateways ask: may this request pass?
//!
//! [`Arbiter::authorize`] is the whole decision: the question is read strictly, the token judged
//! with the connection's certificate, its state looked up, policy asked, a single-use token used up,
//! and the decision put on record before it is told. [`routes`] is the thin HTTP around it.

mod approval;
mod asker;
mod attributes;
mod certificate;
mod decide;
mod forwarded;
#[cfg(debug_assertions)]
#[doc(hidden)]
pub mod fuzzing;
mod grpc;
mod http;
mod ledger;
mod protobuf;
mod renewal;
mod request;
mod socket;

pub use approval::approve;
pub use asker::{Asker, SocketGateway, require_gateway};
pub use certificate::read as read_peer_certificate;
pub use decide::{Answer, Arbiter, Refusal, Undecided};
pub(crate) use grpc::{CHECK, over_grpc};
pub use http::routes;
pub use ledger::{Ledger, Look, Standings, TokenState};
pub use request::{QuestionFault, RawQuestion};
pub use socket::{GatewaySocket, SocketError};

#[cfg(test)]
mod tests;
