-- How often somebody did what is limited over all nodes, in the window that is open.
CREATE TABLE tallies (
    name TEXT PRIMARY KEY,
    ends BIGINT NOT NULL,
    used BIGINT NOT NULL
);
