//! `signet token`.

use serde_json::json;
use signet_client::inspection::UnverifiedJwt;
use signet_client::tokens::BootTime;

use super::Context;
use crate::cli::Token;
use crate::failure::Failure;

pub(super) async fn run(context: &Context, options: &Token) -> Result<(), Failure> {
    let tokens = context.tokens().await?;
    let record = if options.renew { tokens.renew_now().await? } else { tokens.current().await? };
    let token = record.access_token.secret();
    if let Some(audience) = &options.audience {
        let claims = UnverifiedJwt::parse(token)?;
        if !claims.is_for(audience) {
            let found = claims.claims.get("aud").map_or("nobody".to_owned(), ToString::to_string);
            return Err(Failure::Audience { audience: audience.clone(), found });
        }
    }
    let now = BootTime::now();
    let result = json!({
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": record.remaining(now).as_secs(),
        "presence_expires_in": record.presence_remaining(now).map(|left| left.as_secs()),
        "acr": record.acr,
        "scope": record.scope,
    });
    context.output.result(&result, token)
}
