//! CTAP2 status codes (CTAP 2.2 §8.2) and U2F status words (U2F Raw Message Formats 1.2 §3.3).

use std::fmt;

/// The first byte of an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u8);

macro_rules! statuses {
    ($($name:ident = $code:literal, $advice:literal;)*) => {
        #[allow(missing_docs, reason = "the names are those of the specification")]
        impl Status {
            $(pub const $name: Self = Self($code);)*

            /// Every status that has a name, by code.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Name in the specification, without its prefix.
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            /// What it means for a person and what to do about it.
            pub fn advice(self) -> &'static str {
                match self {
                    $(Self::$name => $advice,)*
                    Self(0xE0..=0xEF) => "an extension of it failed; use another key",
                    Self(0xF0..=0xFF) => "see what its maker says about this number",
                    Self(_) => "the number has no meaning; update its firmware or use another key",
                }
            }
        }
    };
}

// 0x16, 0x29, 0x2A and 0x38 are of earlier versions; old keys still send them.
statuses! {
    OK = 0x00, "done";
    INVALID_COMMAND = 0x01, "it does not know the command; update its firmware or use another key";
    INVALID_PARAMETER = 0x02, "it does not accept a value of the request; update its firmware or use another key";
    INVALID_LENGTH = 0x03, "something in the request is too short or too long for it; choose a shorter name";
    INVALID_SEQ = 0x04, "packets came out of order; try again, without other programs that use the key";
    TIMEOUT = 0x05, "the request did not arrive in time; try again";
    CHANNEL_BUSY = 0x06, "another program uses it; try again";
    LOCK_REQUIRED = 0x0A, "another program has locked it; close that program and try again";
    INVALID_CHANNEL = 0x0B, "the channel is closed; plug it in again";
    CBOR_UNEXPECTED_TYPE = 0x11, "it does not understand the request; update its firmware or use another key";
    INVALID_CBOR = 0x12, "it does not understand the request; update its firmware or use another key";
    MISSING_PARAMETER = 0x14, "it misses something in the request; update its firmware or use another key";
    LIMIT_EXCEEDED = 0x15, "the request has more items than it takes; use fewer";
    UNSUPPORTED_EXTENSION = 0x16, "it does not know an extension; use another key";
    FP_DATABASE_FULL = 0x17, "it has no room for another finger; remove one first";
    LARGE_BLOB_STORAGE_FULL = 0x18, "it has no room for the data; delete something first";
    CREDENTIAL_EXCLUDED = 0x19, "it is enrolled already";
    PROCESSING = 0x21, "it is busy; try again";
    INVALID_CREDENTIAL = 0x22, "it holds no such credential; use another key";
    USER_ACTION_PENDING = 0x23, "it waits for a person because of another request; try again";
    OPERATION_PENDING = 0x24, "it is busy; try again";
    NO_OPERATIONS = 0x25, "it has nothing to go on with; start again";
    UNSUPPORTED_ALGORITHM = 0x26, "it has none of the signature algorithms asked for; use another key";
    OPERATION_DENIED = 0x27, "it was refused at the key; try again and confirm";
    KEY_STORE_FULL = 0x28, "it has no room for another credential; delete one first";
    NOT_BUSY = 0x29, "there is nothing to cancel";
    NO_OPERATION_PENDING = 0x2A, "it has nothing to go on with; start again";
    UNSUPPORTED_OPTION = 0x2B, "it cannot do what was asked for; use another key";
    INVALID_OPTION = 0x2C, "what was asked for does not fit its state; look at its settings";
    KEEPALIVE_CANCEL = 0x2D, "it was cancelled; try again";
    NO_CREDENTIALS = 0x2E, "it holds no such credential; use another key";
    USER_ACTION_TIMEOUT = 0x2F, "nobody touched it in time; try again";
    NOT_ALLOWED = 0x30, "it does not allow this now; plug it in again and try at once";
    PIN_INVALID = 0x31, "the pin is wrong; try again with care";
    PIN_BLOCKED = 0x32, "the pin is blocked; the key must be reset and enrolled again";
    PIN_AUTH_INVALID = 0x33, "the permission got by pin or finger is no longer good; try again";
    PIN_AUTH_BLOCKED = 0x34, "too many wrong pins; plug it in again and try once more";
    PIN_NOT_SET = 0x35, "it has no pin; set one first";
    PUAT_REQUIRED = 0x36, "it insists on a pin or finger; set one up";
    PIN_POLICY_VIOLATION = 0x37, "the pin breaks its rules; choose another one";
    PIN_TOKEN_EXPIRED = 0x38, "the permission got by pin or finger is no longer good; try again";
    REQUEST_TOO_LARGE = 0x39, "the request is too long for it; use fewer or shorter items";
    ACTION_TIMEOUT = 0x3A, "nobody acted in time; try again";
    UP_REQUIRED = 0x3B, "it needs a touch; try again and touch it";
    UV_BLOCKED = 0x3C, "the fingerprint is blocked; use the pin once to unblock it";
    INTEGRITY_FAILURE = 0x3D, "its stored data is damaged; reset it or use another key";
    INVALID_SUBCOMMAND = 0x3E, "it cannot do what was asked for; update its firmware or use another key";
    UV_INVALID = 0x3F, "the finger was not recognised; try again or use the pin";
    UNAUTHORIZED_PERMISSION = 0x40, "it does not permit this to who verified that way; use the pin";
    OTHER = 0x7F, "something failed inside it; plug it in again and try once more";
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#04x}", self.0),
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Status({self})")
    }
}

/// The last two bytes of a U2F answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StatusWord(pub u16);

#[allow(missing_docs, reason = "the names are those of the specification")]
impl StatusWord {
    pub const NO_ERROR: Self = Self(0x9000);
    pub const CONDITIONS_NOT_SATISFIED: Self = Self(0x6985);
    pub const COMMAND_NOT_ALLOWED: Self = Self(0x6986);
    pub const WRONG_DATA: Self = Self(0x6A80);
    pub const WRONG_LENGTH: Self = Self(0x6700);
    pub const CLA_NOT_SUPPORTED: Self = Self(0x6E00);
    pub const INS_NOT_SUPPORTED: Self = Self(0x6D00);

    /// Name in the specification.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::NO_ERROR => "SW_NO_ERROR",
            Self::CONDITIONS_NOT_SATISFIED => "SW_CONDITIONS_NOT_SATISFIED",
            Self::COMMAND_NOT_ALLOWED => "SW_COMMAND_NOT_ALLOWED",
            Self::WRONG_DATA => "SW_WRONG_DATA",
            Self::WRONG_LENGTH => "SW_WRONG_LENGTH",
            Self::CLA_NOT_SUPPORTED => "SW_CLA_NOT_SUPPORTED",
            Self::INS_NOT_SUPPORTED => "SW_INS_NOT_SUPPORTED",
            _ => return None,
        })
    }
}

impl fmt::Display for StatusWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#06x}", self.0),
        }
    }
}

impl fmt::Debug for StatusWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StatusWord({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::OperationError;

    /// The table of CTAP 2.2 §8.2 without its range markers.
    const SPECIFIED: [u8; 46] = [
        0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0A, 0x0B, 0x11, 0x12, 0x14, 0x15, 0x17, 0x18,
        0x19, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x2B, 0x2C, 0x2D, 0x2E, 0x2F, 0x30,
        0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x39, 0x3A, 0x3B, 0x3C, 0x3D, 0x3E, 0x3F, 0x40,
        0x7F,
    ];
    /// Of CTAP 2.0 and drafts.
    const FORMER: [u8; 4] = [0x16, 0x29, 0x2A, 0x38];

    #[test]
    fn every_status_of_the_specification_has_a_name_and_advice() {
        for code in 0..=0xFF {
            let known = SPECIFIED.contains(&code) || FORMER.contains(&code);
            assert_eq!(Status(code).name().is_some(), known, "{code:#04x}");
            assert!(!Status(code).advice().is_empty());
        }
        assert_eq!(Status::ALL.len(), SPECIFIED.len() + FORMER.len());
        assert!(Status::ALL.is_sorted_by_key(|status| status.0));
    }

    /// What a person can do something about has a name of its own; the rest carries its advice.
    #[test]
    fn every_status_becomes_an_error_that_says_what_to_do() {
        use OperationError as E;
        for &status in Status::ALL {
            let error = E::from(status);
            let own = match status {
                Status::TIMEOUT | Status::USER_ACTION_TIMEOUT | Status::ACTION_TIMEOUT => {
                    matches!(error, E::Timeout)
                }
                Status::CHANNEL_BUSY
                | Status::LOCK_REQUIRED
                | Status::PROCESSING
                | Status::USER_ACTION_PENDING
                | Status::OPERATION_PENDING => matches!(error, E::Busy),
                Status::FP_DATABASE_FULL => matches!(error, E::FingersFull),
                Status::KEY_STORE_FULL | Status::LARGE_BLOB_STORAGE_FULL => {
                    matches!(error, E::Full)
                }
                Status::CREDENTIAL_EXCLUDED => matches!(error, E::AlreadyRegistered),
                Status::INVALID_CREDENTIAL | Status::NO_CREDENTIALS => {
                    matches!(error, E::NoCredentials)
                }
                Status::UNSUPPORTED_ALGORITHM => matches!(error, E::Unsupported(_)),
                Status::OPERATION_DENIED => matches!(error, E::Refused),
                Status::KEEPALIVE_CANCEL => matches!(error, E::Cancelled),
                Status::NOT_ALLOWED => matches!(error, E::NotAllowed),
                Status::PIN_BLOCKED => matches!(error, E::PinBlocked),
                Status::PIN_AUTH_INVALID | Status::PIN_TOKEN_EXPIRED => {
                    matches!(error, E::TokenRejected)
                }
                Status::PIN_AUTH_BLOCKED => matches!(error, E::PinAuthBlocked),
                Status::PIN_NOT_SET => matches!(error, E::PinNotSet),
                Status::PUAT_REQUIRED => matches!(error, E::UvRequiredByKey),
                Status::PIN_POLICY_VIOLATION => matches!(error, E::PinPolicy),
                Status::UV_BLOCKED => matches!(error, E::UvBlocked),
                Status::UV_INVALID => matches!(error, E::WrongFinger),
                other => {
                    let said = error.to_string();
                    assert!(said.contains(other.advice()), "{said}");
                    matches!(error, E::Status(carried) if carried == other)
                }
            };
            assert!(own, "{status}: {error:?}");
        }
    }
}
