-- Restores from a backup: challenges that expire up to `refuse_until` may have been answered after the backup was
-- made, and count as answered.
CREATE TABLE restorations (
    restored_at  INTEGER NOT NULL,
    refuse_until INTEGER NOT NULL
) STRICT;

-- The oldest schema whose programs may still decide. A migration that breaks older ones sets it to its own number.
CREATE TABLE compatibility (
    "only" INTEGER PRIMARY KEY CHECK ("only" = 1),
    oldest INTEGER NOT NULL
) STRICT;
INSERT INTO compatibility ("only", oldest) VALUES (1, 7);
