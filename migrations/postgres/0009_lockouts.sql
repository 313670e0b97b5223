-- When an operator last ended what kept a user out. It is part of the name of every counter of the user's
-- failures, so with another time all of them begin anew.

ALTER TABLE nauth_users ADD COLUMN lockouts_ended_at BIGINT;
