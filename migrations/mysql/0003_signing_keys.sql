-- Keys with two halves: the public one stands here as it is, the private one sealed with the master
-- key of the row. A key that has signed verifies until nothing it signed lives: `expires_at`.

ALTER TABLE nauth_signing_keys
    ADD COLUMN public_key TEXT,
    ADD COLUMN sealed TEXT,
    ADD COLUMN expires_at BIGINT;

-- Each key that signs access tokens is for one algorithm from now on.
UPDATE nauth_signing_keys SET alg = 'HS256' WHERE purpose = 'access' AND alg = 'HMAC';
