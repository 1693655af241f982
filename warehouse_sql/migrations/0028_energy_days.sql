-- An hour is computed from the last readings with an energy before it, however old they are. On which
-- days a device sent any tells where to look for them, and that there is nothing to look for.

ALTER TABLE device ADD COLUMN energy_days datemultirange NOT NULL DEFAULT '{}';

-- Of an older installation it is not known: on any day from the first to the last that it was heard.
UPDATE device SET energy_days = datemultirange(daterange(
    (first_heard_at AT TIME ZONE 'UTC')::date,
    (greatest(upper(expected), first_heard_at) AT TIME ZONE 'UTC')::date, '[]'))
WHERE first_heard_at IS NOT NULL;

COMMENT ON COLUMN device.energy_days IS 'UTC days on which the history may hold readings of it with an energy';
