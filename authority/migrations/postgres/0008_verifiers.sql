-- Services and gateways that follow the events, and the last revocation that each has in force: what
-- `signet-authority revoke --wait` reads. Rows of those that were not seen for a while are removed.
CREATE TABLE verifiers (
    -- SPIFFE ID.
    gateway    TEXT NOT NULL,
    -- Chosen by the verifier when it starts.
    instance   BYTEA NOT NULL,
    -- The run of the node that it is connected to.
    node       TEXT NOT NULL,
    connected  BOOLEAN NOT NULL,
    -- revocations.sequence; -1 before the first acknowledgement.
    position   BIGINT NOT NULL,
    -- When that was acknowledged, in milliseconds.
    applied_at BIGINT,
    seen_at    BIGINT NOT NULL,
    PRIMARY KEY (gateway, instance)
);
