//! The one vocabulary of refusal.
//!
//! Each code is one word on five surfaces: the HTTP problem type (RFC 9457), the audit record's
//! reason, the metric's label, the folder under `fixtures/rejected/`, and the D-Bus error name.

use std::fmt;

macro_rules! rejection_codes {
    ($($(#[doc = $doc:literal])* $variant:ident = $code:literal, $coarse:ident, $advice:literal;)*) => {
        /// Why something was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum RejectionCode {
            $($(#[doc = $doc])* $variant,)*
        }

        impl RejectionCode {
            /// Every code, in the order of the checks.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The exact code, in kebab case.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The name in CamelCase, as the last part of the D-Bus error name.
            #[must_use]
            pub fn camel_case(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }

            /// What a caller who is not trusted with the exact code may know.
            #[must_use]
            pub fn coarse(self) -> CoarseCode {
                match self { $(Self::$variant => CoarseCode::$coarse,)* }
            }

            /// What to do next, for a person.
            #[must_use]
            pub fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)* }
            }
        }
    };
}

rejection_codes! {
    /// Step 1: larger than the limit.
    EvidenceTooLarge = "evidence-too-large", Malformed, "send evidence without an event log, or a smaller one";
    /// Step 1: not evidence.
    EvidenceMalformed = "evidence-malformed", Malformed, "use a signetd of the same protocol version";
    /// Step 2: another profile.
    ProfileWrong = "profile-wrong", WrongProfile, "use a signetd of the same protocol version";
    /// Step 2: made for another authority.
    AudienceWrong = "audience-wrong", WrongProfile, "log in to this authority; the evidence names another";
    /// Step 2: made for another purpose.
    PurposeWrong = "purpose-wrong", WrongProfile, "make evidence for this very request";
    /// Step 3: not a challenge of this authority for this caller, purpose, action and session.
    ChallengeInvalid = "challenge-invalid", StaleNonce, "ask for a new challenge and try again";
    /// Step 3: the challenge has run out.
    ChallengeExpired = "challenge-expired", StaleNonce, "ask for a new challenge and answer it within two minutes";
    /// Step 4: the TLS peer is not the evidence's certificate.
    CertificateMismatch = "certificate-mismatch", KeyMismatch, "send evidence over the TLS connection of the machine that made it";
    /// Step 4: the certificate is not of the device CA, or not valid now.
    DeviceCertificateUntrusted = "device-certificate-untrusted", KeyMismatch, "enrol this machine, or renew its certificate";
    /// Step 4: `cnf.ckt` names another key.
    KeyThumbprintMismatch = "key-thumbprint-mismatch", KeyMismatch, "make evidence with this machine's TLS key";
    /// Step 5: outer signature.
    EvidenceSignatureInvalid = "evidence-signature-invalid", BadSignature, "the evidence was changed on its way; make it anew";
    /// Step 6: no such device.
    DeviceUnknown = "device-unknown", UnknownDevice, "enrol this machine with a ticket from an administrator";
    /// Step 6: revoked device.
    DeviceRevoked = "device-revoked", UnknownDevice, "ask an administrator why this machine was revoked";
    /// Step 7: AK certificate not of the authority's CA.
    AkCertificateUntrusted = "ak-certificate-untrusted", BadQuote, "enrol this machine again";
    /// Step 7: the AK is not the one that this device enrolled.
    AkMismatch = "ak-mismatch", BadQuote, "enrol this machine again";
    /// Step 7: not TPM-generated (`magic` is not 0xff544347).
    QuoteMagicWrong = "quote-magic-wrong", BadQuote, "the quote was not made by a TPM";
    /// Step 7: an attestation of another type.
    QuoteTypeWrong = "quote-type-wrong", BadQuote, "send a quote";
    /// Step 7: not parseable, or of an unknown algorithm.
    QuoteMalformed = "quote-malformed", BadQuote, "use a signetd of the same protocol version";
    /// Step 7: the AK did not sign this.
    QuoteSignatureInvalid = "quote-signature-invalid", BadQuote, "the quote was changed on its way; make it anew";
    /// Step 7: `extraData` is not that of this statement and assertion.
    QuoteChallengeMismatch = "quote-challenge-mismatch", BadQuote, "the quote was made for other evidence; make it anew";
    /// Step 8: PCR values do not hash to the quoted digest.
    PcrDigestMismatch = "pcr-digest-mismatch", BootPolicy, "the PCR values were changed on their way; make evidence anew";
    /// Step 8: PCRs that the policy judges were not quoted.
    PcrSelectionInsufficient = "pcr-selection-insufficient", BootPolicy, "quote the PCRs that the policy names";
    /// Step 8: no event log where policy needs one.
    BootLogMissing = "boot-log-missing", BootPolicy, "let signetd read the machine's event log; `signet doctor` says what is in the way";
    /// Step 8: the event log ends too early.
    BootLogTruncated = "boot-log-truncated", BootPolicy, "restart the machine, so that the whole event log is sent";
    /// Step 8: the event log is longer than allowed.
    BootLogTooLong = "boot-log-too-long", BootPolicy, "ask an administrator to accept this machine's state; its event log is too long to judge";
    /// Step 8: not an event log, or not one of the quoted bank.
    BootLogMalformed = "boot-log-malformed", BootPolicy, "restart the machine; if it stays, ask an administrator to look at its firmware";
    /// Step 8: the event log does not lead to the quoted PCRs.
    BootLogMismatch = "boot-log-mismatch", BootPolicy, "restart the machine; if it stays, treat the machine as tampered with";
    /// Step 8: the machine's state is not allowed.
    BootPolicyRefused = "boot-policy-refused", BootPolicy, "boot the approved system, or have the new state accepted";
    /// Step 9: the TPM's clock or reset counter went back: cleared or replaced.
    TpmClockRegressed = "tpm-clock-regressed", ClockRegression, "the TPM was cleared or replaced; enrol this machine again";
    /// Step 9: the machine was restarted since the session began.
    TpmRebooted = "tpm-rebooted", Rebooted, "log in again: the machine was restarted";
    /// Step 10: no certification of the TLS key where one is due.
    CertificationMissing = "certification-missing", KeyMismatch, "send the TLS key's certification";
    /// Step 10: not parseable, or not a certification.
    CertificationMalformed = "certification-malformed", KeyMismatch, "use a signetd of the same protocol version";
    /// Step 10: the AK did not sign this.
    CertificationSignatureInvalid = "certification-signature-invalid", KeyMismatch, "the certification was changed on its way; make it anew";
    /// Step 10: `extraData` is not that of this statement and assertion.
    CertificationChallengeMismatch = "certification-challenge-mismatch", KeyMismatch, "the certification was made for other evidence; make it anew";
    /// Step 10: it certifies another key than the one that speaks.
    CertificationKeyMismatch = "certification-key-mismatch", KeyMismatch, "certify the TLS key of this connection";
    /// Step 10, §4.1: the TLS key could leave the TPM, or is of the wrong kind.
    TlsKeyAttributes = "tls-key-attributes", KeyMismatch, "enrol this machine again with a key made inside its TPM";
    /// Step 11: nobody touched a key where somebody must.
    AssertionMissing = "assertion-missing", BadAssertion, "answer the prompt with your security key";
    /// Step 11: not an assertion.
    AssertionMalformed = "assertion-malformed", BadAssertion, "use a signetd of the same protocol version";
    /// Step 11: this credential is not the operator's.
    CredentialUnknown = "credential-unknown", BadAssertion, "use a key that is enrolled for you, or enrol this one";
    /// Step 11: the credential is revoked.
    CredentialRevoked = "credential-revoked", BadAssertion, "use another of your keys; this one was revoked";
    /// Step 11, §4.2: FIDO metadata reports this model as revoked or compromised.
    AuthenticatorStatus = "authenticator-status", BadAssertion, "use another model of key; this one is reported as unsafe";
    /// Step 11: an assertion over another statement.
    AssertionChallengeMismatch = "assertion-challenge-mismatch", BadAssertion, "the touch was for another request; touch again for this one";
    /// Step 11: client data of another origin, type, or serialisation.
    AssertionClientDataWrong = "assertion-client-data-wrong", BadAssertion, "make the assertion with signetd";
    /// Step 11: another relying party.
    RpIdMismatch = "rp-id-mismatch", BadAssertion, "use a key that is enrolled here";
    /// Step 11: UP is not set.
    UpMissing = "up-missing", BadAssertion, "touch the key";
    /// Step 11: UV is not set where it is due.
    UvMissing = "uv-missing", BadAssertion, "verify yourself to the key, by fingerprint or PIN";
    /// Step 11: a credential that is or may be backed up (BE or BS set).
    BackupEligible = "backup-eligible", BadAssertion, "use a key whose credentials cannot leave it";
    /// Step 11: the credential did not sign this.
    AssertionSignatureInvalid = "assertion-signature-invalid", BadAssertion, "the assertion was changed on its way; touch again";
    /// Step 11: the signature counter went back: the key may have been cloned.
    CounterRegressed = "counter-regressed", BadAssertion, "the key may have been copied; tell your security team";
    /// Step 11, §4.2: a fingerprint without the reader and the fingers behind it.
    PlatformFactsMissing = "platform-facts-missing", BadAssertion, "use a signetd that tells the fingerprint reader and its fingers";
    /// Step 11: other fingers are enrolled, or another reader is used, than when the key was registered.
    PlatformFingersChanged = "platform-fingers-changed", BadAssertion, "register this machine's fingerprint key again: its reader or its fingers changed";
    /// Step 12: policy says no.
    PolicyDenied = "policy-denied", Denied, "ask the owner of the policy";
    /// Step 13: this challenge was answered before.
    ChallengeReplayed = "challenge-replayed", StaleNonce, "each challenge can be answered once; ask for a new one";

    /// §4.2: attestation format that the policy does not accept.
    AttestationFormatRefused = "attestation-format-refused", BadAttestation, "use a security key that attests itself";
    /// §4.2: attestation statement malformed or its signature wrong.
    AttestationInvalid = "attestation-invalid", BadAttestation, "try again; if it stays, the key is faulty";
    /// §4.2: attestation certificate does not lead to an accepted root.
    AttestationUntrusted = "attestation-untrusted", BadAttestation, "use a model of key that your organisation accepts";
    /// §4.2: the model of key is not on the list.
    AaguidRefused = "aaguid-refused", BadAttestation, "use a model of key that your organisation accepts";
    /// §4.2: the model of key is on the deny list.
    AaguidDenied = "aaguid-denied", BadAttestation, "use a model of key that your organisation accepts";
    /// §4.2: the metadata that models are judged by has run out.
    MetadataStale = "metadata-stale", BadAttestation, "ask an administrator to import current FIDO metadata";
    /// §4.2: a key that cannot verify its user, where the settings accept none.
    TouchOnlyRefused = "touch-only-refused", BadAttestation, "use a key with a PIN or a fingerprint reader; this authority accepts no touch-only keys";
    /// §4.2: the key does not guard the credential by user verification.
    CredProtectInsufficient = "cred-protect-insufficient", BadAttestation, "use a signetd of the same protocol version, or a key that supports credProtect";
    /// §4.2: the credential does not use ES256.
    CredentialAlgorithmRefused = "credential-algorithm-refused", BadAttestation, "use a key that supports ES256";
    /// §4.2: the platform key could leave the TPM, could be used around its policy, or is of the wrong kind.
    PlatformKeyAttributes = "platform-key-attributes", BadAttestation, "have signetd make a new platform key";
    /// §4.2: the platform key's policy is not that of a known method.
    PlatformKeyPolicy = "platform-key-policy", BadAttestation, "have signetd make a new platform key, by PIN or fingerprint";
    /// §4.2: this credential is enrolled already.
    CredentialDuplicate = "credential-duplicate", BadAttestation, "this key is enrolled already";
    /// §4.2: nothing allows this operator to add a key.
    RegistrationNotAuthorised = "registration-not-authorised", Denied, "touch a key that is enrolled already, or use a ticket";

    /// §4.1: ticket unknown, used or run out.
    TicketInvalid = "ticket-invalid", Denied, "ask an administrator for a new ticket";
    /// §4.1: EK certificate does not lead to an accepted root.
    EkUntrusted = "ek-untrusted", BadEnrolment, "have the TPM maker's root added, or use a machine with a certified TPM";
    /// §4.1: nothing vouches for this TPM, and no administrator has yet.
    EkUnapproved = "ek-unapproved", BadEnrolment, "ask an administrator to approve this machine's TPM, then enrol again with the same ticket";
    /// §4.1: EK is not the certified one, or not of the standard template.
    EkMismatch = "ek-mismatch", BadEnrolment, "enrol with the TPM's own endorsement key";
    /// §4.1: the AK is not restricted, fixed and made inside the TPM.
    AkAttributes = "ak-attributes", BadEnrolment, "enrol with a restricted key made inside the TPM";
    /// §4.1: no such enrolment under way.
    EnrolmentUnknown = "enrolment-unknown", BadEnrolment, "begin the enrolment again";
    /// §4.1: the TPM did not open the credential.
    ActivationFailed = "activation-failed", BadEnrolment, "the AK and the EK are not in one TPM";
    /// §4.1: the certificate request is not for the TLS key.
    CsrMismatch = "csr-mismatch", BadEnrolment, "request a certificate for the TPM's TLS key";

    /// §4.1: this TPM is enrolled, and the ticket does not allow another device in its place.
    DeviceEnrolled = "device-enrolled", BadEnrolment, "have the earlier device revoked, or ask for a ticket that re-binds it";
    /// §4.4: not an administrator, or the one whom the ticket is for.
    ApprovalNotAllowed = "approval-not-allowed", Denied, "have two administrators approve it, neither of them the person it is for";
    /// §4.4: the same administrator, or the same machine, a second time.
    ApprovalRepeated = "approval-repeated", Denied, "have another administrator approve it, at another machine";
    /// §4.4: too many requests wait already.
    RequestsWaiting = "requests-waiting", Denied, "wait until requests that are open are approved or run out";

    /// §3.3: no token.
    TokenMissing = "token-missing", TokenRequired, "log in";
    /// §3.3: not a token of ours: shape, type or algorithm.
    TokenMalformed = "token-malformed", TokenInvalid, "log in again";
    /// §3.3: signature or key id.
    TokenSignatureInvalid = "token-signature-invalid", TokenInvalid, "log in again";
    /// §3.3: another issuer or audience.
    TokenAudienceWrong = "token-audience-wrong", TokenInvalid, "log in to the authority that this gateway trusts";
    /// §3.3: run out, or not valid yet.
    TokenExpired = "token-expired", TokenInvalid, "renew the token";
    /// §3.3: the connection has no client certificate.
    CertificateMissing = "certificate-missing", TokenInvalid, "connect with this machine's certificate";
    /// §3.3: bound to another certificate.
    TokenBindingMismatch = "token-binding-mismatch", TokenInvalid, "use the token only from the machine that it was given to";
    /// §3.3: revoked.
    TokenRevoked = "token-revoked", TokenInvalid, "log in again";
    /// §3.3: a single-use token that was used.
    TokenRedeemed = "token-redeemed", TokenInvalid, "approve each request with its own touch";
    /// §3.3: an action token for another request.
    ActionMismatch = "action-mismatch", TokenInvalid, "approve this very request";
    /// §3.3: presence or assurance is not enough for this route (RFC 9470).
    PresenceRequired = "presence-required", StepUp, "prove your presence for this request";
    /// §3.2: the session is over.
    SessionEnded = "session-ended", TokenInvalid, "log in again";
    /// §3.2: presence has run out; a renewal cannot bring it back.
    PresenceExpired = "presence-expired", StepUp, "log in again with your key";
    /// The request's target could be read in two ways.
    TargetAmbiguous = "target-ambiguous", Denied, "send a path without dot segments or encoded slashes";
}

/// The few words that an untrusted caller hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CoarseCode {
    /// Size or shape.
    Malformed,
    /// Profile, audience or purpose.
    WrongProfile,
    /// Freshness.
    StaleNonce,
    /// Certificate or key.
    KeyMismatch,
    /// Outer signature.
    BadSignature,
    /// Device.
    UnknownDevice,
    /// Quote.
    BadQuote,
    /// Boot policy.
    BootPolicy,
    /// TPM clock.
    ClockRegression,
    /// Restart.
    Rebooted,
    /// Assertion.
    BadAssertion,
    /// Authenticator attestation.
    BadAttestation,
    /// Device enrolment.
    BadEnrolment,
    /// Policy.
    Denied,
    /// No token (RFC 6750 §3.1: no error code).
    TokenRequired,
    /// `invalid_token` (RFC 6750 §3.1).
    TokenInvalid,
    /// `insufficient_user_authentication` (RFC 9470 §3).
    StepUp,
}

impl CoarseCode {
    /// Its name in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::WrongProfile => "wrong_profile",
            Self::StaleNonce => "stale_nonce",
            Self::KeyMismatch => "key_mismatch",
            Self::BadSignature => "bad_signature",
            Self::UnknownDevice => "unknown_device",
            Self::BadQuote => "bad_quote",
            Self::BootPolicy => "boot_policy",
            Self::ClockRegression => "clock_regression",
            Self::Rebooted => "rebooted",
            Self::BadAssertion => "bad_assertion",
            Self::BadAttestation => "bad_attestation",
            Self::BadEnrolment => "bad_enrolment",
            Self::Denied => "denied",
            Self::TokenRequired => "token_required",
            Self::TokenInvalid => "invalid_token",
            Self::StepUp => "insufficient_user_authentication",
        }
    }
}

impl RejectionCode {
    /// The code of this kebab-case name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }

    /// The step of protocol §2.4 that refuses with this code; registration stands in the place of 11.
    /// `None` for codes of enrolment and of tokens.
    #[must_use]
    pub fn step(self) -> Option<u8> {
        use RejectionCode::*;
        Some(match self {
            EvidenceTooLarge | EvidenceMalformed => 1,
            ProfileWrong | AudienceWrong | PurposeWrong => 2,
            ChallengeInvalid | ChallengeExpired => 3,
            CertificateMismatch | DeviceCertificateUntrusted | KeyThumbprintMismatch => 4,
            EvidenceSignatureInvalid => 5,
            DeviceUnknown | DeviceRevoked => 6,
            AkCertificateUntrusted
            | AkMismatch
            | QuoteMagicWrong
            | QuoteTypeWrong
            | QuoteMalformed
            | QuoteSignatureInvalid
            | QuoteChallengeMismatch => 7,
            PcrDigestMismatch
            | PcrSelectionInsufficient
            | BootLogMissing
            | BootLogTruncated
            | BootLogTooLong
            | BootLogMalformed
            | BootLogMismatch
            | BootPolicyRefused => 8,
            TpmClockRegressed | TpmRebooted | SessionEnded => 9,
            CertificationMissing
            | CertificationMalformed
            | CertificationSignatureInvalid
            | CertificationChallengeMismatch
            | CertificationKeyMismatch
            | TlsKeyAttributes => 10,
            AssertionMissing
            | AssertionMalformed
            | CredentialUnknown
            | CredentialRevoked
            | AuthenticatorStatus
            | AssertionChallengeMismatch
            | AssertionClientDataWrong
            | RpIdMismatch
            | UpMissing
            | UvMissing
            | BackupEligible
            | AssertionSignatureInvalid
            | CounterRegressed
            | PlatformFactsMissing
            | PlatformFingersChanged
            | AttestationFormatRefused
            | AttestationInvalid
            | AttestationUntrusted
            | AaguidRefused
            | AaguidDenied
            | MetadataStale
            | TouchOnlyRefused
            | CredProtectInsufficient
            | CredentialAlgorithmRefused
            | PlatformKeyAttributes
            | PlatformKeyPolicy => 11,
            PolicyDenied => 12,
            ChallengeReplayed => 13,
            _ => return None,
        })
    }

    /// Problem type URI (RFC 9457 §3.1.1): relative to the authority's documentation.
    #[must_use]
    pub fn problem_type(self) -> String {
        format!("urn:signet:rejection:{}", self.as_str())
    }

    /// D-Bus error name.
    #[must_use]
    pub fn dbus_name(self) -> String {
        format!("org.signet.Presence1.Error.Rejected.{}", self.camel_case())
    }
}

impl fmt::Display for RejectionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kebab_and_camel_case_are_the_same_word() {
        for code in RejectionCode::ALL {
            let camel: String = code
                .as_str()
                .split('-')
                .map(|word| {
                    let (first, rest) = word.split_at(1);
                    first.to_ascii_uppercase() + rest
                })
                .collect();
            assert_eq!(camel, code.camel_case());
            assert_eq!(RejectionCode::from_name(code.as_str()), Some(*code));
        }
    }
}
