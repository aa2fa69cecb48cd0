-- See ../sqlite/0009_log.sql.
DROP TRIGGER audit_is_append_only ON audit;
ALTER TABLE audit RENAME TO audit_chain;

CREATE TABLE audit (
    sequence   BIGINT PRIMARY KEY,
    at         BIGINT NOT NULL,
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
    mac        BYTEA NOT NULL
);
CREATE INDEX audit_by_time ON audit (at);

CREATE TABLE log_hashes (
    level  BIGINT NOT NULL,
    number BIGINT NOT NULL,
    hash   BYTEA NOT NULL,
    PRIMARY KEY (level, number)
);

CREATE TABLE checkpoints (
    size BIGINT PRIMARY KEY,
    at   BIGINT NOT NULL,
    note TEXT NOT NULL
);

CREATE TABLE witnesses (
    name TEXT PRIMARY KEY,
    key  TEXT NOT NULL,
    mac  BYTEA NOT NULL
);

CREATE TABLE cosignatures (
    size    BIGINT NOT NULL REFERENCES checkpoints (size),
    witness TEXT NOT NULL REFERENCES witnesses (name),
    at      BIGINT NOT NULL,
    line    TEXT NOT NULL,
    PRIMARY KEY (size, witness)
);

CREATE TABLE audit_retention (
    "only"    BIGINT PRIMARY KEY CHECK ("only" = 1),
    kept_from BIGINT NOT NULL
);
INSERT INTO audit_retention ("only", kept_from) VALUES (1, 1);

CREATE FUNCTION refuse_early_deletion() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN
    IF OLD.sequence >= (SELECT kept_from FROM audit_retention) THEN
        RAISE EXCEPTION 'the audit table is append-only';
    END IF;
    RETURN OLD;
END$$;
CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_keeps_its_records BEFORE DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION refuse_early_deletion();
CREATE TRIGGER log_hashes_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log_hashes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER checkpoints_are_news AFTER INSERT ON checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION tell_nodes();

-- Programs that write a chain of digests must not write into the log.
UPDATE compatibility SET oldest = 11;
