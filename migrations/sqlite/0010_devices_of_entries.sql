-- Which device a request came from that left an entry in the audit trail, as far as it was known then.

ALTER TABLE nauth_audit ADD COLUMN device_id TEXT;
ALTER TABLE nauth_audit ADD COLUMN device_name TEXT;
ALTER TABLE nauth_audit ADD COLUMN device_type TEXT;
