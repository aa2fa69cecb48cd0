//! What gateways ask: may this request pass?
//!
//! [`Arbiter::authorize`] is the whole decision: the question is read strictly, the token judged
//! with the connection's certificate, its state looked up, policy asked, a single-use token used up,
//! and the decision put on record before it is told. [`routes`] is the thin HTTP around it.

mod approval;
mod asker;
mod challenge;
mod decide;
mod http;
mod ledger;
mod request;

pub use approval::approve;
pub use asker::require_gateway;
pub use decide::{Answer, Arbiter, Refusal, Undecided};
pub use http::routes;
pub use ledger::{Ledger, TokenState};
pub use request::{QuestionFault, RawQuestion};

#[cfg(test)]
mod tests;
