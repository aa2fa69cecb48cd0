//! Why a set of policies does not take effect.

use std::error::Error;
use std::fmt;
use std::io;

use thiserror::Error;

use super::actions::ActionMapError;

/// A set that does not take effect, with everything that is wrong with it.
#[derive(Debug)]
pub struct PolicyLoadError {
    /// At least one, in the order of the files.
    pub problems: Vec<PolicyProblem>,
}

impl fmt::Display for PolicyLoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the policies have {} problem(s) and were not loaded", self.problems.len())?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {}", problem.report()))
    }
}

impl Error for PolicyLoadError {}

impl From<PolicyProblem> for PolicyLoadError {
    fn from(problem: PolicyProblem) -> Self {
        Self { problems: vec![problem] }
    }
}

/// One thing that is wrong, and where.
#[derive(Debug, Error)]
#[error("{file}{}: {fault}", .line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct PolicyProblem {
    /// File name within the folder.
    pub file: String,
    /// Line, from 1, where there is one.
    pub line: Option<usize>,
    /// What it is.
    #[source]
    pub fault: PolicyFault,
}

impl PolicyProblem {
    /// Place, fault, causes and what to do, in one line.
    #[must_use]
    pub fn report(&self) -> String {
        let mut line = self.to_string();
        let mut cause = self.fault.source();
        while let Some(next) = cause {
            line.push_str(": ");
            line.push_str(&next.to_string().replace('\n', " "));
            cause = next.source();
        }
        line
    }
}

pub(super) fn problem(file: &str, line: Option<usize>, fault: PolicyFault) -> PolicyProblem {
    PolicyProblem { file: file.to_owned(), line, fault }
}

/// What is wrong with a file of the set.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PolicyFault {
    /// Not there or not readable.
    #[error("cannot be read: put it back, or make it readable for the authority")]
    Unreadable(#[source] io::Error),
    /// The folder holds no rule at all.
    #[error("there is no .cedar file: add one, `signet-authority init` writes an example set")]
    NoRules,
    /// A pipe, a device or a folder under the name of a file.
    #[error("is not a plain file: put one there, or take it away")]
    NotAFile,
    /// More than anybody needs to say who may do what.
    #[error("larger than {limit} bytes: split it, or take out what does not decide")]
    TooLarge {
        /// Bound, in bytes.
        limit: usize,
    },
    /// Too many files.
    #[error("more than {limit} files: put rules together")]
    TooManyFiles {
        /// Bound.
        limit: usize,
    },
    /// Brackets within brackets.
    #[error("nested deeper than {limit} brackets: write it flatter")]
    TooDeep {
        /// Bound.
        limit: usize,
    },
    /// A rule or declaration that nobody can read.
    #[error("a statement of more than {limit} bytes: split the rule, or use a group")]
    StatementTooLong {
        /// Bound, in bytes.
        limit: usize,
    },
    /// The schema does not parse.
    #[error(
        "the schema is not valid Cedar: resources and actions are declared here, principals and context by `signet-authority policy schema`"
    )]
    Schema(#[source] Box<cedar_policy::CedarSchemaError>),
    /// A rule does not parse.
    #[error("not valid Cedar")]
    Syntax(#[source] Box<cedar_policy::ParseErrors>),
    /// A template: nothing ever links one.
    #[error("a template has no effect here: write a rule without ?principal and ?resource")]
    Template,
    /// A rule without name cannot be named in an audit record.
    #[error("a rule has no name: put @id(\"some-name\") before it")]
    Unnamed,
    /// Two rules of one name.
    #[error("the name `{0}` is used by two rules: give each its own")]
    DuplicateName(String),
    /// A rule that the schema forbids.
    #[error("rule `{rule}` does not fit the schema")]
    Invalid {
        /// The rule's name.
        rule: String,
        /// What the validator found.
        #[source]
        source: Box<cedar_policy::ValidationError>,
    },
    /// A rule that never applies, or that reads unlike what it does.
    #[error("rule `{rule}` cannot mean what it says")]
    Suspicious {
        /// The rule's name.
        rule: String,
        /// What the validator found.
        #[source]
        source: Box<cedar_policy::ValidationWarning>,
    },
    /// The entities do not fit the schema.
    #[error("the entities do not fit the schema")]
    Entities(#[source] Box<cedar_policy::entities_errors::EntitiesError>),
    /// An entry of the action map is faulty.
    #[error(transparent)]
    Action(#[from] ActionMapError),
    /// An action that the schema does not declare.
    #[error(
        "action `{0}` is not in the schema: declare it in a .cedarschema file (other than signet.cedarschema, which is not read), or correct the name"
    )]
    UnknownAction(String),
    /// `access` and the schema disagree.
    #[error(
        "action `{action}` has access = \"{access}\" but is not in the schema's group `{access}`"
    )]
    AccessDisagrees {
        /// The action.
        action: String,
        /// What the map says.
        access: super::Access,
    },
    /// A request of this action would not fit the schema, so that nothing could ever be decided.
    #[error(
        "a request of action `{action}` does not fit the schema: compare its resource and context with the example set"
    )]
    RequestDisagrees {
        /// The action.
        action: String,
        /// What does not fit.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A table test that cannot be read.
    #[error("not a table of tests")]
    Tests(#[source] Box<toml::de::Error>),
}
