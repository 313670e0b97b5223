-- Factors beside the password, codes for the day they are lost, and what is half way set up or asked.

ALTER TABLE nauth_users ADD COLUMN mfa_exempt_at BIGINT;
ALTER TABLE nauth_users ADD COLUMN mfa_exempt_reason TEXT COLLATE "C";

-- On which way in a challenge stands, the session it raises, and the method whose code was sent last.
ALTER TABLE nauth_challenges ADD COLUMN entry TEXT COLLATE "C" NOT NULL DEFAULT 'login';
ALTER TABLE nauth_challenges ADD COLUMN renews BIGINT;
ALTER TABLE nauth_challenges ADD COLUMN method TEXT COLLATE "C";

-- `address` is where codes go, `sealed` what proves the factor, `credential_hash` names a passkey,
-- `counter` is the last time step or signature counter seen.
CREATE TABLE nauth_factors (
    id              BIGINT PRIMARY KEY,
    user_id         TEXT COLLATE "C" NOT NULL REFERENCES nauth_users (id) ON DELETE CASCADE,
    method          TEXT COLLATE "C" NOT NULL,
    name            TEXT COLLATE "C" NOT NULL,
    address         TEXT COLLATE "C",
    sealed          TEXT COLLATE "C",
    credential_hash TEXT COLLATE "C" UNIQUE,
    counter         BIGINT NOT NULL,
    preferred       SMALLINT NOT NULL,
    created_at      BIGINT NOT NULL,
    last_used_at    BIGINT
);
CREATE INDEX nauth_factors_user ON nauth_factors (user_id, created_at);

CREATE TABLE nauth_backup_codes (
    id         BIGINT PRIMARY KEY,
    user_id    TEXT COLLATE "C" NOT NULL REFERENCES nauth_users (id) ON DELETE CASCADE,
    code_hash  TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    used_at    BIGINT
);
CREATE INDEX nauth_backup_codes_user ON nauth_backup_codes (user_id, code_hash);

-- What the server gave out and expects back, once: `handle` is its hash, `bound_to` the challenge or session.
CREATE TABLE nauth_ceremonies (
    id         BIGINT PRIMARY KEY,
    purpose    TEXT COLLATE "C" NOT NULL,
    user_id    TEXT COLLATE "C" REFERENCES nauth_users (id) ON DELETE CASCADE,
    bound_to   TEXT COLLATE "C" NOT NULL,
    handle     TEXT COLLATE "C" NOT NULL UNIQUE,
    sealed     TEXT COLLATE "C" NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX nauth_ceremonies_bound ON nauth_ceremonies (bound_to, purpose);
CREATE INDEX nauth_ceremonies_user ON nauth_ceremonies (user_id);
CREATE INDEX nauth_ceremonies_expires ON nauth_ceremonies (expires_at);
