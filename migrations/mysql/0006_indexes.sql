-- What large tables are read by: users page by page, and whatever is swept out of them.

ALTER TABLE nauth_users ADD INDEX nauth_users_created (created_at, id);
ALTER TABLE nauth_sessions ADD INDEX nauth_sessions_revoked (revoked_at);
ALTER TABLE nauth_audit ADD INDEX nauth_audit_type (event_type(32), created_at);
-- Messages are looked for by their channel first.
ALTER TABLE nauth_outbox ADD INDEX nauth_outbox_finished (finished_at), DROP INDEX nauth_outbox_due;
