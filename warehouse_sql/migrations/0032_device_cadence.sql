-- How often a device sends, where that is not about once in each nominal interval. Beside live state,
-- because whoever asks whether a device still reports reads that row already; and without an index, so
-- that its updates stay heap-only.

ALTER TABLE meter_live_state ADD COLUMN cadence_seconds double precision
    CHECK (cadence_seconds > 0);
ALTER TABLE vehicle_live_state ADD COLUMN cadence_seconds double precision
    CHECK (cadence_seconds > 0);

COMMENT ON COLUMN meter_live_state.cadence_seconds IS 'time between its heartbeats, seconds: of its charger class, else measured when the newest hour was computed; null: about the nominal interval, or not known. A declared interval counts before it';
COMMENT ON COLUMN vehicle_live_state.cadence_seconds IS 'time between its heartbeats, seconds: measured when the newest hour was computed; null: about the nominal interval, or not known. A declared interval counts before it';

-- These two are the same as `cadence_seconds` and `connection_flag` in ingestion_api/routes/live.py, and
-- small enough to be inlined into a query.

-- Seconds between two heartbeats of a device, from the columns of its live state. What it declares of its
-- energy is its cadence, unless that is a mere sample of it.
CREATE FUNCTION device_cadence(
    declared double precision, own double precision, nominal double precision
) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN 10 * declared >= coalesce(own, nominal) THEN declared
            ELSE coalesce(own, nominal) END;

-- Whether a device still reports as expected. A device that sends more often than the nominal interval is not late any sooner: its
-- heartbeats may come several at once.
CREATE FUNCTION connection_flag(
    heard timestamptz, cadence double precision, moment timestamptz, believed_until timestamptz,
    nominal double precision, online_intervals double precision, silent_after double precision,
    silent_intervals double precision
) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN heard > believed_until THEN 'silent'
    WHEN date_part('epoch', moment - heard) <= online_intervals * greatest(nominal, cadence)
        THEN 'online'
    WHEN date_part('epoch', moment - heard)
         <= greatest(silent_after, silent_intervals * greatest(nominal, cadence))
        THEN 'late'
    ELSE 'silent' END;
