//! Steps 7 to 9: the AK, its quote, the registers, the event log and the clock.

use signet_evidence::cbor::Value;
use signet_evidence::header::{SentLog, WithheldLog};
use signet_evidence::tpm::{Attested, CertifyInfo, HashAlgorithm, PcrSelection, TpmsAttest};

use super::case;
use crate::forge::Case;
use crate::forge::Edit::{Ak, By, Claims, Log, Quote, QuoteBytes, Tpm, With};
use crate::forge::Part;
use crate::forge::map::{bytes, cut, flip_last, inner, item, remove, set};
use crate::world::Change;

/// Other registers in the quote, of this bank.
fn select(attest: &mut TpmsAttest, bank: HashAlgorithm, indices: &[u8]) {
    if let Attested::Quote(quote) = &mut attest.attested {
        quote.pcr_select = PcrSelection::new(bank, indices.iter().copied()).into_iter().collect();
    }
}

fn digest(attest: &mut TpmsAttest, edit: impl FnOnce(&mut Vec<u8>)) {
    if let Attested::Quote(quote) = &mut attest.attested {
        edit(&mut quote.pcr_digest);
    }
}

pub(super) const CASES: &[Case] = &[
    case!(
        "ak-certificate-untrusted",
        "expired",
        "protocol 2.4 step 7",
        "an AK certificate that has run out",
        Session,
        [Ak("expired")]
    ),
    case!(
        "ak-certificate-untrusted",
        "not-yet",
        "protocol 2.4 step 7",
        "an AK certificate of next year",
        Session,
        [Ak("not-yet")]
    ),
    case!(
        "ak-certificate-untrusted",
        "client-certificate",
        "protocol 2.4 step 7",
        "a client certificate of the AK",
        Renewal,
        [Ak("client")]
    ),
    case!(
        "ak-certificate-untrusted",
        "any-usage",
        "protocol 2.4 step 7",
        "anyExtendedKeyUsage is not the AK's",
        Session,
        [Ak("any-usage")]
    ),
    case!(
        "ak-certificate-untrusted",
        "no-usage",
        "protocol 2.4 step 7",
        "no extended key usage",
        Session,
        [Ak("no-usage")]
    ),
    case!(
        "ak-certificate-untrusted",
        "self-made-ca",
        "protocol 2.4 step 7",
        "the AK certified by another CA",
        Action,
        [Ak("other-ca")]
    ),
    case!(
        "ak-certificate-untrusted",
        "not-a-certificate",
        "protocol 2.4 step 7",
        "bytes that are no certificate",
        Session,
        [Tpm(|m| set(m, 1, bytes(*b"certificate"))),]
    ),
    case!(
        "ak-mismatch",
        "another-ak-of-the-ca",
        "protocol 2.4 step 7",
        "the certified AK of another machine",
        Session,
        [Ak("other-key"), By(Part::Quote, "credential"), By(Part::Certification, "credential"),]
    ),
    case!(
        "quote-malformed",
        "signature-with-a-byte-behind",
        "TPM 2.0 Part 2 section 11.3.4",
        "a byte after TPMT_SIGNATURE",
        Session,
        [Tpm(|m| item(m, 2, 1, |b| b.push(0))),]
    ),
    case!(
        "quote-malformed",
        "signature-empty",
        "TPM 2.0 Part 2 section 11.3.4",
        "no signature",
        Renewal,
        [Tpm(|m| item(m, 2, 1, |b| b.clear())),]
    ),
    case!(
        "quote-malformed",
        "signature-by-rsa",
        "protocol 2.4 step 7",
        "RSASSA in the signature's algorithm",
        Session,
        [Tpm(|m| item(m, 2, 1, |b| b[1] = 0x14)),]
    ),
    case!(
        "quote-malformed",
        "signature-over-sha1",
        "protocol 2.4 step 7",
        "SHA-1 in the signature's hash",
        Session,
        [Tpm(|m| item(m, 2, 1, |b| b[3] = 0x04)),]
    ),
    case!(
        "quote-malformed",
        "signature-by-hmac",
        "protocol 2.4 step 7",
        "HMAC in the signature's algorithm",
        Session,
        [Tpm(|m| item(m, 2, 1, |b| b[1] = 0x05)),]
    ),
    case!(
        "quote-malformed",
        "quote-cut",
        "TPM 2.0 Part 2 section 10.12.12",
        "a signed quote without its last byte",
        Session,
        [QuoteBytes(cut),]
    ),
    case!(
        "quote-malformed",
        "quote-with-a-byte-behind",
        "TPM 2.0 Part 2 section 10.12.12",
        "a signed quote with a byte after it",
        Session,
        [QuoteBytes(|b| b.push(0)),]
    ),
    case!(
        "quote-signature-invalid",
        "signed-by-the-tls-key",
        "protocol 2.4 step 7",
        "signed by the TLS key, which is not restricted",
        Session,
        [By(Part::Quote, "tls"),]
    ),
    case!(
        "quote-signature-invalid",
        "signed-by-the-platform-key",
        "protocol 2.4 step 7",
        "signed by the operator's platform key",
        Pin,
        [By(Part::Quote, "platform"),]
    ),
    case!(
        "quote-signature-invalid",
        "clock-edited",
        "protocol 2.4 step 7",
        "the clock was set forward after signing",
        Renewal,
        [Tpm(|m| item(m, 2, 0, |b| b[80] ^= 1)),]
    ),
    case!(
        "quote-signature-invalid",
        "quote-empty",
        "protocol 2.4 step 7",
        "an empty quote",
        Session,
        [Tpm(|m| item(m, 2, 0, |b| b.clear()))]
    ),
    case!(
        "quote-magic-wrong",
        "zeros",
        "TPM 2.0 Part 2 section 6.2",
        "a magic of zeros",
        Session,
        [QuoteBytes(|b| b[..4].fill(0))]
    ),
    case!(
        "quote-magic-wrong",
        "other-byte-order",
        "TPM 2.0 Part 2 section 6.2",
        "the magic from behind",
        Renewal,
        [QuoteBytes(|b| b[..4].reverse()),]
    ),
    case!(
        "quote-magic-wrong",
        "last-bit",
        "TPM 2.0 Part 2 section 6.2",
        "the last bit of the magic",
        Action,
        [QuoteBytes(|b| b[3] ^= 1)]
    ),
    case!(
        "quote-type-wrong",
        "certification-body",
        "TPM 2.0 Part 2 section 6.9",
        "a certification over the quote's data",
        Session,
        [Quote(|a| {
            let name = a.qualified_signer.clone();
            a.attested =
                Attested::Certify(CertifyInfo { name: name.clone(), qualified_name: name });
        }),]
    ),
    case!(
        "quote-type-wrong",
        "creation",
        "TPM 2.0 Part 2 section 6.9",
        "the type of TPM2_CertifyCreation",
        Renewal,
        [QuoteBytes(|b| b[5] = 0x1a),]
    ),
    case!(
        "quote-type-wrong",
        "time",
        "TPM 2.0 Part 2 section 6.9",
        "the type of TPM2_GetTime",
        Session,
        [QuoteBytes(|b| b[5] = 0x19)]
    ),
    case!(
        "quote-type-wrong",
        "nv",
        "TPM 2.0 Part 2 section 6.9",
        "the type of TPM2_NV_Certify",
        Workload,
        [QuoteBytes(|b| b[5] = 0x14)]
    ),
    case!(
        "quote-challenge-mismatch",
        "no-extra-data",
        "protocol 2.2",
        "a quote over nothing",
        Session,
        [Quote(|a| a.extra_data.clear())]
    ),
    case!(
        "quote-challenge-mismatch",
        "zeros",
        "protocol 2.2",
        "a quote over zeros",
        Renewal,
        [Quote(|a| a.extra_data.fill(0))]
    ),
    case!(
        "quote-challenge-mismatch",
        "byte-short",
        "protocol 2.2",
        "31 bytes of the qualifying data",
        Session,
        [Quote(|a| a.extra_data.truncate(31)),]
    ),
    case!(
        "quote-challenge-mismatch",
        "byte-long",
        "protocol 2.2",
        "a byte after the qualifying data",
        Session,
        [Quote(|a| a.extra_data.push(0)),]
    ),
    case!(
        "quote-challenge-mismatch",
        "last-bit",
        "protocol 2.2",
        "the last bit of the qualifying data",
        Action,
        [Quote(|a| flip_last(&mut a.extra_data)),]
    ),
    case!(
        "pcr-digest-mismatch",
        "pcr-7-left-out",
        "protocol 2.4 step 8",
        "a quoted value is missing",
        Session,
        [Tpm(|m| inner(m, 4, |m| remove(m, 7))),]
    ),
    case!(
        "pcr-digest-mismatch",
        "pcr-10-added",
        "protocol 2.4 step 8",
        "a value that was not quoted",
        Session,
        [Tpm(|m| inner(m, 4, |m| set(m, 10, bytes([0; 32])))),]
    ),
    case!(
        "pcr-digest-mismatch",
        "all-zero",
        "protocol 2.4 step 8",
        "zeros in the place of PCR 0",
        Renewal,
        [Tpm(|m| inner(m, 4, |m| set(m, 0, bytes([0x77; 32])))),]
    ),
    case!(
        "pcr-digest-mismatch",
        "of-another-bank",
        "protocol 2.4 step 8",
        "values of the SHA-384 bank",
        Session,
        [Tpm(|m| inner(m, 4, |m| m.iter_mut().for_each(|(_, value)| *value = bytes([0; 48])))),]
    ),
    case!(
        "pcr-digest-mismatch",
        "of-two-banks",
        "protocol 2.4 step 8",
        "one value of another bank",
        Session,
        [Tpm(|m| inner(m, 4, |m| set(m, 7, bytes([0; 48])))),]
    ),
    case!(
        "pcr-digest-mismatch",
        "digest-edited",
        "protocol 2.4 step 8",
        "another digest was quoted",
        Workload,
        [Quote(|a| digest(a, |b| b[0] ^= 1)),]
    ),
    case!(
        "pcr-digest-mismatch",
        "digest-empty",
        "protocol 2.4 step 8",
        "an empty digest was quoted",
        Session,
        [Quote(|a| digest(a, Vec::clear)),]
    ),
    case!(
        "pcr-selection-insufficient",
        "sha1-bank",
        "protocol 2.4 step 8",
        "the right registers of the SHA-1 bank",
        Session,
        [Quote(|a| select(a, HashAlgorithm::Sha1, &[0, 4, 7])), Tpm(|m| remove(m, 4)),]
    ),
    case!(
        "pcr-selection-insufficient",
        "without-pcr-7",
        "protocol 2.4 step 8",
        "PCR 0 and 4 only",
        Renewal,
        [Quote(|a| select(a, HashAlgorithm::Sha256, &[0, 4])), Tpm(|m| remove(m, 4)),]
    ),
    case!(
        "pcr-selection-insufficient",
        "others",
        "protocol 2.4 step 8",
        "PCR 16, 22 and 23, which anybody resets",
        Session,
        [Quote(|a| select(a, HashAlgorithm::Sha256, &[16, 22, 23])), Tpm(|m| remove(m, 4)),]
    ),
    case!(
        "pcr-selection-insufficient",
        "two-banks-that-share",
        "protocol 2.4 step 8",
        "PCR 0 of one bank, 4 and 7 of another",
        Session,
        [
            Quote(|a| if let Attested::Quote(quote) = &mut a.attested {
                let one = PcrSelection::new(HashAlgorithm::Sha256, [0]);
                let two = PcrSelection::new(HashAlgorithm::Sha384, [4, 7]);
                quote.pcr_select = one.into_iter().chain(two).collect();
            }),
            Tpm(|m| remove(m, 4)),
        ]
    ),
    case!(
        "pcr-selection-insufficient",
        "nothing",
        "protocol 2.4 step 8",
        "no register at all",
        Workload,
        [
            Quote(|a| if let Attested::Quote(quote) = &mut a.attested {
                quote.pcr_select.clear()
            }),
            Tpm(|m| remove(m, 4)),
        ]
    ),
    case!(
        "boot-log-missing",
        "withheld-as-missing",
        "protocol 2.4 step 8",
        "the host says that there is no log",
        Pin,
        [With(Change::MachinesJudged), Log(|| SentLog::Withheld(WithheldLog::Missing)),]
    ),
    case!(
        "boot-log-too-long",
        "of-a-workload",
        "protocol 2.4 step 8",
        "the host says that its log is too long",
        Workload,
        [With(Change::MachinesJudged), Log(|| SentLog::Withheld(WithheldLog::TooLong)),]
    ),
    case!(
        "boot-log-too-long",
        "of-an-action",
        "protocol 2.4 step 8",
        "the host says that its log is too long",
        Action,
        [With(Change::MachinesJudged), Log(|| SentLog::Withheld(WithheldLog::TooLong)),]
    ),
    case!(
        "boot-log-malformed",
        "text",
        "protocol 2.4 step 8",
        "a log that is text",
        Session,
        [
            With(Change::MachinesJudged),
            Log(|| SentLog::Whole([b"boot log\n".as_slice(); 16].concat())),
        ]
    ),
    case!(
        "boot-log-malformed",
        "one-event-of-no-bank",
        "TCG PFP 10.4.5.1",
        "a first event that declares no bank",
        Workload,
        [With(Change::MachinesJudged), Log(|| SentLog::Whole(super::super::log::spec_id(&[]))),]
    ),
    case!(
        "boot-log-malformed",
        "unknown-bank",
        "TCG PFP 10.4.5.1",
        "a first event that declares an unknown bank",
        Session,
        [
            With(Change::MachinesJudged),
            Log(|| SentLog::Whole(super::super::log::spec_id(&[(0x7777, 32)]))),
        ]
    ),
    case!(
        "boot-log-truncated",
        "a-byte",
        "TCG PFP 10.2.1",
        "one byte",
        Workload,
        [With(Change::MachinesJudged), Log(|| SentLog::Whole(vec![0])),]
    ),
    case!(
        "boot-log-truncated",
        "event-without-digest",
        "TCG PFP 10.2.2",
        "the log ends inside its second event",
        Session,
        [
            With(Change::MachinesJudged),
            Log(|| {
                let mut log = super::super::log::spec_id(&[(0x000b, 32)]);
                log.extend_from_slice(&[0, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0x0b, 0]);
                SentLog::Whole(log)
            }),
        ]
    ),
    case!(
        "boot-log-mismatch",
        "only-a-header",
        "protocol 2.4 step 8",
        "a sound log in which nothing was measured",
        Session,
        [
            With(Change::MachinesJudged),
            Log(|| SentLog::Whole(super::super::log::spec_id(&[(0x000b, 32)]))),
        ]
    ),
    case!(
        "boot-log-mismatch",
        "separators-only",
        "protocol 2.4 step 8",
        "a log of separators alone",
        Workload,
        [With(Change::MachinesJudged), Log(|| SentLog::Whole(super::super::log::separators())),]
    ),
    case!(
        "boot-policy-refused",
        "renewal-after-drift",
        "protocol 2.4 step 8",
        "other registers than were approved",
        Renewal,
        [With(Change::PcrsDrifted),]
    ),
    case!(
        "boot-policy-refused",
        "workload-after-drift",
        "protocol 2.4 step 8",
        "other registers than were approved",
        Workload,
        [With(Change::PcrsDrifted),]
    ),
    case!(
        "pcr-selection-insufficient",
        "values-withheld",
        "protocol 2.4 step 8",
        "a quote without values where they are judged",
        Session,
        [With(Change::PcrsDrifted), Tpm(|m| remove(m, 4)),]
    ),
    case!(
        "tpm-clock-regressed",
        "clock-back",
        "TPM 2.0 Part 1 section 36",
        "a clock of zero",
        Session,
        [Quote(|a| a.clock_info.clock = 0)]
    ),
    case!(
        "tpm-clock-regressed",
        "reset-count-back",
        "TPM 2.0 Part 1 section 36",
        "a reset count of zero",
        Session,
        [Quote(|a| a.clock_info.reset_count = 0),]
    ),
    case!(
        "tpm-clock-regressed",
        "renewal-behind",
        "TPM 2.0 Part 1 section 36",
        "a later reading is known",
        Renewal,
        [With(Change::ClockAhead)]
    ),
    case!(
        "tpm-rebooted",
        "reset-since",
        "protocol 3.2",
        "a renewal after one more TPM reset",
        Renewal,
        [Quote(|a| a.clock_info.reset_count += 1),]
    ),
    case!(
        "tpm-rebooted",
        "many-resets-since",
        "protocol 3.2",
        "a renewal after very many TPM resets",
        Renewal,
        [Quote(|a| a.clock_info.reset_count = u32::MAX),]
    ),
    case!(
        "session-ended",
        "renewal-of-an-ended-session",
        "protocol 3.2",
        "a renewal of a session that was ended",
        Renewal,
        [With(Change::SessionEnded),]
    ),
    case!(
        "session-ended",
        "of-another-operator",
        "protocol 3.2",
        "a renewal of another operator's session",
        Renewal,
        [crate::forge::Edit::Statement(|s| s.subject = Some("mallory".into())),]
    ),
    case!(
        "session-ended",
        "unknown",
        "protocol 3.2",
        "a renewal of a session that nobody knows",
        Renewal,
        [crate::forge::Edit::Statement(
            |s| s.session = Some(signet_evidence::SessionId([0x99; 16]))
        ),]
    ),
    case!(
        "session-ended",
        "presence-in-an-unknown-session",
        "protocol 3.2",
        "a touch in a session that nobody knows",
        Session,
        [crate::forge::Edit::Statement(
            |s| s.session = Some(signet_evidence::SessionId([0x99; 16]))
        ),]
    ),
    case!(
        "quote-challenge-mismatch",
        "over-the-assertion-alone",
        "protocol 2.2",
        "a quote over something of the right length",
        Pin,
        [Quote(
            |a| a.extra_data = signet_evidence::binding::qualifying_data(b"", b"", None).to_vec()
        ),]
    ),
    case!(
        "accepted",
        "software-restarted",
        "protocol 2.4 step 9",
        "a restart between enrolment and session",
        Session,
        [Quote(|a| a.clock_info.restart_count += 1), Claims(|m| set(m, -70099, Value::Bool(true))),]
    ),
];
