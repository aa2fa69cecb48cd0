//! Without each single binding the checker finds the attack that docs/model.md names; or nothing, and
//! then the binding is a second line: it alone holds when those before it are gone.

use signet_model::binding::Binding;
use signet_model::search::attack;
use signet_model::spend::{Guard, Nodes, Row as SpendRow};
use signet_model::table::{LONGEST, ROWS, Row, Without};

fn check(binding: Binding) {
    let row = Row::of(binding).expect("each binding has its row");
    let broken = row.property().text();
    let steps = row.attack().expect("an attack");
    assert!(!steps.is_empty());
    if let Without::SecondLine(others, _) = row.without {
        assert!(attack(&row.model(&[binding]), broken, LONGEST).is_none(), "needed alone");
        assert!(attack(&row.model(others), broken, LONGEST).is_none(), "holds nothing");
    }
}

fn check_guard(guard: Guard) {
    let row = signet_model::spend::ROWS.iter().find(|row| row.guard == guard);
    let SpendRow { broken, .. } = row.expect("each guard has its row");
    let model = Nodes { without: Some(guard), ..Nodes::small() };
    assert!(attack(&model, broken, LONGEST).is_some());
}

/// A test for each; the match fails to compile when one has none.
macro_rules! each {
    ($kind:ident, $check:ident, $all:ident: $($test:ident => $name:ident,)*) => {
        $(#[test] fn $test() { $check($kind::$name); })*

        const $all: usize = [$(stringify!($test)),*].len();
        const _: fn($kind) = |one| match one { $($kind::$name => (),)* };
    };
}

each! { Binding, check, BINDINGS:
    without_assertion_statement => AssertionStatement,
    without_quote_statement => QuoteStatement,
    without_quote_assertion => QuoteAssertion,
    without_quote_registration => QuoteRegistration,
    without_registration_statement => RegistrationStatement,
    without_outer_signature => OuterSignature,
    without_statement_challenge => Challenge,
    without_statement_audience => Audience,
    without_statement_device => Device,
    without_statement_subject => Subject,
    without_statement_purpose => Purpose,
    without_statement_action => Action,
    without_statement_session => Session,
    without_audience => AudienceHere,
    without_challenge_issued => ChallengeIssued,
    without_challenge_expiry => ChallengeExpiry,
    without_challenge_peer => ChallengePeer,
    without_challenge_purpose => ChallengePurpose,
    without_challenge_action => ChallengeAction,
    without_challenge_session => ChallengeSession,
    without_connection_proof => ConnectionProof,
    without_certificate_peer => CertificatePeer,
    without_certificate_device => CertificateDevice,
    without_confirmation_key => ConfirmationKey,
    without_enrolled_ak => EnrolledAk,
    without_approved_boot => ApprovedBoot,
    without_session_device => SessionDevice,
    without_session_subject => SessionSubject,
    without_session_boot => SessionBoot,
    without_certified_at_start => CertifiedAtStart,
    without_certified_at_enrolment => CertifiedAtEnrolment,
    without_credential_subject => CredentialSubject,
    without_assertion_demanded => AssertionDemanded,
    without_challenge_consumed => ChallengeConsumed,
    without_token_signature => TokenSignature,
    without_token_audience => TokenAudience,
    without_token_expiry => TokenExpiry,
    without_token_certificate => TokenCertificate,
    without_token_action => TokenAction,
    without_token_redeemed => TokenRedeemed,
}

each! { Guard, check_guard, GUARDS:
    without_consumed_once => ConsumedOnce,
    without_consumed_with_mint => ConsumedWithMint,
    without_mint_on_record => MintOnRecord,
    without_redeemed_once => RedeemedOnce,
    without_one_store => OneStore,
    without_redemption_on_record => RedemptionOnRecord,
    without_written_before_answer => WrittenBeforeAnswer,
    without_revoked_when_written => RevokedWhenWritten,
}

#[test]
fn each_has_its_row_on_the_page_and_its_test() {
    let page = include_str!("../../docs/model.md");
    let lines = ROWS.iter().map(Row::line);
    for line in lines.chain(signet_model::spend::ROWS.iter().map(SpendRow::line)) {
        assert!(page.lines().any(|found| found == line), "docs/model.md lacks\n{line}");
    }
    assert_eq!(BINDINGS, ROWS.len());
    assert_eq!(GUARDS, signet_model::spend::ROWS.len());
}
