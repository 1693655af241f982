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
INSERT INTO named_link (vehicle_id, meter_id)
SELECT * FROM unnest(%b::text[], %b::text[])
ON CONFLICT DO NOTHING
