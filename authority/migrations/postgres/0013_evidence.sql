-- Evidence that decisions were made on, by the SHA-256 that their records name.
CREATE TABLE evidence (
    hash  BYTEA PRIMARY KEY,
    at    BIGINT NOT NULL,
    bytes BYTEA NOT NULL,
    -- The certificate of the connection that it came over, DER.
    peer  BYTEA NOT NULL,
    -- Of both.
    size  BIGINT NOT NULL
);
CREATE INDEX evidence_by_time ON evidence (at, hash, size);
