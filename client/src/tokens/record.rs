//! What the cache remembers of a session.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use signet_evidence::{CertificateThumbprint, SessionId};

use super::access_token::AccessToken;
use super::boot_clock::{BootTime, boot_id};
use crate::authority::{Base64Url, Shown, TokenResponse, all};
use crate::daemon::Enrolment;

/// A session and its current token, as it stands in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    version: u8,
    /// The authority's URL.
    pub authority: String,
    /// The device's UEID in hex.
    pub device_id: String,
    /// The person.
    pub subject: String,
    /// `sid`, 32 hex digits.
    pub session: String,
    /// Rights of the token.
    pub scope: Option<String>,
    /// Assurance of the token.
    pub acr: Option<String>,
    /// The token.
    pub access_token: AccessToken,
    /// SHA-256 of the certificate that the token is bound to, hex; empty when it is not known.
    #[serde(default)]
    certificate: String,
    /// That certificate, leaf first, where it is not the machine's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    chain: Vec<Base64Url>,
    /// The same touch's token for the other kind of certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    beside: Option<Box<SessionRecord>>,
    boot_id: String,
    obtained: u64,
    expires: u64,
    renew_at: u64,
    presence_expires: Option<u64>,
}

/// A token, and the certificate to show with it.
#[derive(Clone, Debug)]
pub struct BoundToken {
    /// The token.
    pub token: AccessToken,
    /// DER, leaf first; empty for the machine's.
    pub certificate: Vec<Vec<u8>>,
    /// How long both live on; zero when it is not known.
    pub life: Duration,
}

impl From<TokenResponse> for BoundToken {
    fn from(response: TokenResponse) -> Self {
        Self {
            token: response.access_token,
            certificate: all(response.certificate),
            life: Duration::from_secs(response.expires_in),
        }
    }
}

/// What to do with a cached token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Use it as it is.
    Fresh,
    /// Still good, but time to renew it.
    RenewalDue,
    /// Run out; a renewal brings a new one.
    Expired,
    /// Run out, and only a touch brings a new one.
    PresenceOver,
}

const VERSION: u8 = 1;

/// Seconds that a person may take, and a little more.
const LONGEST_TOUCH: u64 = 150;

impl SessionRecord {
    /// The record of a token that was just given. `jitter` is any byte: renewals of many clients
    /// spread over 55 % to 65 % of the token's life.
    ///
    /// `None` when the response names no session.
    #[must_use]
    pub fn new(
        enrolment: &Enrolment,
        subject: &str,
        response: TokenResponse,
        now: BootTime,
        jitter: u8,
    ) -> Option<Self> {
        let session = response.session.filter(|text| SessionId::from_hex(text).is_some())?;
        let life = response.expires_in;
        let share = 550 + u64::from(jitter) * 100 / 255;
        Some(Self {
            version: VERSION,
            authority: enrolment.authority.clone(),
            device_id: enrolment.device_id.clone(),
            subject: subject.to_owned(),
            session,
            scope: response.scope,
            acr: response.acr,
            access_token: response.access_token,
            certificate: match response.certificate.first() {
                Some(leaf) => CertificateThumbprint::of_der(&leaf.0).to_hex(),
                None => thumbprint(enrolment),
            },
            chain: response.certificate,
            beside: None,
            boot_id: boot_id(),
            obtained: now.0,
            expires: now.0.saturating_add(life),
            renew_at: now.0.saturating_add(life.saturating_mul(share) / 1000),
            presence_expires: response.presence_expires_in.map(|left| now.0.saturating_add(left)),
        })
    }

    /// Whether this is a session of this machine, as it is enrolled now, since this boot.
    #[must_use]
    pub fn belongs_to(&self, enrolment: &Enrolment) -> bool {
        self.version == VERSION
            && self.authority == enrolment.authority
            && self.device_id == enrolment.device_id
            && self.boot_id == boot_id()
    }

    /// Whether the token is bound to the certificate that this machine shows now; a renewal binds
    /// the next one to it (protocol §3.2).
    #[must_use]
    pub fn is_bound_to(&self, enrolment: &Enrolment) -> bool {
        self.certificate == thumbprint(enrolment)
    }

    /// Whether the token is bound to a certificate of the operator.
    #[must_use]
    pub fn is_bound_to_operator(&self) -> bool {
        !self.chain.is_empty()
    }

    /// The token with its certificate.
    #[must_use]
    pub fn bound_token(self) -> BoundToken {
        let life = self.remaining(BootTime::now());
        BoundToken { token: self.access_token, certificate: all(self.chain), life }
    }

    /// This renewal with the token of the other kind that `before` holds: both come from one touch, since what
    /// a touch brings stands alone.
    #[must_use]
    pub(super) fn renewed_beside(mut self, before: SessionRecord) -> Self {
        let same = before.session == self.session && before.boot_id == self.boot_id;
        self.beside = match before.is_bound_to_operator() == self.is_bound_to_operator() {
            _ if !same => None,
            true => before.beside,
            false => Some(Box::new(SessionRecord { beside: None, ..before })),
        };
        self
    }

    /// The token that is bound to a certificate of this kind; where there is none, the one that is there.
    #[must_use]
    pub(super) fn of_kind(mut self, shown: Shown) -> Self {
        let wanted = |record: &Self| record.is_bound_to_operator() == (shown == Shown::Operator);
        match self.beside.take() {
            Some(beside) if !wanted(&self) && wanted(&beside) => *beside,
            _ => self,
        }
    }

    /// Every token that it holds.
    pub(super) fn every_token(self) -> impl Iterator<Item = AccessToken> {
        std::iter::once(self.access_token).chain(self.beside.map(|beside| beside.access_token))
    }

    /// The session's id.
    #[must_use]
    pub fn session_id(&self) -> Option<SessionId> {
        SessionId::from_hex(&self.session)
    }

    /// What to do with the token now.
    #[must_use]
    pub fn freshness(&self, now: BootTime) -> Freshness {
        let presence_over = self.presence_expires.is_some_and(|end| now.0 >= end);
        // Two seconds for the request to arrive.
        let expired = now.0.saturating_add(2) >= self.expires;
        match (expired, presence_over) {
            (true, true) => Freshness::PresenceOver,
            (true, false) => Freshness::Expired,
            (false, false) if now.0 >= self.renew_at => Freshness::RenewalDue,
            // With presence over, a renewal would be refused: use what there is to its end.
            (false, _) => Freshness::Fresh,
        }
    }

    /// Whether the authority will still know the session after a touch that takes its time: a
    /// session that rests for two lives of its token is over (protocol §3.2).
    #[must_use]
    pub fn can_go_on(&self, now: BootTime) -> bool {
        let life = self.expires.saturating_sub(self.obtained);
        let rested = now.0.saturating_sub(self.obtained).saturating_add(LONGEST_TOUCH);
        now.0 < self.expires || rested < life.saturating_mul(2)
    }

    /// How long the token lives on.
    #[must_use]
    pub fn remaining(&self, now: BootTime) -> Duration {
        BootTime(self.expires).remaining(now)
    }

    /// How long until a touch is due; `None` when the authority did not say.
    #[must_use]
    pub fn presence_remaining(&self, now: BootTime) -> Option<Duration> {
        Some(BootTime(self.presence_expires?).remaining(now))
    }

    /// How long until the token should be renewed.
    #[must_use]
    pub fn renewal_in(&self, now: BootTime) -> Duration {
        BootTime(self.renew_at).remaining(now)
    }
}

fn thumbprint(enrolment: &Enrolment) -> String {
    let leaf = enrolment.certificates.first();
    leaf.map(|der| CertificateThumbprint::of_der(der).to_hex()).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use zeroize::Zeroizing;

    pub(in crate::tokens) fn enrolment() -> Enrolment {
        Enrolment {
            device_id: "01".repeat(17),
            operator: "alice".into(),
            authority: "https://authority.example".into(),
            audience: "https://authority.example".into(),
            rp_id: "presence.mesh.example".into(),
            certificates: vec![],
            trust_anchors: vec![],
        }
    }

    pub(in crate::tokens) fn record(jitter: u8, presence: Option<u64>) -> SessionRecord {
        let response = TokenResponse {
            access_token: AccessToken::new(Zeroizing::new("a.b.c".into())).unwrap(),
            expires_in: 300,
            scope: None,
            session: Some("ab".repeat(16)),
            acr: Some("signet.uv".into()),
            presence_expires_in: presence,
            warnings: Vec::new(),
            certificate: Vec::new(),
        };
        SessionRecord::new(&enrolment(), "alice", response, BootTime(1000), jitter).unwrap()
    }

    fn operators(session: &str) -> SessionRecord {
        let response = TokenResponse {
            access_token: AccessToken::new(Zeroizing::new("a.b.c".into())).unwrap(),
            expires_in: 300,
            scope: None,
            session: Some(session.repeat(16)),
            acr: None,
            presence_expires_in: None,
            warnings: Vec::new(),
            certificate: vec![Base64Url(vec![7])],
        };
        SessionRecord::new(&enrolment(), "alice", response, BootTime(1000), 0).unwrap()
    }

    #[test]
    fn one_token_of_each_kind_is_held() {
        let (machines, operators) = (record(0, None), operators("ab"));
        assert_eq!(machines.clone().of_kind(Shown::Operator), machines);
        let both = operators.clone().renewed_beside(machines.clone());
        assert_eq!(both.clone().of_kind(Shown::Machine), machines);
        assert_eq!(both.clone().of_kind(Shown::Operator), operators);
        assert_eq!(both.clone().every_token().count(), 2);
        // The next of a kind takes the place of the one before, and the other stays.
        let again = record(9, None).renewed_beside(both);
        assert_eq!(again.clone().of_kind(Shown::Machine), record(9, None));
        assert_eq!(again.clone().of_kind(Shown::Operator), operators);
        let kept: SessionRecord =
            serde_json::from_str(&serde_json::to_string(&again).unwrap()).unwrap();
        assert_eq!(kept, again);
    }

    #[test]
    fn a_token_of_another_session_is_not_kept_beside() {
        let other = operators("cd").renewed_beside(record(0, None));
        assert_eq!(other, operators("cd"));
        let earlier = SessionRecord { boot_id: "earlier".into(), ..record(0, None) };
        assert_eq!(operators("ab").renewed_beside(earlier), operators("ab"));
    }

    #[test]
    fn a_token_of_the_operators_certificate_is_none_of_the_machines() {
        let record = operators("ab");
        assert!(record.belongs_to(&enrolment()) && !record.is_bound_to(&enrolment()));
        assert!(record.is_bound_to_operator());
        let kept: SessionRecord =
            serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
        assert_eq!(kept, record);
        assert_eq!(kept.bound_token().certificate, [[7]]);
    }

    #[test]
    fn renewal_is_due_at_about_sixty_percent() {
        for (jitter, at) in [(0, 165), (255, 195)] {
            let record = record(jitter, None);
            assert_eq!(record.freshness(BootTime(1000 + at - 1)), Freshness::Fresh);
            assert_eq!(record.freshness(BootTime(1000 + at)), Freshness::RenewalDue);
            assert_eq!(record.freshness(BootTime(1298)), Freshness::Expired);
        }
    }

    #[test]
    fn no_renewal_when_presence_is_over() {
        let record = record(0, Some(200));
        assert_eq!(record.freshness(BootTime(1199)), Freshness::RenewalDue);
        assert_eq!(record.freshness(BootTime(1200)), Freshness::Fresh);
        assert_eq!(record.freshness(BootTime(1299)), Freshness::PresenceOver);
    }

    #[test]
    fn a_session_that_rested_too_long_is_not_taken_up() {
        let record = record(0, Some(900));
        assert!(record.can_go_on(BootTime(1299)));
        assert!(record.can_go_on(BootTime(1449)));
        assert!(!record.can_go_on(BootTime(1450)));
    }

    #[test]
    fn a_token_of_the_certificate_before_is_renewed() {
        let record = record(0, Some(900));
        assert!(record.is_bound_to(&enrolment()));
        let renewed = Enrolment { certificates: vec![vec![1]], ..enrolment() };
        assert!(record.belongs_to(&renewed) && !record.is_bound_to(&renewed));
    }

    #[test]
    fn another_authority_device_or_boot_is_not_ours() {
        let record = record(0, None);
        assert!(record.belongs_to(&enrolment()));
        let other = Enrolment { authority: "https://other.example".into(), ..enrolment() };
        assert!(!record.belongs_to(&other));
        let other = Enrolment { device_id: "02".repeat(17), ..enrolment() };
        assert!(!record.belongs_to(&other));
        let earlier = SessionRecord { boot_id: "earlier".into(), ..record };
        assert!(!earlier.belongs_to(&enrolment()));
    }
}
