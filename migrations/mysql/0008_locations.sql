-- Where sessions were opened, as far as a database tells: in millionths of a degree.

ALTER TABLE nauth_sessions
    ADD COLUMN ip_country TEXT,
    ADD COLUMN ip_city TEXT,
    ADD COLUMN latitude BIGINT,
    ADD COLUMN longitude BIGINT;
