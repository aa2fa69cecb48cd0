//! `signet present`.

use serde_json::json;
use signet_client::Tokens;
use signet_client::tokens::TokenCache;
use signet_client::workstation::Ask;
use signet_evidence::Purpose;
use signet_evidence::action::MAX_ACTION;

use super::{Context, files, runtime_directory};
use crate::cli::{Present, PresentPurpose};
use crate::failure::Failure;

pub(super) async fn run(context: &Context, options: &Present) -> Result<(), Failure> {
    let action = match (options.purpose, &options.action_file) {
        (PresentPurpose::Action, Some(file)) => Some(files::read(file, MAX_ACTION)?),
        _ => None,
    };
    let workstation = context.workstation().await?;
    let session = if options.purpose == PresentPurpose::Renew {
        let cache = TokenCache::open(runtime_directory().as_deref())?;
        Tokens::new(workstation.clone(), cache).load()?.session_id()
    } else {
        None
    };
    if let Some(bytes) = &action {
        let parsed = signet_evidence::Action::parse(bytes)
            .map_err(signet_client::approval::ApprovalError::from)?;
        crate::approval::show(context.output, &parsed);
    }
    let ask = Ask {
        purpose: match options.purpose {
            PresentPurpose::Session => Purpose::Session,
            PresentPurpose::Renew => Purpose::Renew,
            PresentPurpose::Action => Purpose::Action,
            PresentPurpose::Workload => Purpose::Workload,
        },
        scope: options.scope.as_deref(),
        acr: options.acr.as_deref(),
        action: action.as_deref(),
        session,
        means: context.means(options.by),
    };
    let proof = workstation.prove(&ask, &context.terminal).await?;
    files::write(&options.output, &proof.evidence)?;
    let size = proof.evidence.len();
    let purpose = ask.purpose;
    let result = json!({
        "purpose": purpose.as_str(),
        "subject": proof.subject,
        "bytes": size,
        "observed": proof.observed,
    });
    let text = format!("{size} bytes of {purpose} evidence in {}", options.output.display());
    context.output.result(&result, &text)
}
