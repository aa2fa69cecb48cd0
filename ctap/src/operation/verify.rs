//! User verification: how a token for one operation is got.

use super::error::{Feature, OperationError};
use super::prompt::{Event, Prompt};
use crate::commands::Permissions;
use crate::key::{CommandError, Key};
use crate::pin_protocol::Token;
use crate::status::Status;

/// Most tries for built-in verification that a key may have (CTAP 2.1 §6.5.5.2 maxUvRetries).
const MAX_FINGER_TRIES: usize = 25;

/// Whether the key must verify its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserVerification {
    /// Yes. Built-in verification (finger) where the key has it.
    Required {
        /// The PIN is good too, when there is no finger or it is not recognised.
        pin_fallback: bool,
    },
    /// No, a touch is enough. A key that insists (`alwaysUv`) is verified all the same.
    Discouraged,
}

impl UserVerification {
    pub(super) fn is_required(self) -> bool {
        matches!(self, Self::Required { .. })
    }

    /// Whether the PIN may stand in for the finger. Where nobody asked for either, it may.
    fn allows_pin(self) -> bool {
        self != Self::Required { pin_fallback: false }
    }
}

/// How the user was verified, as seen by the host. Unsigned: the key does not vouch for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UvMethod {
    /// The key did it by itself.
    BuiltIn = 1,
    /// By PIN, typed on the host.
    Pin = 2,
}

/// Outcome of user verification.
pub(super) enum Verified {
    /// Not wanted.
    Not,
    /// A token to attach to the command.
    Token(Token, UvMethod),
    /// The key does it during the command itself (CTAP 2.0 keys with a sensor).
    DuringCommand,
}

impl Verified {
    pub(super) fn token(&self) -> Option<&Token> {
        match self {
            Self::Token(token, _) => Some(token),
            Self::Not | Self::DuringCommand => None,
        }
    }

    pub(super) fn during_command(&self) -> bool {
        matches!(self, Self::DuringCommand)
    }

    /// Whether a key that verifies during the command failed at that; what is left to it is the PIN.
    pub(super) fn gave_out(&self, error: &OperationError) -> bool {
        self.during_command()
            && matches!(error, OperationError::WrongFinger | OperationError::UvBlocked)
    }

    pub(super) fn method(&self) -> Option<UvMethod> {
        match self {
            Self::Not => None,
            Self::Token(_, method) => Some(*method),
            Self::DuringCommand => Some(UvMethod::BuiltIn),
        }
    }
}

impl Key {
    /// Verifies the user as the policy wants, for one command with `permissions`; `insists`: the key
    /// wants it whatever the policy says.
    pub(super) async fn verify_user(
        &mut self,
        policy: UserVerification,
        insists: bool,
        permissions: Permissions,
        rp_id: &str,
        prompt: &Prompt,
    ) -> Result<Verified, OperationError> {
        if !policy.is_required() && !insists {
            return Ok(Verified::Not);
        }
        let pin_allowed = policy.allows_pin() && self.info().pin_signs();
        if !self.info().has_built_in_uv() {
            self.pin_instead(pin_allowed)?;
            return self.verify_by_pin(permissions, Some(rp_id), prompt).await;
        }
        if !self.info().has_permissions() {
            prompt.send(Event::FingerNeeded);
            return Ok(Verified::DuringCommand);
        }
        match self.verify_by_finger(permissions, Some(rp_id), prompt).await {
            Err(OperationError::UvBlocked) if self.pin_stands_in(policy) => {
                prompt.send(Event::FingerBlocked);
                self.verify_by_pin(permissions, Some(rp_id), prompt).await
            }
            outcome => outcome,
        }
    }

    /// Whether the PIN may and can follow a finger that was not recognised.
    pub(super) fn pin_stands_in(&self, policy: UserVerification) -> bool {
        policy.allows_pin() && self.info().pin_signs() && self.info().has_pin()
    }

    /// Whether a key that verifies nobody by itself now can do it by PIN; else what it lacks.
    fn pin_instead(&self, pin_allowed: bool) -> Result<(), OperationError> {
        let options = &self.info().options;
        Err(match (options.client_pin, options.user_verification) {
            (Some(true), _) if pin_allowed => return Ok(()),
            (Some(false), _) if pin_allowed => OperationError::PinNotSet,
            (_, Some(_)) => OperationError::NoFingerEnrolled,
            (Some(_), None) => OperationError::Unsupported(Feature::BuiltInUserVerification),
            (None, None) => OperationError::Unsupported(Feature::UserVerification),
        })
    }

    /// A token for management: by PIN where one is set, because enrolled fingers may be several
    /// people's and the PIN is the owner's; else by built-in verification.
    pub(super) async fn management_token(
        &mut self,
        permissions: Permissions,
        prompt: &Prompt,
    ) -> Result<Token, OperationError> {
        let verified = if self.info().has_pin() {
            self.verify_by_pin(permissions, None, prompt).await?
        } else if self.info().finger_manages(permissions) {
            self.verify_by_finger(permissions, None, prompt).await?
        } else if self.info().options.client_pin.is_some() {
            return Err(OperationError::PinNotSet);
        } else {
            return Err(OperationError::Unsupported(Feature::Pin));
        };
        match verified {
            Verified::Token(token, _) => Ok(token),
            Verified::Not | Verified::DuringCommand => {
                Err(OperationError::Unsupported(Feature::Pin))
            }
        }
    }

    /// Asks for fingers until one is right, or no tries are left.
    async fn verify_by_finger(
        &mut self,
        permissions: Permissions,
        rp_id: Option<&str>,
        prompt: &Prompt,
    ) -> Result<Verified, OperationError> {
        // A finger that is blocked already is not asked for.
        match self.uv_retries().await {
            Ok(0) => return Err(self.blocked_finger().await?),
            // Some keys do not count for the host; they say it when they are asked for a token.
            Ok(_) | Err(CommandError::Status(_)) => {}
            Err(error) => return Err(error.into()),
        }
        for _ in 0..MAX_FINGER_TRIES {
            prompt.send(Event::FingerNeeded);
            match self.token_by_uv(permissions, rp_id, &mut |_| {}).await {
                Ok(token) => return Ok(Verified::Token(token, UvMethod::BuiltIn)),
                Err(CommandError::Status(Status::UV_INVALID)) => {
                    let tries_left = self.uv_retries().await?;
                    prompt.send(Event::WrongFinger { tries_left });
                    if tries_left == 0 {
                        break;
                    }
                }
                Err(CommandError::Status(Status::UV_BLOCKED)) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Err(self.blocked_finger().await?)
    }

    /// Why no finger is taken: a blocked PIN blocks the fingers too, and cannot unblock them.
    async fn blocked_finger(&mut self) -> Result<OperationError, OperationError> {
        if self.info().has_pin() && self.pin_retries().await?.left == 0 {
            return Ok(OperationError::PinBlocked);
        }
        Ok(OperationError::UvBlocked)
    }

    /// Asks for the PIN until it is right, or the key blocks it.
    pub(super) async fn verify_by_pin(
        &mut self,
        permissions: Permissions,
        rp_id: Option<&str>,
        prompt: &Prompt,
    ) -> Result<Verified, OperationError> {
        if self.info().force_pin_change {
            return Err(OperationError::PinChangeRequired);
        }
        let min_length = self.info().min_pin_length;
        let mut wrong_before = false;
        loop {
            let retries = self.pin_retries().await?;
            if retries.left == 0 {
                return Err(OperationError::PinBlocked);
            }
            if retries.power_cycle_needed || self.pin_auth_blocked {
                return Err(OperationError::PinAuthBlocked);
            }
            // People take their time; a key pulled out meanwhile must not leave them typing.
            let pin = tokio::select! {
                pin = prompt.ask_pin(retries.left, min_length, wrong_before) => pin?,
                error = self.channel().removed() => return Err(CommandError::from(error).into()),
            };
            match self.token_by_pin(&pin, permissions, rp_id).await {
                Ok(token) => return Ok(Verified::Token(token, UvMethod::Pin)),
                Err(CommandError::Status(Status::PIN_INVALID)) => wrong_before = true,
                Err(error) => {
                    self.pin_auth_blocked =
                        matches!(error, CommandError::Status(Status::PIN_AUTH_BLOCKED));
                    return Err(error.into());
                }
            }
        }
    }
}
