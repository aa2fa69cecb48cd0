//! The mutants, as `cargo mutants --list --json` names them.

use serde::Deserialize;

/// One change to one place of the source.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Mutant {
    /// File, place and change, for people.
    pub(crate) name: String,
    /// Path below the root of the workspace.
    pub(crate) file: String,
    /// What is put in the place of what is there.
    pub(crate) replacement: String,
    pub(crate) genre: Genre,
    pub(crate) span: Span,
    function: Option<Function>,
}

/// What kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Genre {
    /// The whole body of a function for a value.
    FnValue,
    BinaryOperator,
    UnaryOperator,
    /// An arm is left out.
    MatchArm,
    MatchArmGuard,
    /// A field of a struct expression is left to what `..` gives.
    StructField,
}

/// From where to where, lines and columns counted from 1.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Span {
    pub(crate) start: Place,
}

/// A line and a column, counted from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

#[derive(Debug, Clone, Deserialize)]
struct Function {
    return_type: String,
}

impl Mutant {
    /// Whether the function's type is hidden: a second `return` of another type does not compile there,
    /// though it would in the place of the first.
    pub(crate) fn returns_hidden_type(&self) -> bool {
        self.function.as_ref().is_some_and(|function| function.return_type.contains("impl "))
    }
}
