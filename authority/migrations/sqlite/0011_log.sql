-- Records are leaves of a Merkle tree (docs/decisions/0030). Records from before wait in audit_chain for
-- the authority to take them over when it opens the database; after that it stays empty.
DROP TRIGGER audit_is_append_only_update;
DROP TRIGGER audit_is_append_only_delete;
ALTER TABLE audit RENAME TO audit_chain;

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
    policy     TEXT,
    request    TEXT,
    -- Over the sequence number and the leaf's hash.
    mac        BLOB NOT NULL
) STRICT;
CREATE INDEX audit_by_time ON audit (at);

-- Hashes of the tree, as c2sp.org/tlog-tiles counts them: level 0 has the leaves, a hash of level n + 1 is the
-- root over 256 of level n.
CREATE TABLE log_hashes (
    level  INTEGER NOT NULL,
    number INTEGER NOT NULL,
    hash   BLOB NOT NULL,
    PRIMARY KEY (level, number)
) STRICT, WITHOUT ROWID;

-- What was signed, as c2sp.org/tlog-checkpoint has it.
CREATE TABLE checkpoints (
    size INTEGER PRIMARY KEY,
    at   INTEGER NOT NULL,
    note TEXT NOT NULL
) STRICT;

CREATE TABLE witnesses (
    name TEXT PRIMARY KEY,
    key  TEXT NOT NULL,
    mac  BLOB NOT NULL
) STRICT;

CREATE TABLE cosignatures (
    size    INTEGER NOT NULL REFERENCES checkpoints (size),
    witness TEXT NOT NULL REFERENCES witnesses (name),
    at      INTEGER NOT NULL,
    line    TEXT NOT NULL,
    PRIMARY KEY (size, witness)
) STRICT;

-- Records below this number may go; a record says when and by whom they went.
CREATE TABLE audit_retention (
    "only"    INTEGER PRIMARY KEY CHECK ("only" = 1),
    kept_from INTEGER NOT NULL
) STRICT;
INSERT INTO audit_retention ("only", kept_from) VALUES (1, 1);

CREATE TRIGGER audit_is_append_only_update BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit table is append-only'); END;
CREATE TRIGGER audit_is_append_only_delete BEFORE DELETE ON audit
WHEN OLD.sequence >= (SELECT kept_from FROM audit_retention)
BEGIN SELECT RAISE(ABORT, 'the audit table is append-only'); END;
CREATE TRIGGER log_hashes_are_append_only_update BEFORE UPDATE ON log_hashes
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_hashes_are_append_only_delete BEFORE DELETE ON log_hashes
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;

-- Programs that write a chain of digests must not write into the log.
UPDATE compatibility SET oldest = 11;
