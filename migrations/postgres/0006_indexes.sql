-- What large tables are read by: users page by page, and whatever is swept out of them.

CREATE INDEX nauth_users_created ON nauth_users (created_at, id);
CREATE INDEX nauth_sessions_revoked ON nauth_sessions (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX nauth_audit_type ON nauth_audit (event_type, created_at);
CREATE INDEX nauth_outbox_finished ON nauth_outbox (finished_at) WHERE finished_at IS NOT NULL;

-- Messages are looked for by their channel first.
DROP INDEX nauth_outbox_due;

-- A rotation and a login change columns without an index. With room in its page the new version of a
-- row stays there, and no index is written.
ALTER TABLE nauth_sessions SET (fillfactor = 80);
ALTER TABLE nauth_users SET (fillfactor = 90);
