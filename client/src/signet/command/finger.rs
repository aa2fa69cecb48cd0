//! `signet finger`.

use serde_json::{Value, json};
use signet_client::Daemon;
use signet_client::authority::printable;
use signet_client::daemon::{Finger, Sensor, Upkeep};
use signet_evidence::thumbprint::hex;

use super::{Context, upkeep};
use crate::cli::{FingerAdd, FingerRemove, FingerRename, WhichKey};
use crate::failure::Failure;
use crate::output::Style;

/// One key with a fingerprint sensor, for as many requests as a command needs.
struct Reader<'a> {
    context: &'a Context,
    daemon: Daemon,
    path: Option<String>,
}

impl<'a> Reader<'a> {
    async fn choose(context: &'a Context, which: &WhichKey) -> Result<Self, Failure> {
        let daemon = context.daemon().await?;
        let fits = |key: &signet_client::daemon::Authenticator| key.fingers != "unsupported";
        let path = upkeep::choose(&daemon, which, fits).await?;
        context.terminal.remember_pin();
        Ok(Self { context, daemon, path })
    }

    async fn fingers(&self) -> Result<(Vec<Finger>, Sensor), Failure> {
        let upkeep = Upkeep::ListFingers;
        let answer = self.context.keep_up(&self.daemon, upkeep, self.path.as_deref()).await?;
        Ok(answer.fingers()?)
    }

    async fn find(&self, wanted: &str) -> Result<Finger, Failure> {
        let (fingers, _) = self.fingers().await?;
        let same = |finger: &&Finger| finger.name == wanted || hex(&finger.template) == wanted;
        match fingers.iter().filter(same).collect::<Vec<_>>().as_slice() {
            [finger] => Ok((*finger).clone()),
            [] => Err(Failure::NoSuchFinger { finger: wanted.to_owned() }),
            _ => Err(Failure::AmbiguousFinger { finger: wanted.to_owned() }),
        }
    }

    async fn keep_up(&self, upkeep: Upkeep<'_>) -> Result<signet_client::daemon::Answer, Failure> {
        self.context.keep_up(&self.daemon, upkeep, self.path.as_deref()).await
    }
}

pub(super) async fn add(context: &Context, options: &FingerAdd) -> Result<(), Failure> {
    let reader = Reader::choose(context, &options.which).await?;
    let (fingers, sensor) = reader.fingers().await?;
    let name = new_name(&fingers, options.name.as_deref())?;
    let how = if sensor.kind == "swipe" { "Swipe your finger over" } else { "Touch" };
    let times = sensor.max_samples.map(|count| format!(", {count} times")).unwrap_or_default();
    if !context.output.is_json() {
        let text = format!("{how} the sensor of your key with the new finger{times}.");
        context.output.say(Some(Style::Ask), &text);
    }
    let template = reader.keep_up(Upkeep::AddFinger { name: &name }).await?.template()?;
    let id = hex(&template);
    if context.output.is_json() {
        return context.output.json_line(&json!({ "event": "added", "id": id, "name": name }));
    }
    context.output.line(&format!("finger added: {name} (id {id})"))
}

pub(super) async fn list(context: &Context, which: &WhichKey) -> Result<(), Failure> {
    let reader = Reader::choose(context, which).await?;
    let (fingers, sensor) = reader.fingers().await?;
    let listed: Vec<Value> = fingers
        .iter()
        .map(|finger| json!({ "id": hex(&finger.template), "name": finger.name }))
        .collect();
    let result = json!({
        "fingers": listed, "kind": sensor.kind, "max_samples": sensor.max_samples,
    });
    let mut text = String::new();
    for finger in &fingers {
        let name = if finger.name.is_empty() { "(unnamed)" } else { &finger.name };
        text.push_str(&format!("{}  {}\n", hex(&finger.template), printable(name)));
    }
    if fingers.is_empty() {
        text.push_str("no fingers yet: run `signet finger add`");
    }
    context.output.result(&result, &text)
}

pub(super) async fn rename(context: &Context, options: &FingerRename) -> Result<(), Failure> {
    let reader = Reader::choose(context, &options.which).await?;
    let finger = reader.find(&options.finger).await?;
    let renamed = Upkeep::RenameFinger { template: &finger.template, name: &options.name };
    reader.keep_up(renamed).await?;
    let result = json!({ "id": hex(&finger.template), "name": options.name });
    context.output.result(&result, &format!("finger renamed: {}", options.name))
}

pub(super) async fn remove(context: &Context, options: &FingerRemove) -> Result<(), Failure> {
    let reader = Reader::choose(context, &options.which).await?;
    let finger = reader.find(&options.finger).await?;
    reader.keep_up(Upkeep::RemoveFinger { template: &finger.template }).await?;
    let result = json!({ "removed": hex(&finger.template), "name": finger.name });
    context.output.result(&result, &format!("finger removed: {}", options.finger))
}

pub(super) async fn sensor(context: &Context, which: &WhichKey) -> Result<(), Failure> {
    let reader = Reader::choose(context, which).await?;
    let sensor = reader.keep_up(Upkeep::FingerSensor).await?.sensor()?;
    let result = json!({
        "kind": sensor.kind,
        "max_samples": sensor.max_samples,
        "max_name_bytes": sensor.max_name_bytes,
    });
    let number =
        |value: Option<u32>| value.map_or("not said".to_owned(), |value| value.to_string());
    let text = format!(
        "kind             {}\nsamples needed   {}\nlongest name     {} bytes",
        if sensor.kind == "swipe" { "the finger is swiped" } else { "the finger is laid on" },
        number(sensor.max_samples),
        number(sensor.max_name_bytes),
    );
    context.output.result(&result, &text)
}

/// The name that is wanted, if no finger has it; the first free one where none is.
fn new_name(fingers: &[Finger], wanted: Option<&str>) -> Result<String, Failure> {
    let taken = |name: &str| fingers.iter().any(|finger| finger.name == name);
    match wanted {
        Some(name) if taken(name) => Err(Failure::FingerExists { name: name.to_owned() }),
        Some(name) => Ok(name.to_owned()),
        None => {
            let mut numbered = (1_u32..).map(|number| format!("finger {number}"));
            numbered.find(|name| !taken(name)).ok_or(Failure::FingerExists { name: String::new() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbered_and_unique() {
        let named = |name: &str| Finger { template: vec![1], name: name.into() };
        assert_eq!(new_name(&[], None).unwrap(), "finger 1");
        let some = [named("finger 1"), named("thumb"), named("finger 3")];
        assert_eq!(new_name(&some, None).unwrap(), "finger 2");
        assert_eq!(new_name(&some, Some("index")).unwrap(), "index");
        assert!(matches!(new_name(&some, Some("thumb")), Err(Failure::FingerExists { .. })));
    }
}
