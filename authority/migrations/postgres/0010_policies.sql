-- Versions of the action policy, and when which of them was put into force. See the SQLite migration.
CREATE TABLE policy_sets (
    version BYTEA PRIMARY KEY,
    files   TEXT NOT NULL,
    mac     BYTEA NOT NULL
);

CREATE TABLE policy_activations (
    number  BIGINT PRIMARY KEY,
    slot    TEXT NOT NULL,
    version BYTEA REFERENCES policy_sets (version),
    at      BIGINT NOT NULL,
    by_whom TEXT NOT NULL,
    reason  TEXT NOT NULL,
    mac     BYTEA NOT NULL
);

CREATE TRIGGER policy_sets_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON policy_sets
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER policy_activations_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON policy_activations
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER policy_activations_are_news AFTER INSERT ON policy_activations
    FOR EACH STATEMENT EXECUTE FUNCTION tell_nodes();

-- Which policy decided, and what it was told: enough to decide it again.
ALTER TABLE audit ADD COLUMN policy TEXT;
ALTER TABLE audit ADD COLUMN request TEXT;
