//! `signet status`.

use std::fmt::Write as _;

use serde_json::{Value, json};
use signet_client::authority::printable;
use signet_client::daemon::{Authenticator, DaemonStatus, Enrolment, Standing};
use signet_client::inspection::rfc3339;
use signet_client::tokens::TokenCache;
use signet_client::{AuthorityError, Daemon, Tokens, Workstation};

use super::{Context, key_list, login, runtime_directory, ticket};
use crate::failure::Failure;

pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    let daemon = Daemon::connect(&context.bus).await?;
    let version = daemon.version().await?;
    let status = daemon.status().await?;
    let authenticators = daemon.authenticators().await?;
    let enrolment = daemon.enrolment().await?;
    let sessions = daemon.sessions().await?;
    let mut result = json!({
        "signetd": version,
        "tpm": status.tpm,
        "tpm_manufacturer": status.tpm_manufacturer,
        "tpm_firmware": status.tpm_firmware,
        "reset_count": status.reset_count,
        "restart_count": status.restart_count,
        "tpm_lockout": status.lockout,
        "queue_length": status.queue_length,
        "boot_log": status.boot_log,
        "fingerprint_reader": status.fingerprint_reader,
        "platform_keys": status.platform_keys.iter().map(|key| {
            json!({ "method": key.method, "credential_id": key.credential_id })
        }).collect::<Vec<_>>(),
        "sessions": sessions.iter().map(standing).collect::<Vec<_>>(),
        "enrolled": enrolment.is_some(),
        "authenticators": authenticators.iter().map(authenticator).collect::<Vec<_>>(),
    });
    let mut text = machine(&version, &status, &authenticators);
    if let Some(enrolment) = &enrolment {
        let (authority, session, account) = ways(context).await?;
        let reached = match &authority {
            Ok(()) => "ready".to_owned(),
            Err(error) => error.to_string(),
        };
        let session = session.ok();
        if let Value::Object(members) = &mut result {
            members.insert("device_id".into(), json!(enrolment.device_id));
            members.insert("operator".into(), json!(enrolment.operator));
            members.insert("authority".into(), json!(enrolment.authority));
            members.insert("authority_ready".into(), json!(authority.is_ok()));
            members.insert("authority_status".into(), json!(reached));
            members.insert("session".into(), json!(session.as_ref().map(login::describe)));
            members.insert("keys_enrolled".into(), json!(account.keys));
            members.insert("certificate_expires".into(), json!(account.certificate_expires));
            members.insert("notices".into(), json!(account.notices));
        }
        enrolled(&mut text, enrolment, &reached);
        let session = session.as_ref().map_or_else(
            || "none: run `signet login`".to_owned(),
            |session| login::sentence(session).replace('\n', "\n           "),
        );
        let _ = writeln!(text, "session    {session}");
        if let Some(notice) = sessions.first().and_then(Standing::notice) {
            let _ = writeln!(text, "           {notice}");
        }
        if let Some(expires) = &account.certificate_expires {
            let _ = writeln!(text, "until      {expires} (certificate, renewed at login)");
        }
        for notice in &account.notices {
            let _ = writeln!(text, "notice     {notice}");
        }
    } else {
        text.push_str("enrolment  none: run `signet enrol`\n");
    }
    context.output.result(&result, &text)
}

type Ways =
    (Result<(), AuthorityError>, Result<signet_client::tokens::SessionRecord, Failure>, Account);

/// What the operator should know of keys, certificate and tickets.
#[derive(Default)]
struct Account {
    /// `None` when the authority cannot be asked.
    keys: Option<usize>,
    certificate_expires: Option<String>,
    notices: Vec<String>,
}

impl Account {
    async fn of(workstation: &Workstation) -> Self {
        let mut account = Self {
            certificate_expires: workstation.certificate_life().map(|life| rfc3339(life.not_after)),
            ..Self::default()
        };
        if let Ok(listed) = workstation.authority().authenticators().await {
            let live = listed.iter().filter(|key| !key.revoked).count();
            account.keys = Some(live);
            if live < 2 {
                let text = "you have fewer than two keys: add another with `signet key add`, and keep it elsewhere";
                account.notices.push(text.to_owned());
            }
        }
        if let Ok(found) = workstation.authority().requested_tickets().await {
            account.notices.extend(ticket::notices(&found, &workstation.enrolment().operator));
        }
        account
    }
}

/// Whether the authority is ready, and which session there is.
async fn ways(context: &Context) -> Result<Ways, Failure> {
    let workstation: Workstation = context.workstation().await?;
    let ready = workstation.authority().ready().await;
    let account = match ready {
        Ok(()) => Account::of(&workstation).await,
        Err(_) => Account::default(),
    };
    let session = TokenCache::open(runtime_directory().as_deref())
        .map_err(Failure::from)
        .and_then(|cache| Ok(Tokens::new(workstation, cache).load()?));
    Ok((ready, session, account))
}

fn machine(version: &str, status: &DaemonStatus, keys: &[Authenticator]) -> String {
    let mut text = format!("signetd    {version}\nTPM        {}", status.tpm);
    let maker = [&status.tpm_manufacturer, &status.tpm_firmware];
    for part in maker.into_iter().flatten().filter(|part| !part.is_empty()) {
        let _ = write!(text, ", {part}");
    }
    if status.lockout == Some(true) {
        text.push_str(", locked against guessing");
    }
    text.push('\n');
    for key in keys {
        let verification = key_list::verification(key);
        let _ = writeln!(text, "key        {} ({verification})", key.product);
    }
    if keys.is_empty() {
        text.push_str("key        none plugged in\n");
    }
    for key in &status.platform_keys {
        let _ = writeln!(text, "key        of this machine ({})", key.method);
    }
    if let Some(reader) = &status.fingerprint_reader {
        let _ = writeln!(text, "reader     {}", printable(reader));
    }
    text
}

fn enrolled(text: &mut String, enrolment: &Enrolment, reached: &str) {
    let _ = writeln!(text, "operator   {}", enrolment.operator);
    let _ = writeln!(text, "device     {}", enrolment.device_id);
    let _ = writeln!(text, "authority  {}: {reached}", enrolment.authority);
}

fn standing(session: &Standing) -> Value {
    json!({
        "state": session.state,
        "cause": session.cause,
        "session": session.session,
        "since": session.since,
        "method": session.method,
        "renewals": session.renewals,
        "renewed": session.renewed,
    })
}

fn authenticator(key: &Authenticator) -> Value {
    json!({
        "path": key.path,
        "product": key.product,
        "versions": key.versions,
        "pin_set": key.pin_set,
        "built_in_uv": key.built_in_uv,
        "min_pin_length": key.min_pin_length,
    })
}
