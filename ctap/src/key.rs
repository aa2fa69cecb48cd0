//! One security key: its channel and what it said of itself.

use std::io;
use std::path::Path;
use std::time::Duration;

use ciborium::Value;
use tracing::debug;

use crate::cbor::{self, DecodeError, Fields};
use crate::channel::{Channel, ChannelError, Timing, Watch};
use crate::commands::Info;
use crate::pin_protocol::PinProtocolError;
use crate::reports::{DescriptorReports, Reports};
use crate::status::{Status, StatusWord};

/// Why one CTAP command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The transport failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The key answered with a status other than success.
    #[error("the security key answered {0}")]
    Status(Status),
    /// The key answered a U2F request with a status word other than success.
    #[error("the security key answered {0}")]
    StatusWord(StatusWord),
    /// The key's answer breaks the specification.
    #[error("the security key's answer is malformed")]
    Answer(#[from] DecodeError),
    /// The key's part of the PIN/UV protocol is unusable.
    #[error(transparent)]
    PinProtocol(#[from] PinProtocolError),
    /// The key takes no message of this length.
    #[error("request of {found} bytes, the security key takes {limit}")]
    RequestTooLong {
        /// Length of the request.
        found: usize,
        /// The key's `maxMsgSize`.
        limit: usize,
    },
    /// The key has no PIN/UV protocol that we speak.
    #[error("the security key speaks no known pin protocol")]
    NoPinProtocol,
}

/// Why a key could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The path could not be opened: missing, no permission, or not a key.
    #[error("cannot open the security key's device")]
    Device(#[source] io::Error),
    /// The device speaks neither CTAP2 nor U2F.
    #[error("the device speaks neither ctap2 nor u2f")]
    NotFido,
    /// The key did not answer as it should.
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl From<ChannelError> for OpenError {
    fn from(error: ChannelError) -> Self {
        Self::Command(error.into())
    }
}

/// An opened security key: CTAP2, or U2F only ([`Info::u2f_only`]).
///
/// Every command borrows the key for its duration; dropping a command's future cancels it on the key
/// and leaves the key usable.
#[derive(Debug)]
pub struct Key {
    channel: Channel,
    info: Info,
    /// The key takes no PIN before it is plugged in again. Not all firmwares say so when asked.
    pub(crate) pin_auth_blocked: bool,
}

impl Key {
    /// Opens a channel on the key behind `reports` and asks what it can do.
    pub async fn open(reports: impl Reports + 'static, timing: Timing) -> Result<Self, OpenError> {
        let channel = Channel::open(Box::new(reports), timing).await?;
        let capabilities = channel.capabilities();
        if !capabilities.cbor && !capabilities.message {
            return Err(OpenError::NotFido);
        }
        let info = Info { u2f_only: !capabilities.cbor, ..Info::default() };
        let mut key = Self { channel, info, pin_auth_blocked: false };
        key.refresh().await?;
        Ok(key)
    }

    /// Opens the hidraw node or `SOCK_SEQPACKET` socket at `path`.
    pub async fn open_path(path: &Path, timing: Timing) -> Result<Self, OpenError> {
        let reports = DescriptorReports::open(path).map_err(OpenError::Device)?;
        Self::open(reports, timing).await
    }

    /// What the key can do, as last asked.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Asks again what the key can do; needed after PIN or fingers changed.
    pub async fn refresh(&mut self) -> Result<&Info, CommandError> {
        if self.info.u2f_only {
            self.info = Info::of_u2f_key(self.u2f_version().await?);
            return Ok(&self.info);
        }
        let answer = self.call(GET_INFO, None, &mut |_| {}).await?;
        self.info = Info::from_fields(answer)?;
        Ok(&self.info)
    }

    /// The channel underneath, for ping and wink.
    pub fn channel(&mut self) -> &mut Channel {
        &mut self.channel
    }

    /// Sends a command and returns its answer's members.
    pub(crate) async fn call(
        &mut self,
        command: u8,
        parameters: Option<&Value>,
        watch: &mut Watch<'_>,
    ) -> Result<Fields, CommandError> {
        let silence = self.channel.timing().silence;
        self.call_with_silence(command, parameters, silence, watch).await
    }

    /// As [`Self::call`], for commands that keep silent while they wait for a person.
    pub(crate) async fn call_with_silence(
        &mut self,
        command: u8,
        parameters: Option<&Value>,
        silence: Duration,
        watch: &mut Watch<'_>,
    ) -> Result<Fields, CommandError> {
        let mut request = vec![command];
        if let Some(parameters) = parameters {
            request.extend_from_slice(&cbor::encode(parameters));
        }
        let limit = self.info.max_message_size as usize;
        if request.len() > limit {
            return Err(CommandError::RequestTooLong { found: request.len(), limit });
        }
        let answer = self.channel.cbor_with_silence(&request, silence, watch).await?;
        let (&status, body) = answer.split_first().ok_or(DecodeError::Empty)?;
        let status = Status(status);
        debug!(command, %status, "ctap command");
        if status == Status::OK {
            Ok(Fields::decode(body)?)
        } else {
            Err(CommandError::Status(status))
        }
    }
}

const GET_INFO: u8 = 0x04;
