-- Counters and their like, for nodes that share them by the database. Nothing whose loss grants
-- anything, so it is not logged: a change waits for no disk. No index on the end either: a change
-- then writes the row alone, in the place it has on its page.

CREATE UNLOGGED TABLE nauth_transient (
    name    TEXT COLLATE "C" PRIMARY KEY,
    value   TEXT COLLATE "C" NOT NULL,
    ends_at BIGINT NOT NULL
) WITH (fillfactor = 50);
