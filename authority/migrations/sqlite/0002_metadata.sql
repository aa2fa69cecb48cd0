-- Keys that prove a touch and never more; and, for U2F keys, what metadata knows their model by.
ALTER TABLE credentials ADD COLUMN touch_only INTEGER NOT NULL DEFAULT 0;
ALTER TABLE credentials ADD COLUMN attestation_key BLOB;
-- The status that FIDO metadata reports of the model, while it stands against it. Refused meanwhile.
ALTER TABLE credentials ADD COLUMN reported TEXT;

-- The one FIDO metadata BLOB that counts, as it was believed: what it says, not its signature.
CREATE TABLE metadata (
    only        INTEGER PRIMARY KEY CHECK (only = 1),
    number      INTEGER NOT NULL,
    next_update INTEGER NOT NULL,
    imported_at INTEGER NOT NULL,
    -- SHA-256 of the BLOB.
    digest      BLOB NOT NULL,
    content     TEXT NOT NULL,
    -- Over the columns above: metadata that the authority did not write is not believed.
    mac         BLOB NOT NULL
) STRICT;
