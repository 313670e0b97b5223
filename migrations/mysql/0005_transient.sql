-- Counters and their like, for nodes that share them by the database. No index on the end: a change
-- then holds one lock, and nobody who sweeps out what has ended stands in its way.

CREATE TABLE nauth_transient (
    name    VARCHAR(191) NOT NULL PRIMARY KEY,
    value   MEDIUMTEXT NOT NULL,
    ends_at BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
