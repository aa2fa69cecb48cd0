-- What machines boot. Groups choose the policies that judge a machine.
CREATE TABLE machine_groups (
    device BLOB PRIMARY KEY REFERENCES devices (id),
    -- JSON array of names, sorted.
    names  TEXT NOT NULL,
    mac    BLOB NOT NULL
) STRICT;
-- The group that the machine gets, and the one endorsement key that the ticket is for (SHA-256 of its
-- TPMT_PUBLIC).
ALTER TABLE tickets ADD COLUMN device_group TEXT;
ALTER TABLE tickets ADD COLUMN ek_digest BLOB;

-- Event logs by their SHA-256. Nothing vouches for a log but the quote that it leads to.
CREATE TABLE event_logs (
    digest BLOB PRIMARY KEY,
    log    BLOB NOT NULL
) STRICT;

-- The state that each machine showed last (now), and the one before it that was not refused (before).
CREATE TABLE boot_states (
    device   BLOB NOT NULL REFERENCES devices (id),
    place    TEXT NOT NULL,
    since    INTEGER NOT NULL,
    -- JSON: PCRs, log, counters, firmware, what was minded.
    content  TEXT NOT NULL,
    log      BLOB REFERENCES event_logs (digest),
    mac      BLOB NOT NULL,
    PRIMARY KEY (device, place)
) STRICT;
CREATE INDEX boot_states_by_log ON boot_states (log);

-- States that an administrator accepted for one machine.
CREATE TABLE boot_acceptances (
    sequence    INTEGER PRIMARY KEY AUTOINCREMENT,
    device      BLOB NOT NULL REFERENCES devices (id),
    pcrs        TEXT NOT NULL,
    accepted_by TEXT NOT NULL,
    reason      TEXT NOT NULL,
    accepted_at INTEGER NOT NULL,
    -- Whether what counted before, the enrolment's values among it, counts no longer.
    replaces    INTEGER NOT NULL,
    mac         BLOB NOT NULL
) STRICT;
CREATE INDEX boot_acceptances_by_device ON boot_acceptances (device, sequence);
