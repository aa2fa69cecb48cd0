-- Endorsement keys without a certificate, pinned when they were first seen, and who approved them.
CREATE TABLE ek_pins (
    -- SHA-256 of the TPMT_PUBLIC.
    digest      BLOB PRIMARY KEY,
    operator    TEXT NOT NULL,
    asset       TEXT,
    seen_at     INTEGER NOT NULL,
    approved_by TEXT,
    reason      TEXT,
    approved_at INTEGER,
    mac         BLOB NOT NULL
) STRICT;
