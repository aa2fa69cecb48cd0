//! Enrolling, listing, naming and removing fingers.

use std::time::Duration;

use super::error::{Feature, OperationError};
use super::prompt::{Event, Prompt};
use crate::commands::{Permissions, Sample, SampleStatus, SensorInfo, Template};
use crate::key::{CommandError, Key};
use crate::pin_protocol::Token;
use crate::status::Status;

/// How long the sensor waits for one sample. Short, because keys do not hear CANCEL meanwhile.
const SAMPLE_PATIENCE: Duration = Duration::from_secs(5);
/// Samples without a finger until the person is taken to have left.
const IDLE_SAMPLES: u32 = 6;
/// Samples, good or bad, until an enrolment is given up.
const MAX_SAMPLES: u32 = 100;

/// A finger the key knows now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolledFinger {
    /// Its template's id.
    pub template: Vec<u8>,
}

/// Longest name where the sensor does not say (CTAP 2.1 §6.7.2 maxTemplateFriendlyName), bytes.
const MAX_NAME: u32 = 64;

impl Key {
    /// What the sensor is like; asks for nothing.
    pub async fn fingerprint_sensor(&mut self) -> Result<SensorInfo, OperationError> {
        self.needs_sensor()?;
        Ok(self.sensor_info().await?)
    }

    /// Enrols a finger under `name`; asks for the PIN first. Cancel by dropping the future: the key
    /// forgets the samples when the next enrolment begins.
    pub async fn enroll_finger(
        &mut self,
        name: Option<&str>,
        prompt: &Prompt,
    ) -> Result<EnrolledFinger, OperationError> {
        self.needs_sensor()?;
        if let Some(name) = name {
            self.check_name(name).await?;
        }
        let token = self.fingers_token(prompt).await?;
        prompt.send(Event::FingerNeeded);
        let mut sample = self.enroll_begin(&token, SAMPLE_PATIENCE).await?;
        let mut idle = 0;
        for _ in 0..MAX_SAMPLES {
            prompt.send(Event::SampleTaken { status: sample.status, remaining: sample.remaining });
            let Sample { template, status, remaining } = sample;
            if remaining == 0 {
                if let Some(name) = name {
                    self.name_template(&token, &template, name).await?;
                }
                self.refresh().await?;
                return Ok(EnrolledFinger { template });
            }
            idle = if status == SampleStatus::NoActivity { idle + 1 } else { 0 };
            if idle == IDLE_SAMPLES {
                break;
            }
            sample = self.enroll_next(&token, &template, SAMPLE_PATIENCE).await?;
        }
        self.enroll_cancel().await?;
        Err(OperationError::Timeout)
    }

    /// Lists the enrolled fingers; asks for the PIN first.
    pub async fn list_fingers(&mut self, prompt: &Prompt) -> Result<Vec<Template>, OperationError> {
        let token = self.fingers_token(prompt).await?;
        Ok(self.templates(&token).await?)
    }

    /// Removes a finger; asks for the PIN first.
    pub async fn remove_finger(
        &mut self,
        template: &[u8],
        prompt: &Prompt,
    ) -> Result<(), OperationError> {
        let token = self.fingers_token(prompt).await?;
        self.remove_template(&token, template).await.map_err(unknown_finger)?;
        self.refresh().await?;
        Ok(())
    }

    /// Gives a finger another name; asks for the PIN first.
    pub async fn rename_finger(
        &mut self,
        template: &[u8],
        name: &str,
        prompt: &Prompt,
    ) -> Result<(), OperationError> {
        self.needs_sensor()?;
        self.check_name(name).await?;
        let token = self.fingers_token(prompt).await?;
        self.name_template(&token, template, name).await.map_err(unknown_finger)
    }

    async fn check_name(&mut self, name: &str) -> Result<(), OperationError> {
        let limit = self.sensor_info().await?.max_name_length.unwrap_or(MAX_NAME);
        match name.len() > limit as usize {
            true => Err(OperationError::NameTooLong { limit }),
            false => Ok(()),
        }
    }

    fn needs_sensor(&self) -> Result<(), OperationError> {
        let options = &self.info().options;
        match options.bio_enroll.or(options.user_verification_mgmt_preview) {
            None => Err(OperationError::Unsupported(Feature::FingerEnrolment)),
            Some(_) => Ok(()),
        }
    }

    async fn fingers_token(&mut self, prompt: &Prompt) -> Result<Token, OperationError> {
        self.needs_sensor()?;
        self.management_token(Permissions::BIO_ENROLLMENT, prompt).await
    }
}

/// "If there is no matching enrollment … return CTAP2_ERR_INVALID_OPTION" (§6.7.7, §6.7.8).
fn unknown_finger(error: CommandError) -> OperationError {
    match error {
        CommandError::Status(Status::INVALID_OPTION) => OperationError::FingerNotFound,
        error => error.into(),
    }
}
