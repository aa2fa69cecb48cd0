//! `signet inspect` over every fixture: what is evidence is shown, whatever it says.

use signet_client::inspection::Document;
use signet_tests::fixture::all;

#[test]
fn every_fixture_is_shown_or_refused_in_words() {
    let mut shown = 0;
    for fixture in all().unwrap() {
        match Document::read(&fixture.bytes) {
            Ok(document) => {
                let text = document.outline().to_string();
                assert!(text.contains("verified: no"), "{}", fixture.path.display());
                shown += 1;
            }
            Err(error) => {
                let genuine = fixture.expect == "accepted";
                assert!(!genuine, "{}: {error}", fixture.path.display());
            }
        }
    }
    assert!(shown > 0);
}
