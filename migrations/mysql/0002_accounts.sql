-- Phones, contacts that wait for their proof, trusted devices, password history, invitations, and
-- an outbox with several channels.

ALTER TABLE nauth_users
    ADD COLUMN phone VARCHAR(32),
    ADD COLUMN phone_verified SMALLINT NOT NULL DEFAULT 0,
    -- The phone again, for accounts that hold it alone; null while duplicates are allowed.
    ADD COLUMN phone_claim VARCHAR(32),
    ADD COLUMN pending_email TEXT,
    ADD COLUMN pending_phone TEXT,
    ADD COLUMN password_changed_at BIGINT,
    ADD COLUMN must_change_password SMALLINT NOT NULL DEFAULT 0,
    ADD COLUMN device_epoch BIGINT NOT NULL DEFAULT 1,
    ADD COLUMN locked_until BIGINT,
    ADD COLUMN metadata_admin MEDIUMTEXT NOT NULL DEFAULT ('{}'),
    ADD UNIQUE INDEX nauth_users_phone_claim (phone_claim),
    ADD INDEX nauth_users_phone (phone);

ALTER TABLE nauth_sessions
    ADD COLUMN device_id TEXT,
    ADD COLUMN device_name TEXT,
    ADD COLUMN device_type TEXT,
    ADD COLUMN platform TEXT,
    ADD COLUMN browser TEXT,
    ADD COLUMN trusted_device BIGINT,
    ADD COLUMN claims MEDIUMTEXT;

-- Put to somebody who signed up with an address that has an account; nothing answers it.
ALTER TABLE nauth_challenges ADD COLUMN decoy SMALLINT NOT NULL DEFAULT 0;

-- The random half of a code's link, and the client that asked where there is no challenge.
ALTER TABLE nauth_one_time_secrets
    ADD COLUMN link_hash TEXT,
    ADD COLUMN client_binding TEXT;

CREATE TABLE nauth_trusted_devices (
    id            BIGINT NOT NULL PRIMARY KEY,
    user_id       VARCHAR(36) NOT NULL,
    token_hash    VARCHAR(128) NOT NULL UNIQUE,
    previous_hash VARCHAR(128),
    device_epoch  BIGINT NOT NULL,
    device_id     TEXT NOT NULL,
    device_name   TEXT,
    device_type   TEXT,
    platform      TEXT,
    browser       TEXT,
    ip            TEXT NOT NULL,
    user_agent    TEXT NOT NULL,
    trusted_until BIGINT NOT NULL,
    last_used_at  BIGINT,
    created_at    BIGINT NOT NULL,
    INDEX nauth_trusted_devices_user (user_id, trusted_until),
    INDEX nauth_trusted_devices_previous (previous_hash),
    INDEX nauth_trusted_devices_until (trusted_until),
    FOREIGN KEY (user_id) REFERENCES nauth_users (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE nauth_password_history (
    id            BIGINT NOT NULL PRIMARY KEY,
    user_id       VARCHAR(36) NOT NULL,
    password_hash TEXT NOT NULL,
    created_at    BIGINT NOT NULL,
    INDEX nauth_password_history_user (user_id, created_at),
    FOREIGN KEY (user_id) REFERENCES nauth_users (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE nauth_invitations (
    id         BIGINT NOT NULL PRIMARY KEY,
    code_hash  VARCHAR(128) NOT NULL UNIQUE,
    email      TEXT,
    uses       BIGINT NOT NULL,
    max_uses   BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    INDEX nauth_invitations_expires (expires_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- `email`, `sms` or `webhook`; `target` is the name of the webhook.
ALTER TABLE nauth_outbox
    ADD COLUMN channel VARCHAR(16) NOT NULL DEFAULT 'email',
    ADD COLUMN target TEXT,
    ADD INDEX nauth_outbox_channel (channel, state, due_at);

-- Who runs a job now, so that of several nodes one does.
CREATE TABLE nauth_jobs (
    name         VARCHAR(64) NOT NULL PRIMARY KEY,
    holder       TEXT NOT NULL,
    locked_until BIGINT NOT NULL,
    ran_at       BIGINT
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
