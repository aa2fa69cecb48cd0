//! What is forged, and the code that each forgery must get. In the order of protocol section 2.4.

mod action;
mod assertion;
mod certification;
mod machine;
mod platform;
mod quote;
mod registration;
mod shape;
mod statement;

use super::Case;

/// Every case.
pub(super) fn all() -> impl Iterator<Item = &'static Case> {
    [
        shape::CASES,
        statement::CASES,
        action::CASES,
        machine::CASES,
        quote::CASES,
        certification::CASES,
        assertion::CASES,
        platform::CASES,
        registration::CASES,
    ]
    .into_iter()
    .flatten()
}

/// One case, in few words: `code/name`, clause, comment, base, edits.
macro_rules! case {
    ($code:literal, $name:literal, $spec:literal, $comment:literal, $base:ident, [$($edit:expr),* $(,)?]) => {
        $crate::forge::Case {
            code: $code,
            name: $name,
            spec: $spec,
            comment: $comment,
            base: $crate::forge::Base::$base,
            edits: &[$($edit),*],
        }
    };
}
use case;
