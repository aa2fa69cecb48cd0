//! authenticatorBioEnrollment (CTAP 2.1 §6.7) and its dialect before CTAP 2.1.

use std::time::Duration;

use ciborium::Value;

use super::client_pin::encoded;
use crate::cbor::{self, DecodeError, Fields};
use crate::key::{CommandError, Key};
use crate::pin_protocol::Token;
use crate::status::Status;

const BIO_ENROLLMENT: u8 = 0x09;
const BIO_ENROLLMENT_PREVIEW: u8 = 0x40;
const FINGERPRINT: u8 = 0x01;

/// Sub-commands of bioEnrollment.
#[derive(Debug, Clone, Copy)]
enum Sub {
    EnrollBegin = 0x01,
    CaptureNext = 0x02,
    Cancel = 0x03,
    Enumerate = 0x04,
    SetName = 0x05,
    Remove = 0x06,
    SensorInfo = 0x07,
}

/// How a sample of a finger came out (CTAP 2.1 §6.7.3 lastEnrollSampleStatus).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SampleStatus {
    /// Good.
    Good,
    /// The finger was too high.
    TooHigh,
    /// The finger was too low.
    TooLow,
    /// The finger was too far left.
    TooLeft,
    /// The finger was too far right.
    TooRight,
    /// The finger moved too fast.
    TooFast,
    /// The finger moved too slowly.
    TooSlow,
    /// The image is poor: clean finger and sensor.
    PoorQuality,
    /// The finger was skewed.
    TooSkewed,
    /// The touch was too short.
    TooShort,
    /// Not the finger that was begun with, or too different from it.
    MergeFailure,
    /// The finger is enrolled already.
    AlreadyEnrolled,
    /// Nobody touched the sensor.
    NoActivity,
    /// The finger was not lifted.
    NoLift,
    /// A code we do not know.
    Unknown(u32),
}

impl SampleStatus {
    fn from_code(code: u32) -> Self {
        match code {
            0x00 => Self::Good,
            0x01 => Self::TooHigh,
            0x02 => Self::TooLow,
            0x03 => Self::TooLeft,
            0x04 => Self::TooRight,
            0x05 => Self::TooFast,
            0x06 => Self::TooSlow,
            0x07 => Self::PoorQuality,
            0x08 => Self::TooSkewed,
            0x09 => Self::TooShort,
            0x0A => Self::MergeFailure,
            0x0B => Self::AlreadyEnrolled,
            0x0D => Self::NoActivity,
            0x0E => Self::NoLift,
            code => Self::Unknown(code),
        }
    }
}

/// One sample of an enrolment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The template that is being made.
    pub template: Vec<u8>,
    /// How the sample came out.
    pub status: SampleStatus,
    /// Samples still needed; 0: enrolled.
    pub remaining: u32,
}

/// An enrolled finger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its id.
    pub id: Vec<u8>,
    /// The name its owner gave it.
    pub name: Option<String>,
}

/// What the sensor is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SensorInfo {
    /// The finger is swiped, not laid on.
    pub swipe: bool,
    /// Good samples needed at most.
    pub max_samples: Option<u32>,
    /// Longest name of a finger, bytes.
    pub max_name_length: Option<u32>,
}

impl Key {
    /// What the sensor is like. Needs no token.
    pub async fn sensor_info(&mut self) -> Result<SensorInfo, CommandError> {
        let silence = self.channel().timing().silence;
        let answer = self.bio_enrollment(Sub::SensorInfo, None, None, silence).await?;
        Ok(SensorInfo::from_fields(answer)?)
    }

    /// Starts an enrolment and takes the first sample, waiting at most `patience` for a finger.
    pub async fn enroll_begin(
        &mut self,
        token: &Token,
        patience: Duration,
    ) -> Result<Sample, CommandError> {
        let parameters = cbor::map([(0x03, Some(milliseconds(patience)))]);
        let silence = self.channel().timing().silence + patience;
        let answer =
            self.bio_enrollment(Sub::EnrollBegin, Some(parameters), Some(token), silence).await?;
        Ok(Sample::first(answer)?)
    }

    /// Takes the next sample.
    pub async fn enroll_next(
        &mut self,
        token: &Token,
        template: &[u8],
        patience: Duration,
    ) -> Result<Sample, CommandError> {
        let parameters =
            cbor::map([(0x01, Some(cbor::bytes(template))), (0x03, Some(milliseconds(patience)))]);
        let silence = self.channel().timing().silence + patience;
        let answer =
            self.bio_enrollment(Sub::CaptureNext, Some(parameters), Some(token), silence).await?;
        Ok(Sample::next(template.to_vec(), answer)?)
    }

    /// Gives an enrolment up. Needs no token.
    pub async fn enroll_cancel(&mut self) -> Result<(), CommandError> {
        let silence = self.channel().timing().silence;
        self.bio_enrollment(Sub::Cancel, None, None, silence).await.map(drop)
    }

    /// Lists the enrolled fingers.
    pub async fn templates(&mut self, token: &Token) -> Result<Vec<Template>, CommandError> {
        let silence = self.channel().timing().silence;
        let answer = self.bio_enrollment(Sub::Enumerate, None, Some(token), silence).await;
        let answer = match answer {
            // "If there are no enrollments existing … return CTAP2_ERR_INVALID_OPTION."
            Err(CommandError::Status(Status::INVALID_OPTION)) => return Ok(Vec::new()),
            answer => answer?,
        };
        Ok(Template::all_from_fields(answer)?)
    }

    /// Names a finger.
    pub async fn name_template(
        &mut self,
        token: &Token,
        id: &[u8],
        name: &str,
    ) -> Result<(), CommandError> {
        let parameters = cbor::map([(0x01, Some(cbor::bytes(id))), (0x02, Some(name.into()))]);
        let silence = self.channel().timing().silence;
        self.bio_enrollment(Sub::SetName, Some(parameters), Some(token), silence).await.map(drop)
    }

    /// Removes a finger.
    pub async fn remove_template(&mut self, token: &Token, id: &[u8]) -> Result<(), CommandError> {
        let parameters = cbor::map([(0x01, Some(cbor::bytes(id)))]);
        let silence = self.channel().timing().silence;
        self.bio_enrollment(Sub::Remove, Some(parameters), Some(token), silence).await.map(drop)
    }

    async fn bio_enrollment(
        &mut self,
        sub: Sub,
        parameters: Option<Value>,
        token: Option<&Token>,
        silence: Duration,
    ) -> Result<Fields, CommandError> {
        let sub = sub as u8;
        let signed = [&[FINGERPRINT, sub][..], &encoded(parameters.as_ref())].concat();
        let request = cbor::map([
            (0x01, Some(FINGERPRINT.into())),
            (0x02, Some(sub.into())),
            (0x03, parameters),
            (0x04, token.map(|token| token.protocol().value())),
            (0x05, token.map(|token| token.authenticate(&signed))),
        ]);
        let command = match self.info().options.bio_enroll {
            None => BIO_ENROLLMENT_PREVIEW,
            Some(_) => BIO_ENROLLMENT,
        };
        self.call_with_silence(command, Some(&request), silence, &mut |_| {}).await
    }
}

impl SensorInfo {
    pub(crate) fn from_fields(mut answer: Fields) -> Result<Self, DecodeError> {
        Ok(Self {
            swipe: answer.unsigned(0x02)? == Some(2),
            max_samples: answer.unsigned(0x03)?,
            max_name_length: answer.unsigned(0x08)?,
        })
    }
}

impl Sample {
    pub(crate) fn first(mut answer: Fields) -> Result<Self, DecodeError> {
        let template = answer.bytes(0x04)?.ok_or(DecodeError::Missing(0x04))?;
        Self::next(template, answer)
    }

    fn next(template: Vec<u8>, mut answer: Fields) -> Result<Self, DecodeError> {
        let status = answer.unsigned(0x05)?.ok_or(DecodeError::Missing(0x05))?;
        let remaining = answer.unsigned(0x06)?.ok_or(DecodeError::Missing(0x06))?;
        Ok(Self { template, status: SampleStatus::from_code(status), remaining })
    }
}

impl Template {
    pub(crate) fn all_from_fields(mut answer: Fields) -> Result<Vec<Self>, DecodeError> {
        let infos = answer.array(0x07)?.ok_or(DecodeError::Missing(0x07))?;
        let template = |info| {
            let mut info = Fields::from_value(info)?;
            let id = info.bytes(0x01)?.ok_or(DecodeError::Missing(0x01))?;
            Ok(Self { id, name: info.text(0x02)? })
        };
        infos.into_iter().map(template).collect()
    }
}

fn milliseconds(duration: Duration) -> Value {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX).into()
}
