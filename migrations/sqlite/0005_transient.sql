-- Counters and their like, for nodes that share them by the database. A file is of one node, which
-- counts in memory: the table is here so that the schema is the same everywhere.

CREATE TABLE nauth_transient (
    name    TEXT PRIMARY KEY,
    value   TEXT NOT NULL,
    ends_at BIGINT NOT NULL
);
