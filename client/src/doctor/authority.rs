//! The authority, reached with this machine's certificate.

use super::ground::{Ground, Reached};
use super::{Check, Finding};
use crate::authority::AuthorityError;
use crate::workstation::OpenError;

pub(super) fn examine(ground: &Ground) -> Finding {
    let Some(enrolment) = ground.enrolled() else {
        return Finding::unknown(Check::Authority, "this machine is not enrolled with any");
    };
    let url = &enrolment.authority;
    let finding = match &ground.authority {
        None => Finding::unknown(Check::Authority, "not asked"),
        Some(Err(error)) => opened(error),
        Some(Ok(Reached { clocks: Err(error), .. } | Reached { ready: Err(error), .. })) => {
            failed(url, error)
        }
        Some(Ok(Reached { keys: Err(error), .. })) => failed(url, error),
        Some(Ok(Reached { keys: Ok(keys), .. })) => {
            Finding::ok(Check::Authority, format!("{url} answers, and knows this machine"))
                .fact("keys_enrolled", *keys)
        }
    };
    finding.fact("url", url.clone())
}

fn opened(error: &OpenError) -> Finding {
    Finding::fail(
        Check::Authority,
        format!("cannot be asked ({})", crate::one_line::words(error)),
        "see the lines signetd and enrolment",
    )
}

fn failed(url: &str, error: &AuthorityError) -> Finding {
    let words = crate::one_line::words(error);
    let fix = match error {
        AuthorityError::Unreachable { .. } | AuthorityError::TooLarge { .. } => {
            format!("check the network and that the authority runs: {url}/readyz must answer")
        }
        AuthorityError::Untrusted { .. } => {
            "check the clock; if it is right, ask who runs the authority for its CA, and enrol again"
                .to_owned()
        }
        AuthorityError::CertificateOver => "see the line certificates".to_owned(),
        AuthorityError::BrokenOff { .. } => {
            "see the line certificates; else this machine was revoked: ask who runs the authority"
                .to_owned()
        }
        AuthorityError::Key { .. } => "see the lines tpm and keys".to_owned(),
        AuthorityError::Refused(refusal) => refusal.advice.clone(),
        AuthorityError::Url
        | AuthorityError::Client(_)
        | AuthorityError::Answer { .. }
        | AuthorityError::OtherCertificate => {
            "use signet and signet-authority of one version".to_owned()
        }
    };
    let code = match error {
        AuthorityError::Refused(refusal) => Some(refusal.name.clone()),
        other => other.rejection().map(|code| code.as_str().to_owned()),
    };
    Finding::fail(Check::Authority, words, fix).fact("code", code)
}
