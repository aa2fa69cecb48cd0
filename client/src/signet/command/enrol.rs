//! `signet enrol`.

use serde_json::json;
use signet_client::Daemon;
use signet_client::authority::Base64Url;
use signet_client::enrolment::{EnrolmentTerms, enrol};
use signet_client::inspection::rfc3339;
use signet_evidence::thumbprint::hex;

use super::{Context, files};
use crate::cli::Enrol;
use crate::failure::Failure;
use crate::secret_input;

pub(super) async fn run(context: &Context, options: &Enrol) -> Result<(), Failure> {
    if options.renew {
        return renew(context).await;
    }
    let settings = &context.settings;
    let authority = options.authority.as_ref().or(settings.authority.as_ref());
    let authority = authority
        .ok_or(Failure::NotGiven { what: "the authority's URL", option: "--authority" })?;
    let ca = options.ca.as_ref().or(settings.authority_ca.as_ref());
    let ca = ca.ok_or(Failure::NotGiven { what: "the authority's CA", option: "--ca" })?;
    let trust_anchors = files::anchors(ca)?;
    // Before the ticket is asked for: without signetd it would be typed for nothing.
    let daemon = Daemon::connect(&context.bus).await?;
    daemon.version().await?;
    let file = options.ticket_file.as_deref();
    let ticket = secret_input::from_file_or_person(file, "Enrolment ticket: ")
        .await
        .map_err(Failure::NoTicket)?;
    context.output.say(None, "Enrolling this machine by its TPM; this can take half a minute…");
    let terms = EnrolmentTerms {
        authority,
        trust_anchors: &trust_anchors,
        ticket: ticket.trim(),
        ek_kind: options.ek.map(|kind| kind.as_str()),
    };
    let enrolled = enrol(&daemon, terms).await?;
    let finished = &enrolled.finished;
    let Base64Url(device) = &finished.device_id;
    let expires = rfc3339(finished.certificate_expires);
    let result = json!({
        "device_id": hex(device),
        "spiffe_id": finished.spiffe_id,
        "operator": finished.operator,
        "ek_kind": enrolled.ek_kind,
        "ek_certified": enrolled.ek_certified,
        "certificate_expires": expires,
    });
    let vouched = if enrolled.ek_certified { "certified by its maker" } else { "not certified" };
    let text = format!(
        "enrolled for {}\n  device       {}\n  identity     {}\n  TPM key      {}, {vouched}\n  \
         certificate  until {expires}\nNext: signet key add",
        finished.operator,
        hex(device),
        finished.spiffe_id,
        enrolled.ek_kind,
    );
    context.output.result(&result, &text)
}

async fn renew(context: &Context) -> Result<(), Failure> {
    let expires = rfc3339(context.workstation().await?.renew_certificates().await?);
    let result = json!({ "certificate_expires": expires });
    context.output.result(&result, &format!("certificate renewed: until {expires}"))
}
