//! CTAP2 status codes (CTAP 2.1 §8.2).

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
