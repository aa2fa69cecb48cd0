use std::collections::HashMap;

use futures_util::StreamExt;
use zbus::{Connection, OwnedVariant, Proxy, Variant};

type Details = HashMap<String, OwnedVariant>;

/// Presence Evidence for the authority that made the challenge; `key` is a credential that it allows.
pub async fn prove(
    bus: &Connection,
    person: &str,
    challenge: &[u8],
    key: Vec<u8>,
) -> zbus::Result<Vec<u8>> {
    let (name, path) = ("org.signet.Presence1", "/org/signet/Presence1");
    let us = bus.unique_name().map(|us| us[1..].replace('.', "_")).unwrap_or_default();
    let place = format!("{path}/request/{us}/tool");
    let request = Proxy::new(bus, name, place, "org.signet.Presence1.Request").await?;
    let mut signals = request.receive_all_signals().await?;
    let options = HashMap::from([
        ("purpose", Variant::from("session")),
        ("subject", person.into()),
        ("challenge", challenge.into()),
        ("allow_credentials", vec![key].into()),
    ]);
    let signetd = Proxy::new(bus, name, path, name).await?;
    signetd.call_method("RequestPresence", &("tool", options)).await?;
    while let Some(signal) = signals.next().await {
        if signal.header().member().is_some_and(|member| member == "Progress") {
            let (stage, details): (String, Details) = signal.body().deserialize()?;
            eprintln!("{stage}: {:?}", details.get("action"));
            continue;
        }
        let (outcome, message, mut results): (String, String, Details) =
            signal.body().deserialize()?;
        return match results.remove("evidence") {
            Some(evidence) => Ok(evidence.try_into()?),
            None => Err(zbus::Error::Failure(format!("{outcome}: {message}"))),
        };
    }
    Err(zbus::Error::Failure("signetd stopped".to_owned()))
}
