-- name: committer_settings
-- Of the session, or where $1 is true of the transaction.
-- What a commit acknowledges must survive a crash, whatever the server's default. The plans are
-- generic nested loops over an index: planning costs more than merging a few rows, a hash join reads
-- the whole table for them, and both would lock rows in an order of their own.
SELECT set_config('synchronous_commit', 'on', $1::boolean),
       set_config('plan_cache_mode', 'force_generic_plan', $1),
       set_config('enable_hashjoin', 'off', $1),
       set_config('enable_mergejoin', 'off', $1),
       set_config('enable_seqscan', 'off', $1)

-- name: merge_meter_live_state
-- Newer is the later event time; of one time the last received counts, as in the history. A state of
-- a later time than is believed now came while a clock was ahead: it gives way to any that is.
-- The rows come sorted by id and without repeats, and the plan keeps their order: so two
-- collectors lock the same rows in the same order. A device that two of them insert at once fails
-- in one of them, which tries again.
MERGE INTO meter_live_state AS live
USING unnest($1::text[], $2::timestamptz[], $3::float8[], $4::float8[], $5::text[], $6::float8[],
             $7::text[], $8::timestamptz[])
    AS new (meter_id, "timestamp", kwh_consumed_ac, voltage, reading_type, interval_seconds, phase,
            received_at)
ON live.meter_id = new.meter_id
WHEN MATCHED AND ((new."timestamp", new.received_at) > (live."timestamp", live.received_at)
                  OR (live."timestamp" > $9::timestamptz AND new."timestamp" <= $9)) THEN
    UPDATE SET
        "timestamp" = new."timestamp",
        kwh_consumed_ac = new.kwh_consumed_ac,
        voltage = new.voltage,
        reading_type = new.reading_type,
        interval_seconds = new.interval_seconds,
        phase = new.phase,
        received_at = new.received_at
WHEN NOT MATCHED THEN
    INSERT (meter_id, "timestamp", kwh_consumed_ac, voltage, reading_type, interval_seconds, phase,
            received_at)
    VALUES (new.meter_id, new."timestamp", new.kwh_consumed_ac, new.voltage, new.reading_type,
            new.interval_seconds, new.phase, new.received_at)

-- name: merge_vehicle_live_state
MERGE INTO vehicle_live_state AS live
USING unnest($1::text[], $2::timestamptz[], $3::float8[], $4::float8[], $5::float8[], $6::text[],
             $7::text[], $8::float8[], $9::timestamptz[])
    AS new (vehicle_id, "timestamp", kwh_delivered_dc, soc, battery_temp, meter_id, reading_type,
            interval_seconds, received_at)
ON live.vehicle_id = new.vehicle_id
WHEN MATCHED AND ((new."timestamp", new.received_at) > (live."timestamp", live.received_at)
                  OR (live."timestamp" > $10::timestamptz AND new."timestamp" <= $10)) THEN
    UPDATE SET
        "timestamp" = new."timestamp",
        kwh_delivered_dc = new.kwh_delivered_dc,
        soc = new.soc,
        battery_temp = new.battery_temp,
        meter_id = new.meter_id,
        reading_type = new.reading_type,
        interval_seconds = new.interval_seconds,
        received_at = new.received_at
WHEN NOT MATCHED THEN
    INSERT (vehicle_id, "timestamp", kwh_delivered_dc, soc, battery_temp, meter_id, reading_type,
            interval_seconds, received_at)
    VALUES (new.vehicle_id, new."timestamp", new.kwh_delivered_dc, new.soc, new.battery_temp,
            new.meter_id, new.reading_type, new.interval_seconds, new.received_at)

-- name: insert_meter_outbox
INSERT INTO meter_heartbeat_outbox
    (meter_id, "timestamp", kwh_consumed_ac, voltage, reading_type, interval_seconds, phase,
     received_at)
SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::float8[], $4::float8[], $5::text[],
                     $6::float8[], $7::text[], $8::timestamptz[])

-- name: insert_vehicle_outbox
INSERT INTO vehicle_heartbeat_outbox
    (vehicle_id, "timestamp", kwh_delivered_dc, soc, battery_temp, meter_id, reading_type,
     interval_seconds, received_at)
SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::float8[], $4::float8[], $5::float8[],
                     $6::text[], $7::text[], $8::float8[], $9::timestamptz[])

-- name: insert_heartbeat_pack
INSERT INTO heartbeat_pack (stream, heartbeats, rows, hours, hour_rows, last_received)
VALUES ($1::text, $2::bytea, (SELECT sum(rows) FROM unnest($4::bigint[]) AS of_hour (rows)),
        $3::timestamptz[], $4::bigint[], ($5::timestamptz[])[1])

-- name: insert_named_links
-- Keeps the first time of each pair. Where the pairing rule may have linked either of the two, what it
-- says of later hours changes: for good after a pair's first name, up to the time known before for
-- one that was named earlier, and for good since its removal after the first name since then. The hour
-- of the heartbeat itself waits for its flush; mostly there is none after it.
WITH named AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[])
        AS heartbeat (vehicle_id, meter_id, named_at)
), earlier AS (
    SELECT vehicle_id, meter_id, named_at,
           CASE WHEN removed_at IS NULL THEN first_named_at END AS known_at,
           least(named_at, removed_at) AS since
    FROM named LEFT JOIN named_link AS known USING (vehicle_id, meter_id)
    WHERE first_named_at IS NULL OR named_at < first_named_at OR named_at > removed_at
), kept AS (
    INSERT INTO named_link AS known (vehicle_id, meter_id, first_named_at)
    SELECT vehicle_id, meter_id, named_at FROM earlier ORDER BY vehicle_id, meter_id
    ON CONFLICT (vehicle_id, meter_id) DO UPDATE SET
        first_named_at = least(known.first_named_at, excluded.first_named_at),
        removed_at = CASE WHEN excluded.first_named_at <= known.removed_at
                          THEN known.removed_at END
), changed AS (
    SELECT range_agg(by_rule.hours * tstzmultirange(tstzrange(
               date_trunc('hour', since, 'UTC') + interval '1 hour',
               CASE WHEN known_at IS NOT NULL
                    THEN greatest(date_trunc('hour', known_at, 'UTC'),
                                  date_trunc('hour', since, 'UTC') + interval '1 hour')
               END))) AS hours
    FROM earlier CROSS JOIN LATERAL
         -- OFFSET keeps this a look at the few pairs of two devices, and none where nothing is new.
         (SELECT meter.expected * vehicle.expected AS hours
          FROM number_pair AS pair
          JOIN device AS meter
              ON meter.stream = 'meter' AND meter.device_id = pair.meter_id COLLATE "C"
          JOIN device AS vehicle
              ON vehicle.stream = 'vehicle' AND vehicle.device_id = pair.vehicle_id COLLATE "C"
          WHERE dissolved_at IS NULL
            AND (pair.meter_id = earlier.meter_id OR pair.vehicle_id = earlier.vehicle_id)
          OFFSET 0) AS by_rule
)
UPDATE partition_ledger SET revision = revision + 1
WHERE (stream, hour) IN (SELECT stream, hour FROM partition_ledger
                         WHERE hour <@ (SELECT hours FROM changed)
                         ORDER BY stream, hour FOR UPDATE)
