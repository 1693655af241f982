-- An older copy of the lake was known by the number of its version, which other commits raise again.

ALTER TABLE outbox_delivery ADD COLUMN settled_horizon bigint NOT NULL DEFAULT 0;

COMMENT ON COLUMN outbox_delivery.settled_horizon IS 'how far the lake was seen to hold this epoch, durably; a lake that holds less is an older copy';
