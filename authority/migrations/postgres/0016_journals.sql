-- Up to where the log has what each node noted in its journal.
CREATE TABLE journals (
    name BYTEA PRIMARY KEY,
    taken BIGINT NOT NULL
);
