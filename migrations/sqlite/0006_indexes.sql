-- What large tables are read by: users page by page, and whatever is swept out of them.

CREATE INDEX nauth_users_created ON nauth_users (created_at, id);
CREATE INDEX nauth_sessions_revoked ON nauth_sessions (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX nauth_audit_type ON nauth_audit (event_type, created_at);
CREATE INDEX nauth_outbox_finished ON nauth_outbox (finished_at) WHERE finished_at IS NOT NULL;

-- Messages are looked for by their channel first.
DROP INDEX nauth_outbox_due;
