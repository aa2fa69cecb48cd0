//! CTAP2 status codes (CTAP 2.2 §8.2) and U2F status words (U2F Raw Message Formats 1.2 §3.3).

use std::fmt;

/// The first byte of an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u8);

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        #[allow(missing_docs, reason = "the names are those of the specification")]
        impl Status {
            $($(#[$doc])* pub const $name: Self = Self($code);)*

            /// Name in the specification.
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

statuses! {
    OK = 0x00,
    INVALID_COMMAND = 0x01,
    INVALID_PARAMETER = 0x02,
    INVALID_LENGTH = 0x03,
    CBOR_UNEXPECTED_TYPE = 0x11,
    INVALID_CBOR = 0x12,
    MISSING_PARAMETER = 0x14,
    LIMIT_EXCEEDED = 0x15,
    FP_DATABASE_FULL = 0x17,
    LARGE_BLOB_STORAGE_FULL = 0x18,
    CREDENTIAL_EXCLUDED = 0x19,
    PROCESSING = 0x21,
    INVALID_CREDENTIAL = 0x22,
    USER_ACTION_PENDING = 0x23,
    OPERATION_PENDING = 0x24,
    NO_OPERATIONS = 0x25,
    UNSUPPORTED_ALGORITHM = 0x26,
    OPERATION_DENIED = 0x27,
    KEY_STORE_FULL = 0x28,
    UNSUPPORTED_OPTION = 0x2B,
    INVALID_OPTION = 0x2C,
    KEEPALIVE_CANCEL = 0x2D,
    NO_CREDENTIALS = 0x2E,
    USER_ACTION_TIMEOUT = 0x2F,
    NOT_ALLOWED = 0x30,
    PIN_INVALID = 0x31,
    PIN_BLOCKED = 0x32,
    PIN_AUTH_INVALID = 0x33,
    PIN_AUTH_BLOCKED = 0x34,
    PIN_NOT_SET = 0x35,
    PUAT_REQUIRED = 0x36,
    PIN_POLICY_VIOLATION = 0x37,
    REQUEST_TOO_LARGE = 0x39,
    ACTION_TIMEOUT = 0x3A,
    UP_REQUIRED = 0x3B,
    UV_BLOCKED = 0x3C,
    INTEGRITY_FAILURE = 0x3D,
    INVALID_SUBCOMMAND = 0x3E,
    UV_INVALID = 0x3F,
    UNAUTHORIZED_PERMISSION = 0x40,
    OTHER = 0x7F,
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
