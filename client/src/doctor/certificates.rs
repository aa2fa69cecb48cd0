//! How long the machine's certificates count.

use serde_json::{Value, json};

use super::ground::Ground;
use super::{Check, Finding};
use crate::inspection::rfc3339;
use crate::renewal::CertificateLife;

/// How a certificate is at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    NotYet,
    Fresh,
    Due,
    Over,
}

pub(super) fn examine(ground: &Ground) -> Finding {
    let Some(enrolment) = ground.enrolled() else {
        return Finding::unknown(Check::Certificates, "there are none before enrolment");
    };
    let ak = ground.status.as_ref().ok().and_then(|status| status.ak_certificate.as_deref());
    let device = enrolment.certificates.first().and_then(|der| CertificateLife::of_der(der));
    judged(device, ak.and_then(CertificateLife::of_der), ground.now)
}

fn judged(device: Option<CertificateLife>, ak: Option<CertificateLife>, now: i64) -> Finding {
    let Some(device_life) = device else {
        return Finding::fail(
            Check::Certificates,
            "the device certificate cannot be read",
            "`signetd --forget` with signetd stopped, then enrol again",
        );
    };
    let ages = [Some(device_life), ak].into_iter().flatten().map(|life| (age(life, now), life));
    let (worst, life) = ages
        .max_by_key(|(age, life)| (severity(*age), -life.not_after))
        .unwrap_or((Age::Fresh, device_life));
    let until = rfc3339(life.not_after);
    let finding = match worst {
        Age::Fresh => Finding::ok(
            Check::Certificates,
            format!("good until {until}, renewed from {} on", rfc3339(life.renewal_at())),
        ),
        Age::Due => Finding::warn(
            Check::Certificates,
            format!("good until {until}: time to renew"),
            "`signet enrol --renew`; the next login, token or request does it too",
        ),
        Age::Over => Finding::fail(
            Check::Certificates,
            format!("ran out at {until}"),
            "have an administrator make a ticket with `signet-authority ticket device --rebind`, then stop signetd, run `signetd --forget`, start it and run `signet enrol`; check the clock first",
        ),
        Age::NotYet => Finding::fail(
            Check::Certificates,
            format!(
                "count only from {} on: this machine's clock is behind",
                rfc3339(life.not_before)
            ),
            "set the clock: `timedatectl set-ntp true`",
        ),
    };
    finding.fact("device", facts(device, now)).fact("ak", facts(ak, now))
}

fn age(life: CertificateLife, now: i64) -> Age {
    match life {
        _ if now < life.not_before => Age::NotYet,
        _ if now > life.not_after => Age::Over,
        _ if life.is_due(now) => Age::Due,
        _ => Age::Fresh,
    }
}

fn severity(age: Age) -> u8 {
    match age {
        Age::Fresh => 0,
        Age::Due => 1,
        Age::NotYet | Age::Over => 2,
    }
}

fn facts(life: Option<CertificateLife>, now: i64) -> Value {
    life.map_or(Value::Null, |life| {
        json!({
            "not_before": rfc3339(life.not_before),
            "not_after": rfc3339(life.not_after),
            "renewal_due": life.is_due(now),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn the_worse_of_the_two_counts() {
        let life = |from, to| Some(CertificateLife { not_before: from, not_after: to });
        let at = |now| judged(life(1000, 4000), life(1000, 4600), now);
        assert_eq!(at(2000).state, State::Ok);
        assert_eq!(at(3100).state, State::Warn);
        assert_eq!(at(4001).state, State::Fail);
        let early = at(999);
        assert_eq!(early.state, State::Fail);
        assert!(early.summary.contains("clock is behind"), "{}", early.summary);
        assert_eq!(judged(life(0, 9000), life(0, 100), 200).state, State::Fail);
        assert_eq!(judged(life(0, 9000), None, 200).facts["ak"], Value::Null);
        assert_eq!(judged(None, None, 200).state, State::Fail);
    }
}
