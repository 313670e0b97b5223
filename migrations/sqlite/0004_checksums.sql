-- What a step said when it was applied, so that a database made from other texts is told from ours.

ALTER TABLE nauth_migrations ADD COLUMN checksum TEXT;
