//! `signet login` and `signet logout`.

use serde_json::{Value, json};
use signet_client::tokens::{BootTime, LoginTerms, SessionRecord, TokenCache, TokensError};

use super::{Context, runtime_directory};
use crate::cli::{Login, Logout};
use crate::failure::Failure;
use crate::output::Style;

pub(super) async fn run(context: &Context, options: &Login) -> Result<(), Failure> {
    let tokens = context.tokens().await?;
    let terms = LoginTerms {
        scope: options.scope.as_deref(),
        acr: options.acr.as_deref(),
        new_session: options.new,
        means: context.means(options.by),
    };
    let record = tokens.log_in(terms, &context.terminal).await?;
    context.output.result(&describe(&record), &format!("logged in as {}", sentence(&record)))
}

pub(super) async fn logout(context: &Context, options: &Logout) -> Result<(), Failure> {
    let cache = TokenCache::open(runtime_directory().as_deref())?;
    if options.all {
        // First, and whether or not the authority can be reached.
        context.daemon().await?.end_sessions().await?;
    }
    let tokens = context.tokens().await?;
    let held = match tokens.every_token() {
        Ok(held) => held,
        Err(TokensError::NotLoggedIn) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let mut revoked = Ok(());
    for token in &held {
        revoked = revoked.and(tokens.workstation().authority().revoke(token).await);
    }
    cache.clear()?;
    if let Err(error) = revoked {
        let text = "forgotten here, but the authority was not told; the token runs out by itself";
        context.output.say(Some(Style::Bad), text);
        return Err(error.into());
    }
    context.output.result(&json!({ "logged_out": true }), "logged out")
}

/// A session without its token, for programs.
pub(super) fn describe(record: &SessionRecord) -> Value {
    let now = BootTime::now();
    json!({
        "subject": record.subject,
        "session": record.session,
        "acr": record.acr,
        "scope": record.scope,
        "expires_in": record.remaining(now).as_secs(),
        "presence_expires_in": record.presence_remaining(now).map(|left| left.as_secs()),
    })
}

/// A session in a few words.
pub(super) fn sentence(record: &SessionRecord) -> String {
    let now = BootTime::now();
    let acr = record.acr.as_deref().map(|acr| format!(" ({acr})")).unwrap_or_default();
    let scope = record.scope.as_deref().map(|scope| format!("\n  rights    {scope}"));
    let presence = record.presence_remaining(now).map(|left| {
        format!("\n  presence  good for {}, renewed by the TPM until then", span(left.as_secs()))
    });
    format!(
        "{}{acr}\n  session   {}{}{}",
        record.subject,
        record.session,
        scope.unwrap_or_default(),
        presence.unwrap_or_default()
    )
}

/// Seconds as a person says them.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}
