-- How often somebody did what is limited over all nodes, in the window that is open.
CREATE TABLE tallies (
    name TEXT PRIMARY KEY,
    ends INTEGER NOT NULL,
    used INTEGER NOT NULL
) STRICT;
