//! CTAPHID: messages over reports (CTAP 2.1 §11.2).

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::packet::{self, Assembler, Command, Packet};
use crate::reports::{Report, Reports};

/// Longest message CTAPHID can carry: one initialization packet and 128 continuations.
pub const MAX_MESSAGE: usize = packet::MAX_MESSAGE;

/// Reports left by others that are thrown away before a request; more than hidraw can hold.
const STALE_REPORTS: usize = 256;

/// How long to wait for what.
#[derive(Debug, Clone)]
pub struct Timing {
    /// Longest silence in the middle of a transaction: keys send a keepalive every 100 ms, but a busy machine
    /// may not pass it on at once.
    pub silence: Duration,
    /// Longest wait for an answer, keepalives or not.
    pub answer: Duration,
    /// How often a busy key is asked again.
    pub busy_retries: u32,
    /// Pause before asking a busy key again; grows with each retry.
    pub busy_pause: Duration,
    /// Longest wait for a channel when a key is opened; another program may be using it.
    pub opening: Duration,
    /// Longest wait until a key comes back from an abandoned command. OpenSK ignores CANCEL for up
    /// to 30 s while it waits for a finger.
    pub recovery: Duration,
    /// Pause before an unanswered INIT is sent again.
    pub resend: Duration,
    /// Pause before a U2F key is asked again whether it was touched.
    pub touch_poll: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(5),
            answer: Duration::from_secs(60),
            busy_retries: 12,
            busy_pause: Duration::from_millis(50),
            opening: Duration::from_secs(3),
            recovery: Duration::from_secs(35),
            resend: Duration::from_millis(500),
            touch_poll: Duration::from_millis(200),
        }
    }
}

/// What a key that is still working says (CTAP 2.1 §11.2.9.1.6 KEEPALIVE).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keepalive {
    /// It computes.
    Processing,
    /// It waits for a person.
    UserNeeded,
}

/// Receives keepalives during a transaction.
pub type Watch<'a> = dyn FnMut(Keepalive) + Send + 'a;

/// Error code of a CTAPHID_ERROR answer (CTAP 2.1 §11.2.9.1.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HidErrorCode(pub u8);

impl HidErrorCode {
    /// Name in the specification, without its prefix.
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0x01 => "INVALID_CMD",
            0x02 => "INVALID_PAR",
            0x03 => "INVALID_LEN",
            0x04 => "INVALID_SEQ",
            0x05 => "MSG_TIMEOUT",
            0x06 => "CHANNEL_BUSY",
            0x0A => "LOCK_REQUIRED",
            0x0B => "INVALID_CHANNEL",
            0x7F => "OTHER",
            _ => return None,
        })
    }

    const BUSY: Self = Self(0x06);
    /// usbd-ctaphid 0.5 (Nitrokey, Solo) sends the index of its enum instead of 0x06.
    const BUSY_OF_USBD_CTAPHID: Self = Self(0x00);

    const INVALID_SEQUENCE: Self = Self(0x04);
    const MESSAGE_TIMEOUT: Self = Self(0x05);

    fn is_busy(self) -> bool {
        self == Self::BUSY || self == Self::BUSY_OF_USBD_CTAPHID
    }

    /// The request was not carried out and may be sent again. usbd-ctaphid 0.5 still waits for
    /// continuations after it called itself busy, and answers the next request with 0x04.
    fn is_worth_a_retry(self) -> bool {
        self.is_busy() || self == Self::INVALID_SEQUENCE || self == Self::MESSAGE_TIMEOUT
    }
}

/// Why a transaction with the key failed.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The pipe failed: the key was pulled out.
    #[error("the security key was removed")]
    Removed(#[source] io::Error),
    /// No packet for [`Timing::silence`], or no answer in time.
    #[error("the security key does not answer")]
    Silent,
    /// Another program uses the key.
    #[error("the security key is busy with another program")]
    Busy,
    /// The key answered with CTAPHID_ERROR.
    #[error(
        "the security key refused the message with CTAPHID error {:#04x} ({})",
        .0.0, .0.name().unwrap_or("unknown")
    )]
    Refused(HidErrorCode),
    /// The request does not fit into one message.
    #[error("request of {found} bytes, at most {MAX_MESSAGE} fit")]
    RequestTooLong {
        /// Length of the request.
        found: usize,
    },
    /// A packet has the wrong sequence number, length or kind.
    #[error("the security key broke the CTAPHID framing")]
    Framing,
}

/// What INIT told about the key (CTAP 2.1 §11.2.9.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// It can blink.
    pub wink: bool,
    /// It speaks CTAP2.
    pub cbor: bool,
    /// It speaks U2F.
    pub message: bool,
}

/// A CTAPHID channel to one key.
///
/// One transaction at a time. Dropping a transaction's future sends CANCEL at once and leaves the
/// channel usable: the next transaction first brings the key back in step with INIT.
pub struct Channel {
    reports: Box<dyn Reports>,
    timing: Timing,
    id: u32,
    capabilities: Capabilities,
    /// A transaction was left before its answer came.
    unfinished: bool,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Channel {
    /// Opens a channel of our own on the key behind `reports`.
    pub async fn open(reports: Box<dyn Reports>, timing: Timing) -> Result<Self, ChannelError> {
        let capabilities = Capabilities { wink: false, cbor: false, message: false };
        let mut channel =
            Self { reports, timing, id: packet::BROADCAST, capabilities, unfinished: false };
        let deadline = Instant::now() + channel.timing.opening;
        channel.initialize(deadline).await?;
        Ok(channel)
    }

    /// What the key said of itself in INIT.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// How long this channel waits for what.
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// Sends a CTAP2 request (command byte and CBOR) and returns the answer (status byte and CBOR).
    pub async fn cbor(
        &mut self,
        request: &[u8],
        watch: &mut Watch<'_>,
    ) -> Result<Vec<u8>, ChannelError> {
        let silence = self.timing.silence;
        self.transact(Command::Cbor, request, silence, watch).await
    }

    /// Sends a U2F request (APDU) and returns the answer (data and status word).
    pub async fn message(
        &mut self,
        request: &[u8],
        watch: &mut Watch<'_>,
    ) -> Result<Vec<u8>, ChannelError> {
        let silence = self.timing.silence;
        self.transact(Command::Message, request, silence, watch).await
    }

    /// As [`Self::cbor`], for commands during which keys send no keepalives for up to `silence`.
    pub async fn cbor_with_silence(
        &mut self,
        request: &[u8],
        silence: Duration,
        watch: &mut Watch<'_>,
    ) -> Result<Vec<u8>, ChannelError> {
        self.transact(Command::Cbor, request, silence, watch).await
    }

    /// Sends bytes through the key and back (CTAP 2.1 §11.2.9.1.4). A wrong echo is `Framing`.
    pub async fn ping(&mut self, bytes: &[u8]) -> Result<(), ChannelError> {
        let silence = self.timing.silence;
        let echo = self.transact(Command::Ping, bytes, silence, &mut |_| {}).await?;
        if echo == bytes { Ok(()) } else { Err(ChannelError::Framing) }
    }

    /// Lets the key blink, so that a person sees which one it is (CTAP 2.1 §11.2.9.2.1).
    pub async fn wink(&mut self) -> Result<(), ChannelError> {
        let silence = self.timing.silence;
        self.transact(Command::Wink, &[], silence, &mut |_| {}).await.map(drop)
    }

    /// Waits until the key is removed, passing over what others say. Cancel-safe.
    pub async fn removed(&mut self) -> ChannelError {
        loop {
            if let Err(error) = self.receive().await {
                return error;
            }
        }
    }

    async fn transact(
        &mut self,
        command: Command,
        request: &[u8],
        silence: Duration,
        watch: &mut Watch<'_>,
    ) -> Result<Vec<u8>, ChannelError> {
        if request.len() > MAX_MESSAGE {
            return Err(ChannelError::RequestTooLong { found: request.len() });
        }
        if self.unfinished {
            self.recover().await?;
        }
        self.discard_stale()?;
        let mut attempt = 0;
        loop {
            let outcome = Transaction { channel: self, answered: false }
                .run(command, request, silence, watch)
                .await;
            let code = match outcome {
                Err(ChannelError::Refused(code)) if code.is_worth_a_retry() => code,
                outcome => return outcome,
            };
            if attempt == self.timing.busy_retries {
                let busy = code.is_busy();
                return Err(if busy { ChannelError::Busy } else { ChannelError::Refused(code) });
            }
            attempt += 1;
            debug!(attempt, code = code.0, "asking again");
            tokio::time::sleep(self.timing.busy_pause * attempt).await;
        }
    }

    /// Ends what an abandoned transaction left: cancels it, waits for the key, drops its answer.
    async fn recover(&mut self) -> Result<(), ChannelError> {
        debug!("recovering an abandoned transaction");
        let deadline = Instant::now() + self.timing.recovery;
        self.initialize(deadline).await?;
        self.unfinished = false;
        Ok(())
    }

    /// INIT, on the broadcast channel to get one, on our own to abort what runs (§11.2.9.1.3).
    async fn initialize(&mut self, deadline: Instant) -> Result<(), ChannelError> {
        let nonce = packet::nonce();
        let mut failure = ChannelError::Silent;
        while Instant::now() < deadline {
            if self.id != packet::BROADCAST {
                self.send(&packet::single(self.id, Command::Cancel, &[])).await?;
            }
            self.send(&packet::single(self.id, Command::Init, &nonce)).await?;
            let resend = deadline.min(Instant::now() + self.timing.resend);
            match timeout_at(resend, self.await_init(nonce)).await {
                Err(_) => failure = ChannelError::Silent,
                Ok(Err(ChannelError::Busy)) => {
                    failure = ChannelError::Busy;
                    tokio::time::sleep_until(resend).await;
                }
                Ok(result) => return result,
            }
        }
        Err(failure)
    }

    async fn await_init(&mut self, nonce: [u8; 8]) -> Result<(), ChannelError> {
        loop {
            let report = self.receive().await?;
            let Some((id, Packet::First { command, length, data })) = Packet::parse(&report) else {
                continue;
            };
            if id != self.id {
                continue;
            }
            if command == Command::Error as u8 && HidErrorCode(data[0]).is_busy() {
                return Err(ChannelError::Busy);
            }
            if command == Command::Init as u8 && length >= 17 && data[..8] == nonce {
                let (flags, id) = (data[16], [data[8], data[9], data[10], data[11]]);
                self.id = u32::from_be_bytes(id);
                self.capabilities = Capabilities {
                    wink: flags & 0x01 != 0,
                    cbor: flags & 0x04 != 0,
                    message: flags & 0x08 == 0,
                };
                return Ok(());
            }
        }
    }

    /// Throws away reports of other clients that piled up while we were idle.
    fn discard_stale(&mut self) -> Result<(), ChannelError> {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..STALE_REPORTS {
            match self.reports.poll_receive(&mut cx) {
                Poll::Pending => break,
                Poll::Ready(report) => report.map_err(ChannelError::from_pipe).map(drop)?,
            }
        }
        Ok(())
    }

    async fn receive(&mut self) -> Result<Report, ChannelError> {
        poll_fn(|cx| self.reports.poll_receive(cx)).await.map_err(ChannelError::from_pipe)
    }

    async fn send(&mut self, report: &Report) -> Result<(), ChannelError> {
        poll_fn(|cx| self.reports.poll_send(cx, report)).await.map_err(ChannelError::from_pipe)
    }
}

impl ChannelError {
    fn from_pipe(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Framing,
            _ => Self::Removed(error),
        }
    }
}

/// One request and its answer. Dropped without an answer, it cancels.
struct Transaction<'a> {
    channel: &'a mut Channel,
    answered: bool,
}

impl Transaction<'_> {
    async fn run(
        &mut self,
        command: Command,
        request: &[u8],
        silence: Duration,
        watch: &mut Watch<'_>,
    ) -> Result<Vec<u8>, ChannelError> {
        self.channel.unfinished = true;
        let end = Instant::now() + self.channel.timing.answer;
        for report in packet::split(self.channel.id, command, request) {
            timeout_at(Instant::now() + silence, self.channel.send(&report))
                .await
                .map_err(|_| ChannelError::Silent)??;
        }
        loop {
            let (answer, message) = self.message(silence, end).await?;
            match answer {
                _ if answer == command as u8 => {
                    self.finish();
                    return Ok(message);
                }
                _ if answer == Command::Keepalive as u8 => match message.first() {
                    Some(1) => watch(Keepalive::Processing),
                    Some(2) => watch(Keepalive::UserNeeded),
                    _ => {}
                },
                _ if answer == Command::Error as u8 => {
                    self.finish();
                    let code = message.first().copied().ok_or(ChannelError::Framing)?;
                    return Err(ChannelError::Refused(HidErrorCode(code)));
                }
                // A late answer to an INIT that was sent twice.
                _ if answer == Command::Init as u8 => {}
                _ => return Err(ChannelError::Framing),
            }
        }
    }

    /// The next message on our channel, put together from its packets.
    async fn message(
        &mut self,
        silence: Duration,
        end: Instant,
    ) -> Result<(u8, Vec<u8>), ChannelError> {
        let mut assembler = Assembler::new(self.channel.id);
        let mut quiet_until = end.min(Instant::now() + silence);
        loop {
            let report = timeout_at(quiet_until, self.channel.receive())
                .await
                .map_err(|_| ChannelError::Silent)??;
            let progress = assembler.push(&report).map_err(|_| ChannelError::Framing)?;
            if let Some(message) = progress.message {
                return Ok(message);
            }
            // Chatter of other clients does not count as a sign of life of our transaction.
            if progress.ours {
                quiet_until = end.min(Instant::now() + silence);
            }
        }
    }

    fn finish(&mut self) {
        self.answered = true;
        self.channel.unfinished = false;
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.answered {
            let cancel = packet::single(self.channel.id, Command::Cancel, &[]);
            // If it does not go through now, recovery sends it again.
            let _ = self.channel.reports.send_now(&cancel);
        }
    }
}
