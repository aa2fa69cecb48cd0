-- Tickets that somebody asked for. The ticket itself comes into being with the last approval that is due.
CREATE TABLE ticket_requests (
    -- Digest of the ticket: whoever asked holds the ticket.
    id           BLOB PRIMARY KEY,
    -- What is approved, byte for byte (JSON).
    document     BLOB NOT NULL,
    operator     TEXT NOT NULL,
    requested_by TEXT NOT NULL REFERENCES operators (name),
    device       BLOB NOT NULL REFERENCES devices (id),
    requested_at INTEGER NOT NULL,
    expires      INTEGER NOT NULL,
    approved_at  INTEGER
) STRICT;
CREATE INDEX ticket_requests_by_time ON ticket_requests (requested_at);

-- Two administrators are two people at two machines.
CREATE TABLE ticket_approvals (
    request       BLOB NOT NULL REFERENCES ticket_requests (id),
    administrator TEXT NOT NULL REFERENCES operators (name),
    device        BLOB NOT NULL REFERENCES devices (id),
    evidence      BLOB NOT NULL,
    approved_at   INTEGER NOT NULL,
    PRIMARY KEY (request, administrator),
    UNIQUE (request, device)
) STRICT;
