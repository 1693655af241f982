-- Since when each hour waits for its computation, whatever made it wait: heartbeats, a link, a repair.
-- Whether numbers still come can then be told by age.

ALTER TABLE partition_ledger ADD COLUMN waiting_since timestamptz;

UPDATE partition_ledger AS ledger SET waiting_since = ledger.last_arrival
FROM unpublished_hour AS waiting
WHERE ledger.stream = waiting.stream AND ledger.hour = waiting.hour;

CREATE INDEX partition_ledger_waiting ON partition_ledger (hour) WHERE waiting_since IS NOT NULL;

CREATE FUNCTION note_waiting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- The condition of the view unpublished_hour.
    IF NEW.published_version IS NULL OR NEW.published_version < NEW.raw_version
            OR NEW.published_revision IS DISTINCT FROM NEW.revision THEN
        NEW.waiting_since := coalesce(NEW.waiting_since, clock_timestamp());
    ELSE
        NEW.waiting_since := NULL;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER note_waiting BEFORE INSERT OR UPDATE ON partition_ledger
    FOR EACH ROW EXECUTE FUNCTION note_waiting();

COMMENT ON COLUMN partition_ledger.waiting_since IS 'since when the efficiency marts have not taken in the newest state of this hour; null: they have';
