-- name: upsert_meter_live_state
-- Newer is the later event time; of one time the last received counts, as in the history.
-- The rows come sorted by id and without repeats: sorted locks cannot deadlock. The join leaves
-- out what is not newer, because ON CONFLICT would lock and log such rows before it looks.
INSERT INTO meter_live_state AS live
    (meter_id, "timestamp", kwh_consumed_ac, voltage, reading_type, received_at)
SELECT new.*
FROM unnest(%b::text[], %b::timestamptz[], %b::float8[], %b::float8[], %b::text[],
            %b::timestamptz[])
    AS new (meter_id, "timestamp", kwh_consumed_ac, voltage, reading_type, received_at)
LEFT JOIN meter_live_state AS old USING (meter_id)
WHERE old.meter_id IS NULL
   OR (new."timestamp", new.received_at) > (old."timestamp", old.received_at)
ON CONFLICT (meter_id) DO UPDATE SET
    "timestamp" = excluded."timestamp",
    kwh_consumed_ac = excluded.kwh_consumed_ac,
    voltage = excluded.voltage,
    reading_type = excluded.reading_type,
    received_at = excluded.received_at
WHERE (excluded."timestamp", excluded.received_at) > (live."timestamp", live.received_at)

-- name: upsert_vehicle_live_state
INSERT INTO vehicle_live_state AS live
    (vehicle_id, "timestamp", kwh_delivered_dc, soc, battery_temp, meter_id, reading_type,
     received_at)
SELECT new.*
FROM unnest(%b::text[], %b::timestamptz[], %b::float8[], %b::float8[], %b::float8[],
            %b::text[], %b::text[], %b::timestamptz[])
    AS new (vehicle_id, "timestamp", kwh_delivered_dc, soc, battery_temp, meter_id,
            reading_type, received_at)
LEFT JOIN vehicle_live_state AS old USING (vehicle_id)
WHERE old.vehicle_id IS NULL
   OR (new."timestamp", new.received_at) > (old."timestamp", old.received_at)
ON CONFLICT (vehicle_id) DO UPDATE SET
    "timestamp" = excluded."timestamp",
    kwh_delivered_dc = excluded.kwh_delivered_dc,
    soc = excluded.soc,
    battery_temp = excluded.battery_temp,
    meter_id = excluded.meter_id,
    reading_type = excluded.reading_type,
    received_at = excluded.received_at
WHERE (excluded."timestamp", excluded.received_at) > (live."timestamp", live.received_at)

-- name: insert_meter_outbox
INSERT INTO meter_heartbeat_outbox
    (meter_id, "timestamp", kwh_consumed_ac, voltage, reading_type, received_at)
SELECT * FROM unnest(%b::text[], %b::timestamptz[], %b::float8[], %b::float8[], %b::text[],
                     %b::timestamptz[])

-- name: insert_vehicle_outbox
INSERT INTO vehicle_heartbeat_outbox
    (vehicle_id, "timestamp", kwh_delivered_dc, soc, battery_temp, meter_id, reading_type,
     received_at)
SELECT * FROM unnest(%b::text[], %b::timestamptz[], %b::float8[], %b::float8[], %b::float8[],
                     %b::text[], %b::text[], %b::timestamptz[])

-- name: insert_named_links
-- Keeps the first time of each pair. What the pairing rule says of later hours changes with it: for
-- good after a pair's first name, up to the time known before for one that was named earlier. The
-- hour of the heartbeat itself waits for its flush; mostly there is none after it.
WITH named AS (
    SELECT * FROM unnest(%b::text[], %b::text[], %b::timestamptz[])
        AS heartbeat (vehicle_id, meter_id, named_at)
), earlier AS (
    SELECT named.*, known.first_named_at AS known_at
    FROM named LEFT JOIN named_link AS known USING (vehicle_id, meter_id)
    WHERE known.first_named_at IS NULL OR named_at < known.first_named_at
), kept AS (
    INSERT INTO named_link AS known (vehicle_id, meter_id, first_named_at)
    SELECT vehicle_id, meter_id, named_at FROM earlier ORDER BY vehicle_id, meter_id
    ON CONFLICT (vehicle_id, meter_id) DO UPDATE SET
        first_named_at = least(known.first_named_at, excluded.first_named_at)
), changed AS (
    SELECT date_trunc('hour', min(named_at), 'UTC') AS after,
           date_trunc('hour', max(coalesce(known_at, 'infinity')), 'UTC') AS before
    FROM earlier
)
UPDATE partition_ledger SET revision = revision + 1
WHERE (stream, hour) IN (SELECT stream, hour FROM partition_ledger, changed
                         WHERE hour > changed.after AND hour < changed.before
                         ORDER BY stream, hour FOR UPDATE OF partition_ledger)
