//! A FIDO2 key that can only be touched: no PIN, no sensor (Nitrokey 3 and Solo 2 firmware, the rest
//! hidden).

use crate::button::Button;

#[tokio::test(flavor = "multi_thread")]
async fn enrols_and_logs_in_but_approves_nothing_that_needs_more() {
    Button::Fido2.logs_in_and_approves_nothing_that_needs_more().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_takes_it_only_where_it_says_so() {
    Button::Fido2.is_refused_where_the_authority_does_not_take_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lets_no_further_key_in() {
    Button::Fido2.lets_no_further_key_in().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn has_neither_pin_nor_fingers() {
    Button::Fido2.has_neither_pin_nor_fingers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cannot_answer_for_more_than_a_touch() {
    Button::Fido2.cannot_answer_for_more_than_a_touch().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn taken_away_while_it_asks() {
    Button::Fido2.is_taken_away_while_it_asks().await;
}
