-- Phones, contacts that wait for their proof, trusted devices, password history, invitations, and
-- an outbox with several channels.

ALTER TABLE nauth_users ADD COLUMN phone TEXT COLLATE "C";
ALTER TABLE nauth_users ADD COLUMN phone_verified SMALLINT NOT NULL DEFAULT 0;
-- The phone again, for accounts that hold it alone; null while duplicates are allowed.
ALTER TABLE nauth_users ADD COLUMN phone_claim TEXT COLLATE "C";
ALTER TABLE nauth_users ADD COLUMN pending_email TEXT COLLATE "C";
ALTER TABLE nauth_users ADD COLUMN pending_phone TEXT COLLATE "C";
ALTER TABLE nauth_users ADD COLUMN password_changed_at BIGINT;
ALTER TABLE nauth_users ADD COLUMN must_change_password SMALLINT NOT NULL DEFAULT 0;
ALTER TABLE nauth_users ADD COLUMN device_epoch BIGINT NOT NULL DEFAULT 1;
ALTER TABLE nauth_users ADD COLUMN locked_until BIGINT;
ALTER TABLE nauth_users ADD COLUMN metadata_admin TEXT COLLATE "C" NOT NULL DEFAULT '{}';
CREATE UNIQUE INDEX nauth_users_phone_claim ON nauth_users (phone_claim);
CREATE INDEX nauth_users_phone ON nauth_users (phone);

ALTER TABLE nauth_sessions ADD COLUMN device_id TEXT COLLATE "C";
ALTER TABLE nauth_sessions ADD COLUMN device_name TEXT COLLATE "C";
ALTER TABLE nauth_sessions ADD COLUMN device_type TEXT COLLATE "C";
ALTER TABLE nauth_sessions ADD COLUMN platform TEXT COLLATE "C";
ALTER TABLE nauth_sessions ADD COLUMN browser TEXT COLLATE "C";
ALTER TABLE nauth_sessions ADD COLUMN trusted_device BIGINT;
ALTER TABLE nauth_sessions ADD COLUMN claims TEXT COLLATE "C";

-- Put to somebody who signed up with an address that has an account; nothing answers it.
ALTER TABLE nauth_challenges ADD COLUMN decoy SMALLINT NOT NULL DEFAULT 0;

-- The random half of a code's link, and the client that asked where there is no challenge.
ALTER TABLE nauth_one_time_secrets ADD COLUMN link_hash TEXT COLLATE "C";
ALTER TABLE nauth_one_time_secrets ADD COLUMN client_binding TEXT COLLATE "C";

CREATE TABLE nauth_trusted_devices (
    id            BIGINT PRIMARY KEY,
    user_id       TEXT COLLATE "C" NOT NULL REFERENCES nauth_users (id) ON DELETE CASCADE,
    token_hash    TEXT COLLATE "C" NOT NULL UNIQUE,
    previous_hash TEXT COLLATE "C",
    device_epoch  BIGINT NOT NULL,
    device_id     TEXT COLLATE "C" NOT NULL,
    device_name   TEXT COLLATE "C",
    device_type   TEXT COLLATE "C",
    platform      TEXT COLLATE "C",
    browser       TEXT COLLATE "C",
    ip            TEXT COLLATE "C" NOT NULL,
    user_agent    TEXT COLLATE "C" NOT NULL,
    trusted_until BIGINT NOT NULL,
    last_used_at  BIGINT,
    created_at    BIGINT NOT NULL
);
CREATE INDEX nauth_trusted_devices_user ON nauth_trusted_devices (user_id, trusted_until);
CREATE INDEX nauth_trusted_devices_previous ON nauth_trusted_devices (previous_hash);
CREATE INDEX nauth_trusted_devices_until ON nauth_trusted_devices (trusted_until);

CREATE TABLE nauth_password_history (
    id            BIGINT PRIMARY KEY,
    user_id       TEXT COLLATE "C" NOT NULL REFERENCES nauth_users (id) ON DELETE CASCADE,
    password_hash TEXT COLLATE "C" NOT NULL,
    created_at    BIGINT NOT NULL
);
CREATE INDEX nauth_password_history_user ON nauth_password_history (user_id, created_at);

CREATE TABLE nauth_invitations (
    id         BIGINT PRIMARY KEY,
    code_hash  TEXT COLLATE "C" NOT NULL UNIQUE,
    email      TEXT COLLATE "C",
    uses       BIGINT NOT NULL,
    max_uses   BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX nauth_invitations_expires ON nauth_invitations (expires_at);

-- `email`, `sms` or `webhook`; `target` is the name of the webhook.
ALTER TABLE nauth_outbox ADD COLUMN channel TEXT COLLATE "C" NOT NULL DEFAULT 'email';
ALTER TABLE nauth_outbox ADD COLUMN target TEXT COLLATE "C";
CREATE INDEX nauth_outbox_channel ON nauth_outbox (channel, state, due_at);

-- Who runs a job now, so that of several nodes one does.
CREATE TABLE nauth_jobs (
    name         TEXT COLLATE "C" PRIMARY KEY,
    holder       TEXT COLLATE "C" NOT NULL,
    locked_until BIGINT NOT NULL,
    ran_at       BIGINT
);
