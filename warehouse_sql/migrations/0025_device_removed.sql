-- A device that people take out of the registry. Its row stays, so that the hours in which it was heard
-- remain what they are, and so that none of them brings it back when it is computed again.

ALTER TABLE device ADD COLUMN removed_at timestamptz CHECK (isfinite(removed_at));
ALTER TABLE named_link ADD COLUMN removed_at timestamptz;

COMMENT ON COLUMN device.removed_at IS 'when it was last removed: it is known again by a heartbeat of a later event time; null: never';
COMMENT ON COLUMN named_link.removed_at IS 'when one of the two devices was removed, up to when the pair counts; null: it counts';
