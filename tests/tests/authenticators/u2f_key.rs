//! A key of the U2F generation: a button, and nothing that knows its user (OpenSK, its CTAP2 hidden).

use crate::button::Button;

#[tokio::test(flavor = "multi_thread")]
async fn enrols_and_logs_in_but_approves_nothing_that_needs_more() {
    Button::U2f.logs_in_and_approves_nothing_that_needs_more().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_takes_it_only_where_it_says_so() {
    Button::U2f.is_refused_where_the_authority_does_not_take_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lets_no_further_key_in() {
    Button::U2f.lets_no_further_key_in().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn has_neither_pin_nor_fingers() {
    Button::U2f.has_neither_pin_nor_fingers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cannot_answer_for_more_than_a_touch() {
    Button::U2f.cannot_answer_for_more_than_a_touch().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn taken_away_while_it_asks() {
    Button::U2f.is_taken_away_while_it_asks().await;
}
