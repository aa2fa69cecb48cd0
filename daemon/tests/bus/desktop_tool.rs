use signet_client::ceremony::{CeremonyError, Telling, attend};
use signet_client::daemon::{Bus, Daemon, PresenceRequest};

/// Presence Evidence for the authority that made the challenge; `keys` are credentials that it allows.
pub async fn prove(
    bus: &Bus,
    person: &str,
    challenge: &[u8],
    keys: &[Vec<u8>],
) -> Result<Vec<u8>, CeremonyError> {
    let daemon = Daemon::connect(bus).await?;
    let asked = PresenceRequest::session(person, challenge, keys);
    let request = daemon.request_presence(&asked).await?;
    let show = Telling::new(|step| eprintln!("{:?}: {:?}", step.progress, step.prompt));
    let answer = attend(request, &show).await?;
    Ok(answer.presence()?.evidence)
}
