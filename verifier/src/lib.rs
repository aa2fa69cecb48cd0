//! Appraises Presence Evidence; mints and checks tokens.
