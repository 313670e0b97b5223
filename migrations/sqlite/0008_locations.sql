-- Where sessions were opened, as far as a database tells: in millionths of a degree.

ALTER TABLE nauth_sessions ADD COLUMN ip_country TEXT;
ALTER TABLE nauth_sessions ADD COLUMN ip_city TEXT;
ALTER TABLE nauth_sessions ADD COLUMN latitude BIGINT;
ALTER TABLE nauth_sessions ADD COLUMN longitude BIGINT;
