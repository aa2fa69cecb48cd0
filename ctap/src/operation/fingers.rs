//! Enrolling, listing and removing fingers.

use std::time::Duration;

use super::error::{Feature, OperationError};
use super::prompt::{Event, Prompt};
use super::verify::Verified;
use crate::commands::{Permissions, Sample, SampleStatus, Template};
use crate::key::Key;
use crate::pin_protocol::Token;

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

impl Key {
    /// Enrols a finger under `name`; asks for the PIN first. Cancel by dropping the future: the key
    /// forgets the samples when the next enrolment begins.
    pub async fn enroll_finger(
        &mut self,
        name: Option<&str>,
        prompt: &Prompt,
    ) -> Result<EnrolledFinger, OperationError> {
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
        self.remove_template(&token, template).await?;
        self.refresh().await?;
        Ok(())
    }

    async fn fingers_token(&mut self, prompt: &Prompt) -> Result<Token, OperationError> {
        let options = &self.info().options;
        if options.bio_enroll.is_none() && options.user_verification_mgmt_preview.is_none() {
            return Err(OperationError::Unsupported(Feature::FingerEnrolment));
        }
        self.management_token(Permissions::BIO_ENROLLMENT, prompt).await
    }

    /// A token for management, by PIN.
    pub(super) async fn management_token(
        &mut self,
        permissions: Permissions,
        prompt: &Prompt,
    ) -> Result<Token, OperationError> {
        match self.info().options.client_pin {
            None => return Err(OperationError::Unsupported(Feature::Pin)),
            Some(false) => return Err(OperationError::PinNotSet),
            Some(true) => {}
        }
        match self.verify_by_pin(permissions, None, prompt).await? {
            Verified::Token(token, _) => Ok(token),
            Verified::Not | Verified::DuringCommand => {
                Err(OperationError::Unsupported(Feature::Pin))
            }
        }
    }
}
