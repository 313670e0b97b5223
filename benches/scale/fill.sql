-- Users :first to :last with everything that hangs on them, :sessions sessions each, as of :now (microseconds).
-- The same numbers give the same rows. Every user has the password hash :hash. Of every :tenth there is more.

INSERT INTO nauth_users (id, number, email, email_verified, first_name, last_name, password_hash, password_changed_at,
    auth_epoch, claims_version, completed_at, metadata, last_login_at, created_at, updated_at)
SELECT overlay(overlay(md5('user ' || n) PLACING '4' FROM 13) PLACING 'a' FROM 17)::uuid::text,
    1000000000000 + n, 'user' || n || '@example.com', 1, 'User', 'Number ' || n, :hash, :now,
    1, 1, :now, '{}', :now - (n % 86400) * 1000000, :now - (n % 31536000) * 1000000, :now
FROM generate_series(CAST(:first AS BIGINT), CAST(:last AS BIGINT)) AS n;

INSERT INTO nauth_user_roles (user_id, role, granted_by, granted_at)
SELECT overlay(overlay(md5('user ' || n) PLACING '4' FROM 13) PLACING 'a' FROM 17)::uuid::text, 'user', 'signup', :now
FROM generate_series(CAST(:first AS BIGINT), CAST(:last AS BIGINT)) AS n;

-- One in twenty has been revoked, one in ten has expired.
INSERT INTO nauth_sessions (id, user_id, family, generation, rotated_at, refresh_expires_at, refresh_kid,
    seen_generation, auth_epoch, latest_exp, amr, acr, auth_time, dialect, delivery, auth_method, ip, user_agent,
    device_id, device_name, platform, browser, created_at, last_activity_at, expires_at, revoked_at, revoke_reason)
SELECT ('x' || substr(md5('session ' || n || ' ' || s), 1, 13))::bit(52)::bigint + 1,
    overlay(overlay(md5('user ' || n) PLACING '4' FROM 13) PLACING 'a' FROM 17)::uuid::text,
    md5('family ' || n || ' ' || s) || md5('y' || n || ' ' || s), 1, :now, :now + 604800000000, 'k',
    0, 1, :now + 900000000, 'pwd', 'aal1', :now, 'nauth', 'cookies', 'password', '192.0.2.' || n % 256,
    'Mozilla/5.0 (X11; Linux x86_64; rv:' || s || '.0) Gecko/20100101 Firefox/' || s || '.0',
    md5('device ' || n || ' ' || s), 'Firefox on Linux', 'Linux', 'Firefox', :now - s * 1000000,
    :now - s * 1000000,
    CASE WHEN (n * 7 + s) % 10 = 3 THEN :now - 86400000000 ELSE :now + 2592000000000 + (n % 86400) * 1000000 END,
    CASE WHEN (n * 7 + s) % 20 = 5 THEN :now - (n % 86400) * 1000000 END,
    CASE WHEN (n * 7 + s) % 20 = 5 THEN 'logout' END
FROM generate_series(CAST(:first AS BIGINT), CAST(:last AS BIGINT)) AS n,
    generate_series(1, CAST(:sessions AS BIGINT)) AS s;

INSERT INTO nauth_audit (id, user_id, event_type, event_status, ip, request_id, created_at)
SELECT ('x' || substr(md5('audit ' || n || ' ' || e), 1, 13))::bit(52)::bigint + 1,
    overlay(overlay(md5('user ' || n) PLACING '4' FROM 13) PLACING 'a' FROM 17)::uuid::text,
    CASE e WHEN 1 THEN 'SIGNUP_SUCCESS' ELSE 'LOGIN_SUCCESS' END, 'SUCCESS', '192.0.2.' || n % 256,
    md5('request ' || n || ' ' || e), :now - (n % 5184000) * 1000000 - e
FROM generate_series(CAST(:first AS BIGINT), CAST(:last AS BIGINT)) AS n, generate_series(1, 2) AS e;

-- A device, an earlier password, a challenge with its code, a message, a revocation, an invitation.
INSERT INTO nauth_trusted_devices (id, user_id, token_hash, device_epoch, device_id, ip, user_agent, trusted_until, created_at)
SELECT ('x' || substr(md5('trusted ' || n), 1, 13))::bit(52)::bigint + 1,
    overlay(overlay(md5('user ' || n) PLACING '4' FROM 13) PLACING 'a' FROM 17)::uuid::text,
    md5('token ' || n), 1, md5('device ' || n), '192.0.2.1', 'Firefox', :now + (n % 2592000) * 1000000, :now
FROM generate_series(CAST(:first AS BIGINT), CAST(:last AS BIGINT)) AS n WHERE n % :tenth = 0;

INSERT INTO nauth_password_history (id, user_id, password_hash, created_at)
SELECT ('x' || substr(md5('history ' || n), 1, 13))::bit(52)::bigint + 1,
    overlay(overlay(md5('user ' || n) PLACING '4' FROM 13) PLACING 'a' FROM 17)::uuid::text, :hash, :now
FROM generate_series(CAST(:first AS BIGINT), CAST(:last AS BIGINT)) AS n WHERE n % :tenth = 0;

INSERT INTO nauth_challenges (id, user_id, step, auth_epoch, attempts, max_attempts, password_proven, amr,
    client_binding, created_at, expires_at)
SELECT overlay(overlay(md5('challenge ' || n) PLACING '4' FROM 13) PLACING 'a' FROM 17)::uuid::text,
    overlay(overlay(md5('user ' || n) PLACING '4' FROM 13) PLACING 'a' FROM 17)::uuid::text,
    'verify_email', 1, 0, 3, 1, 'pwd', md5('client ' || n), :now, :now + (n % 86400) * 1000000
FROM generate_series(CAST(:first AS BIGINT), CAST(:last AS BIGINT)) AS n WHERE n % :tenth = 0;

INSERT INTO nauth_one_time_secrets (id, user_id, purpose, challenge_id, destination, secret_hash, auth_epoch, attempts,
    max_attempts, created_at, expires_at, used_at)
SELECT ('x' || substr(md5('secret ' || n), 1, 13))::bit(52)::bigint + 1,
    overlay(overlay(md5('user ' || n) PLACING '4' FROM 13) PLACING 'a' FROM 17)::uuid::text, 'verify_email',
    overlay(overlay(md5('challenge ' || n) PLACING '4' FROM 13) PLACING 'a' FROM 17)::uuid::text,
    'user' || n || '@example.com', md5('code ' || n), 1, 0, 3, :now, :now + (n % 86400) * 1000000,
    CASE WHEN n % 20 = 0 THEN :now END
FROM generate_series(CAST(:first AS BIGINT), CAST(:last AS BIGINT)) AS n WHERE n % :tenth = 0;

INSERT INTO nauth_outbox (id, channel, target, kind, state, sealed, attempts, due_at, expires_at, created_at, finished_at)
SELECT ('x' || substr(md5('message ' || n), 1, 13))::bit(52)::bigint + 1, 'email', NULL, 'verify_email', 'delivered', '', 1,
    :now - (n % 2000000) * 1000000, :now, :now - (n % 2000000) * 1000000, :now - (n % 2000000) * 1000000
FROM generate_series(CAST(:first AS BIGINT), CAST(:last AS BIGINT)) AS n WHERE n % :tenth = 0;

INSERT INTO nauth_revocations (number, kind, subject, value, made_at, expires_at)
SELECT n, 'session', (('x' || substr(md5('session ' || n || ' 1'), 1, 13))::bit(52)::bigint + 1)::text, 0, :now,
    :now + 960000000 + n
FROM generate_series(CAST(:first AS BIGINT), CAST(:last AS BIGINT)) AS n WHERE n % :hundredth = 0;
UPDATE nauth_revocation_counter SET value = CASE WHEN value > :last THEN value ELSE :last END WHERE id = 1;

INSERT INTO nauth_invitations (id, code_hash, uses, max_uses, created_at, expires_at)
SELECT ('x' || substr(md5('invitation ' || n), 1, 13))::bit(52)::bigint + 1, md5('invitation ' || n), 0, 1, :now,
    :now + (n % 2592000) * 1000000
FROM generate_series(CAST(:first AS BIGINT), CAST(:last AS BIGINT)) AS n WHERE n % :tenth = 0;

-- A second factor, backup codes, and something half way set up.
INSERT INTO nauth_factors (id, user_id, method, name, sealed, counter, preferred, created_at)
SELECT ('x' || substr(md5('factor ' || n), 1, 13))::bit(52)::bigint + 1,
    overlay(overlay(md5('user ' || n) PLACING '4' FROM 13) PLACING 'a' FROM 17)::uuid::text,
    'totp', 'Authenticator App', md5('sealed ' || n), 0, 1, :now
FROM generate_series(CAST(:first AS BIGINT), CAST(:last AS BIGINT)) AS n WHERE n % :tenth = 0;

INSERT INTO nauth_backup_codes (id, user_id, code_hash, created_at)
SELECT ('x' || substr(md5('backup ' || n || ' ' || c), 1, 13))::bit(52)::bigint + 1,
    overlay(overlay(md5('user ' || n) PLACING '4' FROM 13) PLACING 'a' FROM 17)::uuid::text,
    md5('code ' || n || ' ' || c), :now
FROM generate_series(CAST(:first AS BIGINT), CAST(:last AS BIGINT)) AS n, generate_series(1, 3) AS c WHERE n % :tenth = 0;

INSERT INTO nauth_ceremonies (id, purpose, user_id, bound_to, handle, sealed, expires_at)
SELECT ('x' || substr(md5('ceremony ' || n), 1, 13))::bit(52)::bigint + 1, 'totp_setup',
    overlay(overlay(md5('user ' || n) PLACING '4' FROM 13) PLACING 'a' FROM 17)::uuid::text,
    'session/' || n, md5('handle ' || n), '', :now + (n % 86400) * 1000000
FROM generate_series(CAST(:first AS BIGINT), CAST(:last AS BIGINT)) AS n WHERE n % :tenth = 0;
