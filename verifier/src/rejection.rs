//! A refusal: the exact code, and the cause beneath it for the audit record.

use std::error::Error;
use std::fmt;

use signet_evidence::RejectionCode;

use crate::boot::BootReport;

/// Something that bytes from outside caused to be refused.
///
/// Display is the code's own words; the cause is in [`Error::source`], for those who are trusted
/// with it.
#[derive(Debug)]
pub struct Rejection {
    code: RejectionCode,
    source: Option<Box<dyn Error + Send + Sync>>,
    boot: Option<Box<BootReport>>,
}

impl Rejection {
    /// A refusal that needs no further cause.
    #[must_use]
    pub fn new(code: RejectionCode) -> Self {
        Self { code, source: None, boot: None }
    }

    /// A refusal with its cause.
    #[must_use]
    pub fn because(code: RejectionCode, source: impl Error + Send + Sync + 'static) -> Self {
        Self { code, source: Some(Box::new(source)), boot: None }
    }

    /// The same, with what the machine showed of its boot.
    pub(crate) fn with_boot(self, report: BootReport) -> Self {
        Self { boot: Some(Box::new(report)), ..self }
    }

    /// What the machine showed of its boot, where that is what refused it.
    #[must_use]
    pub fn boot(&self) -> Option<&BootReport> {
        self.boot.as_deref()
    }

    /// The exact code.
    #[must_use]
    pub fn code(&self) -> RejectionCode {
        self.code
    }

    /// The cause and its causes in one line, for audit records and logs.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut line = self.code.to_string();
        let mut next = self.source();
        while let Some(cause) = next {
            line.push_str(": ");
            line.push_str(&cause.to_string());
            next = cause.source();
        }
        line
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.code.advice())
    }
}

impl Error for Rejection {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<RejectionCode> for Rejection {
    fn from(code: RejectionCode) -> Self {
        Self::new(code)
    }
}
