-- Factors beside the password, codes for the day they are lost, and what is half way set up or asked.

ALTER TABLE nauth_users
    ADD COLUMN mfa_exempt_at BIGINT,
    ADD COLUMN mfa_exempt_reason TEXT;

-- On which way in a challenge stands, the session it raises, and the method whose code was sent last.
ALTER TABLE nauth_challenges
    ADD COLUMN entry VARCHAR(16) NOT NULL DEFAULT 'login',
    ADD COLUMN renews BIGINT,
    ADD COLUMN method TEXT;

-- `address` is where codes go, `sealed` what proves the factor, `credential_hash` names a passkey,
-- `counter` is the last time step or signature counter seen.
CREATE TABLE nauth_factors (
    id              BIGINT NOT NULL PRIMARY KEY,
    user_id         VARCHAR(36) NOT NULL,
    method          VARCHAR(16) NOT NULL,
    name            TEXT NOT NULL,
    address         TEXT,
    sealed          MEDIUMTEXT,
    credential_hash VARCHAR(128) UNIQUE,
    counter         BIGINT NOT NULL,
    preferred       SMALLINT NOT NULL,
    created_at      BIGINT NOT NULL,
    last_used_at    BIGINT,
    INDEX nauth_factors_user (user_id, created_at),
    FOREIGN KEY (user_id) REFERENCES nauth_users (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE nauth_backup_codes (
    id         BIGINT NOT NULL PRIMARY KEY,
    user_id    VARCHAR(36) NOT NULL,
    code_hash  VARCHAR(128) NOT NULL,
    created_at BIGINT NOT NULL,
    used_at    BIGINT,
    INDEX nauth_backup_codes_user (user_id, code_hash),
    FOREIGN KEY (user_id) REFERENCES nauth_users (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- What the server gave out and expects back, once: `handle` is its hash, `bound_to` the challenge or session.
CREATE TABLE nauth_ceremonies (
    id         BIGINT NOT NULL PRIMARY KEY,
    purpose    VARCHAR(32) NOT NULL,
    user_id    VARCHAR(36),
    bound_to   VARCHAR(64) NOT NULL,
    handle     VARCHAR(128) NOT NULL UNIQUE,
    sealed     MEDIUMTEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    INDEX nauth_ceremonies_bound (bound_to, purpose),
    INDEX nauth_ceremonies_user (user_id),
    INDEX nauth_ceremonies_expires (expires_at),
    FOREIGN KEY (user_id) REFERENCES nauth_users (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
