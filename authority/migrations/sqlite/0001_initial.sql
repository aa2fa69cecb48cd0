-- Times are seconds since 1970-01-01T00:00:00Z by the authority's clock; ids and digests are raw bytes.

CREATE TABLE operators (
    name       TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;

CREATE TABLE devices (
    id            BLOB PRIMARY KEY,
    operator      TEXT NOT NULL REFERENCES operators (name),
    asset         TEXT,
    ek_digest     BLOB NOT NULL,
    ek_proven     INTEGER NOT NULL,
    ak_name       BLOB NOT NULL,
    -- Uncompressed P-256 points.
    ak            BLOB NOT NULL,
    tls_key       BLOB NOT NULL,
    pcrs          TEXT NOT NULL,
    -- Over the columns above: a row that the authority did not write is not believed.
    mac           BLOB NOT NULL,
    clock_ms      INTEGER NOT NULL,
    reset_count   INTEGER NOT NULL,
    restart_count INTEGER NOT NULL,
    clock_safe    INTEGER NOT NULL,
    enrolled_at   INTEGER NOT NULL,
    revoked_at    INTEGER
) STRICT;
CREATE INDEX devices_by_ek ON devices (ek_digest);
CREATE INDEX devices_by_operator ON devices (operator);

CREATE TABLE credentials (
    id          BLOB PRIMARY KEY,
    subject     TEXT NOT NULL REFERENCES operators (name),
    name        TEXT NOT NULL,
    public_key  BLOB NOT NULL,
    aaguid      BLOB NOT NULL,
    attestation TEXT NOT NULL,
    mac         BLOB NOT NULL,
    sign_count  INTEGER NOT NULL,
    enrolled_at INTEGER NOT NULL,
    last_used   INTEGER,
    revoked_at  INTEGER
) STRICT;
CREATE INDEX credentials_by_subject ON credentials (subject);

CREATE TABLE sessions (
    id                BLOB PRIMARY KEY,
    -- person, action or workload: only a person's session is ever continued.
    kind              TEXT NOT NULL,
    subject           TEXT,
    device            BLOB NOT NULL REFERENCES devices (id),
    credential        BLOB REFERENCES credentials (id),
    reset_count       INTEGER NOT NULL,
    scope             TEXT,
    started_at        INTEGER NOT NULL,
    expires           INTEGER NOT NULL,
    last_token_at     INTEGER NOT NULL,
    presence          TEXT,
    status_index      INTEGER NOT NULL UNIQUE,
    ended_at          INTEGER
) STRICT;
CREATE INDEX sessions_by_device ON sessions (device);
CREATE INDEX sessions_by_subject ON sessions (subject);
CREATE INDEX sessions_by_credential ON sessions (credential);

CREATE TABLE tokens (
    id          BLOB PRIMARY KEY,
    session     BLOB NOT NULL REFERENCES sessions (id),
    action      BLOB,
    issued_at   INTEGER NOT NULL,
    expires     INTEGER NOT NULL,
    redeemed_at INTEGER,
    revoked_at  INTEGER
) STRICT;
CREATE INDEX tokens_by_expiry ON tokens (expires);

-- Each challenge is answered once: this uniqueness is what refuses a replay.
CREATE TABLE consumed_challenges (
    random  BLOB PRIMARY KEY,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX consumed_challenges_by_expiry ON consumed_challenges (expires);

-- Only the digest of a ticket is kept.
CREATE TABLE tickets (
    digest     BLOB PRIMARY KEY,
    kind       TEXT NOT NULL,
    operator   TEXT NOT NULL,
    asset      TEXT,
    created_at INTEGER NOT NULL,
    expires    INTEGER NOT NULL,
    used_at    INTEGER
) STRICT;

-- The first key of an operator whose machine was enrolled a moment ago.
CREATE TABLE grants (
    device   BLOB PRIMARY KEY REFERENCES devices (id),
    operator TEXT NOT NULL,
    expires  INTEGER NOT NULL,
    used_at  INTEGER
) STRICT;

-- What every node must refuse from now on, in order, so that a node reads only what is new.
CREATE TABLE revocations (
    sequence     INTEGER PRIMARY KEY AUTOINCREMENT,
    kind         TEXT NOT NULL,
    target       BLOB NOT NULL,
    status_index INTEGER,
    revoked_at   INTEGER NOT NULL
) STRICT;

CREATE TABLE status_indices (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    next INTEGER NOT NULL
) STRICT;
INSERT INTO status_indices (only, next) VALUES (1, 0);

-- Append-only. Each row names its predecessor's digest, so that order and content are fixed.
CREATE TABLE audit (
    sequence   INTEGER PRIMARY KEY,
    at         INTEGER NOT NULL,
    event      TEXT NOT NULL,
    decision   TEXT NOT NULL,
    code       TEXT,
    subject    TEXT,
    device     TEXT,
    session    TEXT,
    token      TEXT,
    credential TEXT,
    gateway    TEXT,
    action     TEXT,
    evidence   TEXT,
    rule       TEXT,
    detail     TEXT NOT NULL,
    previous   BLOB NOT NULL,
    digest     BLOB NOT NULL UNIQUE,
    mac        BLOB NOT NULL
) STRICT;

CREATE TRIGGER audit_is_append_only_update BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit table is append-only'); END;
CREATE TRIGGER audit_is_append_only_delete BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit table is append-only'); END;
