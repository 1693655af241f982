-- name: register_devices
-- Keeps the first time of each device, the days on which it sent an energy, and when it is expected:
-- from an hour in which it was heard to the end of the seventh UTC day after. The hours in which it was not expected before are computed
-- again: what they say of pairs and of silent devices changes. What was heard of a device before it
-- was removed lets nobody expect it after that hour. Rows are locked in one order by all: devices by
-- id, then the ledger as the lake writer does.
WITH heard AS (
    SELECT heard.device_id COLLATE "C" AS device_id, min(heard_at) AS heard_at,
           range_agg(tstzrange(
               date_trunc('hour', heard_at, 'UTC'),
               least(date_trunc('day', heard_at, 'UTC') + interval '192 hours',
                     CASE WHEN heard_at <= removed_at
                          THEN date_trunc('hour', removed_at, 'UTC') + interval '1 hour' END)))
               AS expected,
           coalesce(range_agg(daterange((heard_at AT TIME ZONE 'UTC')::date,
                                        (heard_at AT TIME ZONE 'UTC')::date, '[]'))
                        FILTER (WHERE has_energy), '{}') AS energy_days
    FROM unnest(%(devices)s::text[], %(times)s::timestamptz[], %(energies)s::boolean[])
        AS heard (device_id, heard_at, has_energy)
    LEFT JOIN device AS known
        ON known.stream = %(stream)s AND known.device_id = heard.device_id COLLATE "C"
    GROUP BY 1
), news AS (
    SELECT heard.*, heard.expected - coalesce(known.expected, '{}') AS added
    FROM heard LEFT JOIN device AS known
        ON known.stream = %(stream)s AND known.device_id = heard.device_id
    WHERE known.first_heard_at IS NULL OR heard_at < known.first_heard_at
       OR NOT known.expected @> heard.expected OR NOT known.energy_days @> heard.energy_days
), kept AS (
    INSERT INTO device AS known (stream, device_id, first_heard_at, expected, energy_days)
    SELECT %(stream)s, device_id, heard_at, expected, energy_days FROM news ORDER BY device_id
    ON CONFLICT (stream, device_id) DO UPDATE SET
        first_heard_at = least(known.first_heard_at, excluded.first_heard_at),
        expected = known.expected + excluded.expected,
        energy_days = known.energy_days + excluded.energy_days
    RETURNING device_id
), changed AS (
    SELECT range_agg(added) AS hours FROM kept JOIN news USING (device_id)
)
UPDATE partition_ledger SET revision = revision + 1
WHERE (stream, hour) IN (SELECT stream, hour FROM partition_ledger
                         WHERE hour <@ (SELECT hours FROM changed)
                         ORDER BY stream, hour FOR UPDATE)

-- name: devices_removed_within
SELECT device_id, removed_at FROM device
WHERE stream = %(stream)s AND removed_at >= %(start)s AND removed_at < %(end)s

-- name: expected_devices
-- Devices of a stream that should be heard in the hour that ends at `end`.
SELECT device_id FROM device
WHERE stream = %(stream)s AND expected @> (%(end)s::timestamptz - interval '1 hour')
  AND (retired_at IS NULL OR retired_at > %(end)s::timestamptz - interval '1 hour')
ORDER BY device_id

-- name: days_with_energy
SELECT device_id, lower(days), upper(days) - 1
FROM device, unnest(energy_days) AS days
WHERE stream = %(stream)s AND device_id = ANY(%(devices)s)
ORDER BY device_id, days

-- name: charger_classes
SELECT device_id AS meter_id, charger_class FROM device
WHERE stream = 'meter' AND charger_class IS NOT NULL
ORDER BY device_id

-- name: told_cadences
-- How often devices send, where people say it.
SELECT device_id, cadence_seconds FROM device
WHERE stream = %(stream)s AND cadence_seconds IS NOT NULL
ORDER BY device_id

-- name: classes_and_cadences
-- What people say of these vehicles and meters that their energies depend on.
SELECT stream, device_id, charger_class, cadence_seconds FROM device
WHERE (stream = 'vehicle' AND device_id = ANY($1) OR stream = 'meter' AND device_id = ANY($2))
  AND (charger_class IS NOT NULL OR cadence_seconds IS NOT NULL)
ORDER BY stream, device_id

-- name: list_devices
-- Those of the registry, and those that were heard and wait for their hour's compaction. One that was
-- removed is there once it has a live state again, or people say something of it. `pattern` is one of
-- LIKE.
SELECT stream, device_id, first_heard_at, newest_at, updated_at, charger_class, retired_at,
       depot_id AS depot, group_name AS "group", driver, label, latitude, longitude, time_zone,
       cadence_seconds
FROM device FULL JOIN
     (SELECT 'meter' AS stream, meter_id COLLATE "C" AS device_id, "timestamp" AS newest_at
      FROM meter_live_state
      UNION ALL
      SELECT 'vehicle', vehicle_id COLLATE "C", "timestamp" FROM vehicle_live_state) AS live
     USING (stream, device_id)
WHERE (removed_at IS NULL OR newest_at IS NOT NULL OR updated_at > removed_at)
  AND (%(stream)s::text IS NULL OR stream = %(stream)s)
  AND (%(device)s::text IS NULL OR device_id = %(device)s)
  AND (%(depots)s::text[] IS NULL OR depot_id = ANY(%(depots)s))
  AND (%(groups)s::text[] IS NULL OR group_name = ANY(%(groups)s))
  AND (%(after_id)s::text IS NULL OR (stream, device_id) > (%(after_stream)s, %(after_id)s))
  AND (%(pattern)s::text IS NULL OR device_id LIKE %(pattern)s)
  AND (%(charger_class)s::text IS NULL OR charger_class = %(charger_class)s)
  AND (%(silent_since)s::timestamptz IS NULL
       OR (coalesce(newest_at NOT BETWEEN %(silent_since)s AND now() + interval '1 day', true)
           AND coalesce(retired_at > now(), true)))
ORDER BY stream, device_id
LIMIT %(limit)s

-- name: lock_devices
-- Held to the end of the transaction: nobody registers a device while what is known of it is told.
LOCK TABLE device IN SHARE ROW EXCLUSIVE MODE

-- name: devices_named
-- What the registry knows of some devices, and whether any heartbeat of them ever came.
SELECT told.stream, told.device_id, known.device_id IS NOT NULL AS is_registered,
       known.first_heard_at, known.charger_class, known.retired_at, known.depot_id AS depot,
       known.group_name AS "group", known.driver, known.label, known.latitude, known.longitude,
       known.time_zone, known.cadence_seconds,
       known.first_heard_at IS NOT NULL
       OR EXISTS (SELECT FROM meter_live_state
                  WHERE told.stream = 'meter' AND meter_id = told.device_id)
       OR EXISTS (SELECT FROM vehicle_live_state
                  WHERE told.stream = 'vehicle' AND vehicle_id = told.device_id) AS is_heard
FROM unnest(%(streams)s::text[], %(devices)s::text[]) AS told (stream, device_id)
LEFT JOIN device AS known
    ON known.stream = told.stream AND known.device_id = told.device_id COLLATE "C"

-- name: update_devices
INSERT INTO device (stream, device_id, charger_class, retired_at, depot_id, group_name, driver, label,
                    latitude, longitude, time_zone, cadence_seconds, updated_at)
SELECT *, now()
FROM unnest(%(stream)s::text[], %(device_id)s::text[], %(charger_class)s::text[],
            %(retired_at)s::timestamptz[], %(depot)s::text[], %(group)s::text[], %(driver)s::text[],
            %(label)s::text[], %(latitude)s::float8[], %(longitude)s::float8[],
            %(time_zone)s::text[], %(cadence_seconds)s::float8[])
ON CONFLICT (stream, device_id) DO UPDATE SET
    charger_class = excluded.charger_class,
    retired_at = excluded.retired_at,
    depot_id = excluded.depot_id,
    group_name = excluded.group_name,
    driver = excluded.driver,
    label = excluded.label,
    latitude = excluded.latitude,
    longitude = excluded.longitude,
    time_zone = excluded.time_zone,
    cadence_seconds = excluded.cadence_seconds,
    updated_at = excluded.updated_at

-- name: reopen_hours_within
-- Hours that begin within any of these half-open ranges; a null ends none. Returns each row of the
-- ledger, and whether anything was computed from it. Rows are locked as in `reopen_hours`.
UPDATE partition_ledger SET revision = revision + 1
WHERE (stream, hour) IN (SELECT stream, hour FROM partition_ledger
                         WHERE hour <@ (SELECT range_agg(tstzrange(since, until))
                                        FROM unnest(%(since)s::timestamptz[],
                                                    %(until)s::timestamptz[])
                                            AS changed (since, until))
                         ORDER BY stream, hour FOR UPDATE)
RETURNING hour, computed_version IS NOT NULL AS is_computed

-- name: note_meter_cadences
-- How often meters sent up to the end of an hour, null where that is about the nominal interval. Of the
-- newest hour that is computed alone: history that is imported says nothing of now. Rows are locked in
-- the order in which commits do.
UPDATE meter_live_state AS live SET cadence_seconds = news.cadence_seconds
FROM (SELECT meter_id, told.cadence_seconds
      FROM meter_live_state AS known
      JOIN unnest(%(devices)s::text[], %(cadences)s::float8[]) AS told (device_id, cadence_seconds)
          ON known.meter_id = told.device_id COLLATE "C"
      WHERE known.cadence_seconds IS DISTINCT FROM told.cadence_seconds
        AND NOT EXISTS (SELECT FROM partition_ledger
                        WHERE stream IN ('meter', 'vehicle') AND hour > %(hour)s AND hour <= now()
                          AND computed_version IS NOT NULL)
      ORDER BY meter_id FOR UPDATE OF known) AS news
WHERE live.meter_id = news.meter_id

-- name: note_vehicle_cadences
UPDATE vehicle_live_state AS live SET cadence_seconds = news.cadence_seconds
FROM (SELECT vehicle_id, told.cadence_seconds
      FROM vehicle_live_state AS known
      JOIN unnest(%(devices)s::text[], %(cadences)s::float8[]) AS told (device_id, cadence_seconds)
          ON known.vehicle_id = told.device_id COLLATE "C"
      WHERE known.cadence_seconds IS DISTINCT FROM told.cadence_seconds
        AND NOT EXISTS (SELECT FROM partition_ledger
                        WHERE stream IN ('meter', 'vehicle') AND hour > %(hour)s AND hour <= now()
                          AND computed_version IS NOT NULL)
      ORDER BY vehicle_id FOR UPDATE OF known) AS news
WHERE live.vehicle_id = news.vehicle_id

-- name: remove_meter_live_state
-- Rows are locked in the order in which commits do.
DELETE FROM meter_live_state
USING (SELECT meter_id FROM meter_live_state WHERE meter_id = ANY(%(devices)s)
       ORDER BY meter_id FOR UPDATE) AS removed
WHERE meter_live_state.meter_id = removed.meter_id

-- name: remove_vehicle_live_state
DELETE FROM vehicle_live_state
USING (SELECT vehicle_id FROM vehicle_live_state WHERE vehicle_id = ANY(%(devices)s)
       ORDER BY vehicle_id FOR UPDATE) AS removed
WHERE vehicle_live_state.vehicle_id = removed.vehicle_id

-- name: remove_named_links
UPDATE named_link SET removed_at = now()
WHERE removed_at IS NULL
  AND CASE %(stream)s WHEN 'meter' THEN meter_id ELSE vehicle_id END = ANY(%(devices)s)

-- name: end_pairs
-- Hours up to this one remain what they are. After it a newcomer may take the place.
UPDATE number_pair SET valid = tstzrange(
    lower(valid), greatest(lower(valid), date_trunc('hour', now(), 'UTC')) + interval '1 hour')
WHERE dissolved_at IS NULL AND upper_inf(valid)
  AND CASE %(stream)s WHEN 'meter' THEN meter_id ELSE vehicle_id END = ANY(%(devices)s)

-- name: remove_unpaired
DELETE FROM unpaired_device WHERE stream = %(stream)s AND device_id = ANY(%(devices)s)

-- name: pair_those_left
-- What the removed ones were in the way of: two that are left of a number. No hour up to this one
-- changes.
SELECT pair_number(number, date_trunc('hour', now(), 'UTC') + interval '1 hour')
FROM (SELECT DISTINCT trailing_number(device_id) AS number
      FROM unnest(%(devices)s::text[]) AS removed (device_id) WHERE may_pair(device_id)) AS freed

-- name: remove_from_registry
-- No hour after this one expects them; those up to it remain what they are.
INSERT INTO device AS known (stream, device_id, removed_at)
SELECT %(stream)s, device_id, now()
FROM unnest(%(devices)s::text[]) AS removed (device_id) ORDER BY device_id COLLATE "C"
ON CONFLICT (stream, device_id) DO UPDATE SET
    removed_at = excluded.removed_at,
    expected = known.expected - tstzmultirange(tstzrange(
                   date_trunc('hour', excluded.removed_at, 'UTC') + interval '1 hour', NULL))

-- name: remove_alert_pending
DELETE FROM alert_pending WHERE device_kind = %(stream)s AND device_id = ANY(%(devices)s)

-- name: remove_alert_silences
DELETE FROM alert_silence WHERE device_kind = %(stream)s AND device_id = ANY(%(devices)s)

-- name: remove_alert_soc_peaks
DELETE FROM alert_soc_peak WHERE %(stream)s = 'vehicle' AND vehicle_id = ANY(%(devices)s)

-- name: resolve_alerts_of_devices
UPDATE alert SET resolved_at = now(), updated_at = now()
WHERE device_kind = %(stream)s AND device_id = ANY(%(devices)s) AND resolved_at IS NULL
RETURNING id

-- name: remove_rejections
DELETE FROM rejection
WHERE origin IN (SELECT 'device ' || device_id FROM unnest(%(devices)s::text[]) AS device_id)
  AND coalesce(stream = %(stream)s, true)

-- name: device_totals
SELECT count(*) FILTER (WHERE stream = 'meter') AS meters,
       count(*) FILTER (WHERE stream = 'vehicle') AS vehicles,
       count(*) FILTER (WHERE charger_class IS NOT NULL) AS meters_with_a_class,
       count(*) FILTER (WHERE retired_at <= now()) AS retired,
       (SELECT count(*) FROM depot) AS depots, max(updated_at) AS last_changed_at
FROM device
