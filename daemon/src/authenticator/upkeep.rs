//! What the owner of a key does with it: PIN, fingers, stored credentials, settings, erasing.

use std::path::PathBuf;

use signet_ctap::Key;
use signet_ctap::commands::{
    Info, Metadata, SensorInfo, StoredCredential, StoredRelyingParty, Template,
};
use signet_ctap::operation::{Config, Feature, OperationError, Prompt, choose};

use super::{Keys, Line, Pin, converse, operation_failure};
use crate::ceremony::Stage;
use crate::failure::Failure;

/// Longest PIN in bytes of UTF-8 (CTAP 2.1 §6.5.1).
pub const MAX_PIN: u32 = 63;

/// One thing to do with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upkeep {
    /// Device node of the key; without it the only one that can do it, or the touched one.
    pub path: Option<PathBuf>,
    /// What to do.
    pub task: Task,
}

/// What to do with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Enrol a finger.
    AddFinger {
        /// What its owner calls it.
        name: String,
    },
    /// Tell which fingers it knows.
    ListFingers,
    /// Call a finger by another name.
    RenameFinger {
        /// Its template.
        template: Vec<u8>,
        /// The new name.
        name: String,
    },
    /// Forget a finger.
    RemoveFinger {
        /// Its template.
        template: Vec<u8>,
    },
    /// Set the first PIN.
    SetPin,
    /// Set another PIN.
    ChangePin,
    /// Tell which discoverable credentials it holds.
    ListCredentials,
    /// Delete a discoverable credential.
    RemoveCredential {
        /// Its id.
        id: Vec<u8>,
    },
    /// Erase PIN, fingers and all credentials.
    Reset,
    /// Change a setting.
    Configure(Config),
    /// Tell what the fingerprint sensor is like.
    Sensor,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// It is done.
    Done,
    /// The template of the new finger.
    FingerAdded(Vec<u8>),
    /// The sensor.
    Sensor(SensorInfo),
    /// The fingers that the key knows.
    Fingers {
        /// The fingers.
        fingers: Vec<Template>,
        /// The sensor.
        sensor: SensorInfo,
    },
    /// The discoverable credentials on the key.
    Credentials {
        /// Used and free places.
        metadata: Metadata,
        /// The credentials by relying party.
        stored: Vec<(StoredRelyingParty, Vec<StoredCredential>)>,
    },
}

impl Task {
    /// Its name for polkit's rules.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AddFinger { .. } => "add-finger",
            Self::ListFingers => "list-fingers",
            Self::RenameFinger { .. } => "rename-finger",
            Self::RemoveFinger { .. } => "remove-finger",
            Self::SetPin => "set-pin",
            Self::ChangePin => "change-pin",
            Self::ListCredentials => "list-credentials",
            Self::RemoveCredential { .. } => "remove-credential",
            Self::Reset => "reset",
            Self::Configure(_) => "configure",
            Self::Sensor => "finger-sensor",
        }
    }

    /// Whether a key could do this by what it says of itself.
    fn suits(&self, info: &Info) -> bool {
        let options = &info.options;
        match self {
            Self::AddFinger { .. }
            | Self::ListFingers
            | Self::RenameFinger { .. }
            | Self::Sensor
            | Self::RemoveFinger { .. } => {
                options.bio_enroll.or(options.user_verification_mgmt_preview).is_some()
            }
            Self::SetPin | Self::ChangePin => options.client_pin.is_some(),
            Self::ListCredentials | Self::RemoveCredential { .. } => {
                options.credential_management.or(options.credential_management_preview)
                    == Some(true)
            }
            Self::Reset => !info.u2f_only,
            Self::Configure(_) => options.authenticator_config == Some(true),
        }
    }
}

impl Task {
    /// What a key lacks that does not suit.
    fn feature(&self) -> Feature {
        match self {
            Self::AddFinger { .. }
            | Self::ListFingers
            | Self::Sensor
            | Self::RenameFinger { .. }
            | Self::RemoveFinger { .. } => Feature::FingerEnrolment,
            Self::SetPin | Self::ChangePin => Feature::Pin,
            Self::ListCredentials | Self::RemoveCredential { .. } => Feature::CredentialManagement,
            Self::Reset => Feature::Reset,
            Self::Configure(_) => Feature::Configuration,
        }
    }
}

impl Upkeep {
    /// Does it, on the key that it is about.
    ///
    /// # Errors
    /// What the person or the key did.
    pub async fn run(&self, keys: &mut Keys, line: &mut Line<'_>) -> Result<Finding, Failure> {
        let key = self.choose(keys, line).await?;
        match &self.task {
            Task::AddFinger { name } => {
                let work = async |prompt: Prompt| key.enroll_finger(Some(name), &prompt).await;
                let added = attend(work, line).await.map_err(|error| operation_failure(&error))?;
                Ok(Finding::FingerAdded(added.template))
            }
            Task::ListFingers => {
                let work = async |prompt: Prompt| {
                    let fingers = key.list_fingers(&prompt).await?;
                    let sensor = key.fingerprint_sensor().await?;
                    Ok(Finding::Fingers { fingers, sensor })
                };
                attend(work, line).await.map_err(|error| operation_failure(&error))
            }
            Task::RenameFinger { template, name } => {
                let work = async |prompt: Prompt| key.rename_finger(template, name, &prompt).await;
                done(attend(work, line).await)
            }
            Task::Sensor => {
                let sensor = key.fingerprint_sensor().await;
                sensor.map(Finding::Sensor).map_err(|error| operation_failure(&error))
            }
            Task::RemoveFinger { template } => {
                let work = async |prompt: Prompt| key.remove_finger(template, &prompt).await;
                done(attend(work, line).await)
            }
            Task::SetPin => set_pin(key, line).await,
            Task::ChangePin => change_pin(key, line).await,
            Task::ListCredentials => {
                let work = async |prompt: Prompt| key.list_credentials(&prompt).await;
                let listed = attend(work, line).await;
                let (metadata, stored) = listed.map_err(|error| operation_failure(&error))?;
                Ok(Finding::Credentials { metadata, stored })
            }
            Task::Reset => {
                let work = async |prompt: Prompt| key.reset_to_factory(&prompt).await;
                done(attend(work, line).await)
            }
            Task::Configure(config) => {
                let work = async |prompt: Prompt| key.configure(config, &prompt).await;
                done(attend(work, line).await)
            }
            Task::RemoveCredential { id } => {
                let work = async |prompt: Prompt| key.remove_credential(id, &prompt).await;
                done(attend(work, line).await)
            }
        }
    }

    /// The key it is about: the only one that can do it, or the one that is touched.
    async fn choose<'k>(
        &self,
        keys: &'k mut Keys,
        line: &mut Line<'_>,
    ) -> Result<&'k mut Key, Failure> {
        let candidates = keys.0.iter_mut().enumerate();
        let able: Vec<(usize, &mut Key)> =
            candidates.filter(|(_, key)| self.task.suits(key.info())).collect();
        if able.is_empty() {
            return Err(Failure::NotSupported { lacks: self.task.feature() });
        }
        let (prompt, events) = Prompt::new();
        let chosen = converse(choose(able, &prompt), events, line).await;
        let (_, key) = chosen.map_err(|error| operation_failure(&error))?;
        Ok(key)
    }
}

/// Runs an operation in front of the person.
async fn attend<T>(
    work: impl AsyncFnOnce(Prompt) -> Result<T, OperationError>,
    line: &mut Line<'_>,
) -> Result<T, OperationError> {
    let (prompt, events) = Prompt::new();
    converse(work(prompt), events, line).await
}

fn done(result: Result<(), OperationError>) -> Result<Finding, Failure> {
    result.map(|()| Finding::Done).map_err(|error| operation_failure(&error))
}

async fn set_pin(key: &mut Key, line: &mut Line<'_>) -> Result<Finding, Failure> {
    if key.info().has_pin() {
        return Err(Failure::PinAlreadySet);
    }
    let new = ask(key, new_pin(key.info()), line).await?;
    key.set_pin(&new).await.map_err(|error| operation_failure(&error))?;
    Ok(Finding::Done)
}

async fn change_pin(key: &mut Key, line: &mut Line<'_>) -> Result<Finding, Failure> {
    if !key.info().has_pin() {
        return Err(Failure::PinNotSet);
    }
    let mut new: Option<Pin> = None;
    loop {
        let retries = key.pin_retries().await.map_err(|error| operation_failure(&error.into()))?;
        if retries.left == 0 {
            return Err(Failure::PinBlocked);
        }
        if retries.power_cycle_needed {
            return Err(Failure::PinAuthBlocked);
        }
        let min_length = key.info().min_pin_length;
        let old = Stage::PinNeeded { tries_left: retries.left, min_length };
        let old = ask(key, old, line).await?;
        let wanted = match new.take() {
            Some(given) => given,
            None => ask(key, new_pin(key.info()), line).await?,
        };
        match key.change_pin(&old, &wanted).await {
            Ok(()) => return Ok(Finding::Done),
            // The old one is asked again, with fewer tries left; the new one is not.
            Err(OperationError::WrongPin { tries_left: 1.. }) => new = Some(wanted),
            Err(error) => return Err(operation_failure(&error)),
        }
    }
}

fn new_pin(info: &Info) -> Stage {
    Stage::NewPinNeeded { min_length: info.min_pin_length, max_length: MAX_PIN }
}

/// A PIN from the person. A key pulled out meanwhile must not leave them typing.
async fn ask(key: &mut Key, stage: Stage, line: &mut Line<'_>) -> Result<Pin, Failure> {
    (line.notice)(stage);
    tokio::select! {
        pin = line.pins.recv() => pin.ok_or(Failure::Cancelled),
        _ = key.channel().removed() => Err(Failure::AuthenticatorRemoved),
    }
}
