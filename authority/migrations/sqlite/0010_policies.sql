-- Versions of the action policy, and when which of them was put into force. The newest activation of a
-- slot counts; a NULL version takes away what was there.
CREATE TABLE policy_sets (
    version BLOB PRIMARY KEY,
    files   TEXT NOT NULL,
    mac     BLOB NOT NULL
) STRICT;

CREATE TABLE policy_activations (
    number  INTEGER PRIMARY KEY,
    slot    TEXT NOT NULL,
    version BLOB REFERENCES policy_sets (version),
    at      INTEGER NOT NULL,
    by_whom TEXT NOT NULL,
    reason  TEXT NOT NULL,
    mac     BLOB NOT NULL
) STRICT;

CREATE TRIGGER policy_sets_stay_update BEFORE UPDATE ON policy_sets
BEGIN SELECT RAISE(ABORT, 'the policy_sets table is append-only'); END;
CREATE TRIGGER policy_sets_stay_delete BEFORE DELETE ON policy_sets
BEGIN SELECT RAISE(ABORT, 'the policy_sets table is append-only'); END;
CREATE TRIGGER policy_activations_stay_update BEFORE UPDATE ON policy_activations
BEGIN SELECT RAISE(ABORT, 'the policy_activations table is append-only'); END;
CREATE TRIGGER policy_activations_stay_delete BEFORE DELETE ON policy_activations
BEGIN SELECT RAISE(ABORT, 'the policy_activations table is append-only'); END;

-- Which policy decided, and what it was told: enough to decide it again.
ALTER TABLE audit ADD COLUMN policy TEXT;
ALTER TABLE audit ADD COLUMN request TEXT;
