//! `signet request` on a host whose workstation is at the other end of a forwarded socket.

use std::path::Path;
use std::process::ExitCode;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use signet_client::authority::printable;
use signet_client::remote::{FarError, Header, Wanted, ask};

use super::{Context, answer, files};
use crate::cli::Request;
use crate::failure::Failure;
use crate::output::Style;

pub(super) async fn run(
    context: &Context,
    options: &Request,
    socket: &Path,
) -> Result<ExitCode, Failure> {
    for (given, option) in [
        (options.cacert.is_some(), "--cacert"),
        (options.action_token.is_some(), "--action-token"),
        (options.no_step_up, "--no-step-up"),
        (options.no_token, "--no-token"),
        (options.as_operator, "--as-operator"),
        (options.by.is_some(), "--method"),
    ] {
        if given {
            return Err(Failure::NotOverSocket { option });
        }
    }
    if options.action.is_empty() {
        return Err(Failure::ActionNotGiven);
    }
    let body = files::body(options.target.body.as_deref())?;
    let wanted = Wanted {
        purpose: "action".to_owned(),
        method: options.target.method.clone(),
        url: options.target.url.to_string(),
        actions: options.action.clone(),
        headers: options.header.clone(),
        body_length: u64::try_from(body.len()).unwrap_or(u64::MAX),
        acr: None,
    };
    let output = context.output;
    let show = |words: &str| output.say(Some(Style::Ask), &printable(words));
    let found = ask(socket, &host_name(), wanted, &body, show).await?;
    let status = StatusCode::from_u16(found.status).map_err(|_| FarError::Protocol)?;
    answer::print(output, status, &headers(&found.headers), &found.body)
}

/// What this host calls itself, of the letters that the workstation takes.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let letters =
        name.chars().filter(|letter| letter.is_ascii_alphanumeric() || ".-".contains(*letter));
    let name: String = letters.take(64).collect();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

fn headers(listed: &[Header]) -> HeaderMap {
    let header = |(name, value): &Header| {
        Some((HeaderName::try_from(name).ok()?, HeaderValue::from_str(value).ok()?))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in listed.iter().filter_map(header) {
        headers.append(name, value);
    }
    headers
}
