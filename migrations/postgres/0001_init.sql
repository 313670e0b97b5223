-- The first schema. Times are microseconds since 1970, booleans 0 or 1, JSON is opaque text,
-- ids are made by the application. Columns carry the same names in every dialect's folder.
-- Texts compare byte by byte, as they do in the other databases.

CREATE TABLE nauth_master_keys (
    check_value TEXT COLLATE "C" PRIMARY KEY,
    created_at  BIGINT NOT NULL
);

CREATE TABLE nauth_signing_keys (
    kid        TEXT COLLATE "C" PRIMARY KEY,
    purpose    TEXT COLLATE "C" NOT NULL,
    alg        TEXT COLLATE "C" NOT NULL,
    master     TEXT COLLATE "C" NOT NULL,
    state      TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX nauth_signing_keys_purpose ON nauth_signing_keys (purpose, state);

CREATE TABLE nauth_users (
    id             TEXT COLLATE "C" PRIMARY KEY,
    number         BIGINT NOT NULL UNIQUE,
    email          TEXT COLLATE "C" NOT NULL UNIQUE,
    email_verified SMALLINT NOT NULL,
    username       TEXT COLLATE "C" UNIQUE,
    first_name     TEXT COLLATE "C",
    last_name      TEXT COLLATE "C",
    password_hash  TEXT COLLATE "C",
    locked_at      BIGINT,
    lock_reason    TEXT COLLATE "C",
    auth_epoch     BIGINT NOT NULL,
    claims_version BIGINT NOT NULL,
    completed_at   BIGINT,
    timezone       TEXT COLLATE "C",
    locale         TEXT COLLATE "C",
    metadata       TEXT COLLATE "C" NOT NULL,
    last_login_at  BIGINT,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL
);
CREATE INDEX nauth_users_unfinished ON nauth_users (created_at) WHERE completed_at IS NULL;

CREATE TABLE nauth_user_roles (
    user_id    TEXT COLLATE "C" NOT NULL REFERENCES nauth_users (id) ON DELETE CASCADE,
    role       TEXT COLLATE "C" NOT NULL,
    granted_by TEXT COLLATE "C" NOT NULL,
    granted_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, role)
);

CREATE TABLE nauth_sessions (
    id                 BIGINT PRIMARY KEY,
    user_id            TEXT COLLATE "C" NOT NULL REFERENCES nauth_users (id) ON DELETE CASCADE,
    family             TEXT COLLATE "C" NOT NULL,
    generation         BIGINT NOT NULL,
    rotated_at         BIGINT NOT NULL,
    refresh_expires_at BIGINT NOT NULL,
    refresh_kid        TEXT COLLATE "C" NOT NULL,
    seen_generation    BIGINT NOT NULL,
    seen_at            BIGINT,
    seen_prefix        TEXT COLLATE "C",
    seen_user_agent    TEXT COLLATE "C",
    auth_epoch         BIGINT NOT NULL,
    latest_exp         BIGINT NOT NULL,
    amr                TEXT COLLATE "C" NOT NULL,
    acr                TEXT COLLATE "C" NOT NULL,
    auth_time          BIGINT NOT NULL,
    dialect            TEXT COLLATE "C" NOT NULL,
    delivery           TEXT COLLATE "C" NOT NULL,
    auth_method        TEXT COLLATE "C" NOT NULL,
    ip                 TEXT COLLATE "C" NOT NULL,
    user_agent         TEXT COLLATE "C" NOT NULL,
    created_at         BIGINT NOT NULL,
    last_activity_at   BIGINT NOT NULL,
    expires_at         BIGINT NOT NULL,
    revoked_at         BIGINT,
    revoke_reason      TEXT COLLATE "C"
);
CREATE INDEX nauth_sessions_user ON nauth_sessions (user_id, revoked_at, expires_at);
CREATE INDEX nauth_sessions_expires ON nauth_sessions (expires_at);

CREATE TABLE nauth_challenges (
    id              TEXT COLLATE "C" PRIMARY KEY,
    user_id         TEXT COLLATE "C" NOT NULL REFERENCES nauth_users (id) ON DELETE CASCADE,
    step            TEXT COLLATE "C" NOT NULL,
    auth_epoch      BIGINT NOT NULL,
    attempts        BIGINT NOT NULL,
    max_attempts    BIGINT NOT NULL,
    password_proven SMALLINT NOT NULL,
    amr             TEXT COLLATE "C" NOT NULL,
    client_binding  TEXT COLLATE "C" NOT NULL,
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    completed_at    BIGINT
);
CREATE INDEX nauth_challenges_user ON nauth_challenges (user_id, step, completed_at);
CREATE INDEX nauth_challenges_expires ON nauth_challenges (expires_at);

CREATE TABLE nauth_one_time_secrets (
    id           BIGINT PRIMARY KEY,
    user_id      TEXT COLLATE "C" NOT NULL REFERENCES nauth_users (id) ON DELETE CASCADE,
    purpose      TEXT COLLATE "C" NOT NULL,
    challenge_id TEXT COLLATE "C" REFERENCES nauth_challenges (id) ON DELETE CASCADE,
    destination  TEXT COLLATE "C" NOT NULL,
    secret_hash  TEXT COLLATE "C" NOT NULL,
    auth_epoch   BIGINT NOT NULL,
    attempts     BIGINT NOT NULL,
    max_attempts BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    used_at      BIGINT
);
CREATE INDEX nauth_one_time_secrets_challenge ON nauth_one_time_secrets (challenge_id, purpose, used_at);
CREATE INDEX nauth_one_time_secrets_user ON nauth_one_time_secrets (user_id, purpose, created_at);
CREATE INDEX nauth_one_time_secrets_expires ON nauth_one_time_secrets (expires_at);

CREATE TABLE nauth_outbox (
    id           BIGINT PRIMARY KEY,
    kind         TEXT COLLATE "C" NOT NULL,
    state        TEXT COLLATE "C" NOT NULL,
    sealed       TEXT COLLATE "C" NOT NULL,
    attempts     BIGINT NOT NULL,
    due_at       BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    last_error   TEXT COLLATE "C",
    created_at   BIGINT NOT NULL,
    finished_at  BIGINT
);
CREATE INDEX nauth_outbox_due ON nauth_outbox (state, due_at);

CREATE TABLE nauth_revocation_counter (
    id    SMALLINT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO nauth_revocation_counter (id, value) VALUES (1, 0);

CREATE TABLE nauth_revocations (
    number     BIGINT PRIMARY KEY,
    kind       TEXT COLLATE "C" NOT NULL,
    subject    TEXT COLLATE "C" NOT NULL,
    value      BIGINT NOT NULL,
    made_at    BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX nauth_revocations_expires ON nauth_revocations (expires_at);

CREATE TABLE nauth_installation (
    name  TEXT COLLATE "C" PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO nauth_installation (name, value) VALUES ('global_epoch', 1);

CREATE TABLE nauth_audit (
    id           BIGINT PRIMARY KEY,
    user_id      TEXT COLLATE "C",
    event_type   TEXT COLLATE "C" NOT NULL,
    event_status TEXT COLLATE "C" NOT NULL,
    session_id   BIGINT,
    challenge_id TEXT COLLATE "C",
    performed_by TEXT COLLATE "C",
    reason       TEXT COLLATE "C",
    ip           TEXT COLLATE "C" NOT NULL,
    user_agent   TEXT COLLATE "C",
    request_id   TEXT COLLATE "C" NOT NULL,
    details      TEXT COLLATE "C",
    created_at   BIGINT NOT NULL
);
CREATE INDEX nauth_audit_user ON nauth_audit (user_id, created_at);
CREATE INDEX nauth_audit_created ON nauth_audit (created_at);
