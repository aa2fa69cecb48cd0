-- Evidence that decisions were made on, by the SHA-256 that their records name.
CREATE TABLE evidence (
    hash  BLOB PRIMARY KEY,
    at    INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    -- The certificate of the connection that it came over, DER.
    peer  BLOB NOT NULL,
    -- Of both.
    size  INTEGER NOT NULL
) STRICT;
CREATE INDEX evidence_by_time ON evidence (at, hash, size);
