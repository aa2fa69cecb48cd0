//! `signet approve`.

use serde_json::json;
use signet_client::approval::action_for;

use super::{Context, files};
use crate::approval;
use crate::cli::Approve;
use crate::failure::Failure;

pub(super) async fn run(context: &Context, options: &Approve) -> Result<(), Failure> {
    let target = &options.target;
    let body = files::body(target.body.as_deref())?;
    let action = action_for(&target.method, &target.url, &body, &options.action)?;
    let workstation = context.workstation().await?;
    approval::show(context.output, &action);
    let acr = options.acr.as_deref();
    let means = context.means(options.by);
    let response = workstation.approve(action.as_bytes(), acr, means, &context.terminal).await?;
    let Some(path) = &options.output else {
        let result = json!({
            "access_token": response.access_token.secret(),
            "expires_in": response.expires_in,
            "acr": response.acr,
        });
        return context.output.result(&result, response.access_token.secret());
    };
    files::write(path, response.access_token.secret().as_bytes())?;
    let result = json!({ "expires_in": response.expires_in, "acr": response.acr });
    let text = format!("approved: use it once within {} s", response.expires_in);
    context.output.result(&result, &text)
}
