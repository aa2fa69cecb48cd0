//! What a TPM key may be used for.

use super::wire::WireError;

/// Bits 0, 3, 12–15 and 20–31.
const RESERVED: u32 = 0xfff0_f009;

/// `TPMA_OBJECT` (Part 2 §8.3). Reserved bits are never set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectAttributes(u32);

macro_rules! attributes {
    ($($(#[$doc:meta])* $constant:ident, $accessor:ident = $bit:literal;)*) => {
        $($(#[$doc])* pub const $constant: Self = Self(1 << $bit);)*
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $accessor(self) -> bool {
                self.contains(Self::$constant)
            }
        )*
    };
}

impl ObjectAttributes {
    attributes! {
        /// `fixedTPM`: the key cannot leave this TPM.
        FIXED_TPM, fixed_tpm = 1;
        /// `stClear`: saved contexts die at TPM reset.
        ST_CLEAR, st_clear = 2;
        /// `fixedParent`: the key cannot move to another parent.
        FIXED_PARENT, fixed_parent = 4;
        /// `sensitiveDataOrigin`: the TPM made the private part itself.
        SENSITIVE_DATA_ORIGIN, sensitive_data_origin = 5;
        /// `userWithAuth`: use may be authorised with the key's auth value.
        USER_WITH_AUTH, user_with_auth = 6;
        /// `adminWithPolicy`: administration needs a policy session.
        ADMIN_WITH_POLICY, admin_with_policy = 7;
        /// `firmwareLimited`: bound to the TPM firmware.
        FIRMWARE_LIMITED, firmware_limited = 8;
        /// `svnLimited`: bound to the firmware's security version.
        SVN_LIMITED, svn_limited = 9;
        /// `noDA`: outside dictionary-attack protection.
        NO_DA, no_da = 10;
        /// `encryptedDuplication`: duplication needs a symmetric key.
        ENCRYPTED_DUPLICATION, encrypted_duplication = 11;
        /// `restricted`: signs only what the TPM made itself, or decrypts only its own structures.
        RESTRICTED, restricted = 16;
        /// `decrypt`: may decrypt.
        DECRYPT, decrypt = 17;
        /// `sign`/`encrypt`: may sign.
        SIGN, sign = 18;
        /// `x509sign`: may sign only certificates.
        X509_SIGN, x509_sign = 19;
    }

    /// The attributes with these bits.
    ///
    /// # Errors
    /// [`WireError::ReservedAttributes`] when a reserved bit is set.
    pub fn from_bits(bits: u32) -> Result<Self, WireError> {
        match bits & RESERVED {
            0 => Ok(Self(bits)),
            reserved => Err(WireError::ReservedAttributes(reserved)),
        }
    }

    /// The raw `TPMA_OBJECT`.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Whether all attributes of `other` are set here.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The attributes set in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The attributes set here and not in `other`.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The attributes set in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether no attribute is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}
