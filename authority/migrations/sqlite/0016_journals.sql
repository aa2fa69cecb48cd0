-- Up to where the log has what each node noted in its journal.
CREATE TABLE journals (
    name BLOB PRIMARY KEY,
    taken INTEGER NOT NULL
) STRICT;
