-- The first schema. Times are microseconds since 1970, booleans 0 or 1, JSON is opaque text,
-- ids are made by the application. Columns carry the same names in every dialect's folder.
-- Texts that are looked up have a length here, and compare byte by byte, trailing spaces included.

CREATE TABLE nauth_master_keys (
    check_value VARCHAR(128) NOT NULL PRIMARY KEY,
    created_at  BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE nauth_signing_keys (
    kid        VARCHAR(128) NOT NULL PRIMARY KEY,
    purpose    VARCHAR(64) NOT NULL,
    alg        VARCHAR(16) NOT NULL,
    master     VARCHAR(128) NOT NULL,
    state      VARCHAR(16) NOT NULL,
    created_at BIGINT NOT NULL,
    INDEX nauth_signing_keys_purpose (purpose, state)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE nauth_users (
    id             VARCHAR(36) NOT NULL PRIMARY KEY,
    number         BIGINT NOT NULL UNIQUE,
    email          VARCHAR(255) NOT NULL UNIQUE,
    email_verified SMALLINT NOT NULL,
    username       VARCHAR(255) UNIQUE,
    first_name     TEXT,
    last_name      TEXT,
    password_hash  TEXT,
    locked_at      BIGINT,
    lock_reason    TEXT,
    auth_epoch     BIGINT NOT NULL,
    claims_version BIGINT NOT NULL,
    completed_at   BIGINT,
    timezone       TEXT,
    locale         TEXT,
    metadata       MEDIUMTEXT NOT NULL,
    last_login_at  BIGINT,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL,
    -- The others index only the rows without `completed_at`.
    INDEX nauth_users_unfinished (completed_at, created_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE nauth_user_roles (
    user_id    VARCHAR(36) NOT NULL,
    role       VARCHAR(128) NOT NULL,
    granted_by TEXT NOT NULL,
    granted_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, role),
    FOREIGN KEY (user_id) REFERENCES nauth_users (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE nauth_sessions (
    id                 BIGINT NOT NULL PRIMARY KEY,
    user_id            VARCHAR(36) NOT NULL,
    family             TEXT NOT NULL,
    generation         BIGINT NOT NULL,
    rotated_at         BIGINT NOT NULL,
    refresh_expires_at BIGINT NOT NULL,
    refresh_kid        TEXT NOT NULL,
    seen_generation    BIGINT NOT NULL,
    seen_at            BIGINT,
    seen_prefix        TEXT,
    seen_user_agent    TEXT,
    auth_epoch         BIGINT NOT NULL,
    latest_exp         BIGINT NOT NULL,
    amr                TEXT NOT NULL,
    acr                TEXT NOT NULL,
    auth_time          BIGINT NOT NULL,
    dialect            TEXT NOT NULL,
    delivery           TEXT NOT NULL,
    auth_method        TEXT NOT NULL,
    ip                 TEXT NOT NULL,
    user_agent         TEXT NOT NULL,
    created_at         BIGINT NOT NULL,
    last_activity_at   BIGINT NOT NULL,
    expires_at         BIGINT NOT NULL,
    revoked_at         BIGINT,
    revoke_reason      TEXT,
    INDEX nauth_sessions_user (user_id, revoked_at, expires_at),
    INDEX nauth_sessions_expires (expires_at),
    FOREIGN KEY (user_id) REFERENCES nauth_users (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE nauth_challenges (
    id              VARCHAR(36) NOT NULL PRIMARY KEY,
    user_id         VARCHAR(36) NOT NULL,
    step            VARCHAR(64) NOT NULL,
    auth_epoch      BIGINT NOT NULL,
    attempts        BIGINT NOT NULL,
    max_attempts    BIGINT NOT NULL,
    password_proven SMALLINT NOT NULL,
    amr             TEXT NOT NULL,
    client_binding  TEXT NOT NULL,
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    completed_at    BIGINT,
    INDEX nauth_challenges_user (user_id, step, completed_at),
    INDEX nauth_challenges_expires (expires_at),
    FOREIGN KEY (user_id) REFERENCES nauth_users (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE nauth_one_time_secrets (
    id           BIGINT NOT NULL PRIMARY KEY,
    user_id      VARCHAR(36) NOT NULL,
    purpose      VARCHAR(64) NOT NULL,
    challenge_id VARCHAR(36),
    destination  TEXT NOT NULL,
    secret_hash  TEXT NOT NULL,
    auth_epoch   BIGINT NOT NULL,
    attempts     BIGINT NOT NULL,
    max_attempts BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    used_at      BIGINT,
    INDEX nauth_one_time_secrets_challenge (challenge_id, purpose, used_at),
    INDEX nauth_one_time_secrets_user (user_id, purpose, created_at),
    INDEX nauth_one_time_secrets_expires (expires_at),
    FOREIGN KEY (user_id) REFERENCES nauth_users (id) ON DELETE CASCADE,
    FOREIGN KEY (challenge_id) REFERENCES nauth_challenges (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE nauth_outbox (
    id           BIGINT NOT NULL PRIMARY KEY,
    kind         TEXT NOT NULL,
    state        VARCHAR(16) NOT NULL,
    sealed       MEDIUMTEXT NOT NULL,
    attempts     BIGINT NOT NULL,
    due_at       BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    last_error   TEXT,
    created_at   BIGINT NOT NULL,
    finished_at  BIGINT,
    INDEX nauth_outbox_due (state, due_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE nauth_revocation_counter (
    id    SMALLINT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
INSERT INTO nauth_revocation_counter (id, value) VALUES (1, 0);

CREATE TABLE nauth_revocations (
    number     BIGINT NOT NULL PRIMARY KEY,
    kind       TEXT NOT NULL,
    subject    TEXT NOT NULL,
    value      BIGINT NOT NULL,
    made_at    BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    INDEX nauth_revocations_expires (expires_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE nauth_installation (
    name  VARCHAR(64) NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
INSERT INTO nauth_installation (name, value) VALUES ('global_epoch', 1);

CREATE TABLE nauth_audit (
    id           BIGINT NOT NULL PRIMARY KEY,
    user_id      VARCHAR(36),
    event_type   TEXT NOT NULL,
    event_status TEXT NOT NULL,
    session_id   BIGINT,
    challenge_id TEXT,
    performed_by TEXT,
    reason       TEXT,
    ip           TEXT NOT NULL,
    user_agent   TEXT,
    request_id   TEXT NOT NULL,
    details      MEDIUMTEXT,
    created_at   BIGINT NOT NULL,
    INDEX nauth_audit_user (user_id, created_at),
    INDEX nauth_audit_created (created_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
