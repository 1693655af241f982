-- name: tariffs_of_meters
-- Meters whose depot names a tariff.
SELECT device_id, tariff FROM device JOIN depot ON depot.id = depot_id
WHERE stream = 'meter' AND tariff IS NOT NULL
ORDER BY device_id

-- name: known_tariffs
SELECT nullif(content, 'null') FROM known_tariffs

-- name: keep_tariffs
INSERT INTO known_tariffs (content) VALUES (%(content)s::jsonb)
ON CONFLICT (is_only) DO UPDATE SET content = excluded.content

-- name: days_computed
SELECT DISTINCT (hour AT TIME ZONE 'UTC')::date AS day FROM partition_ledger
WHERE computed_version IS NOT NULL ORDER BY day

-- name: reprice_days
INSERT INTO repriced_day (day) SELECT unnest(%(days)s::date[])
ON CONFLICT (day) DO UPDATE SET noted_at = excluded.noted_at, priced_at = NULL

-- name: reprice_days_of_depot
-- The computed days on which the meters of a depot sent an energy, where it has another tariff so far.
-- A reading may tell of a week before it.
INSERT INTO repriced_day (day)
SELECT DISTINCT day::date FROM depot JOIN device ON depot_id = depot.id,
       unnest(energy_days) AS days,
       generate_series(lower(days) - 7, upper(days) - 1, '1 day') AS day
WHERE depot.id = %(id)s AND stream = 'meter' AND depot.tariff IS DISTINCT FROM %(tariff)s
  AND day::date IN (SELECT (hour AT TIME ZONE 'UTC')::date FROM partition_ledger
                    WHERE computed_version IS NOT NULL)
ORDER BY 1
ON CONFLICT (day) DO UPDATE SET noted_at = excluded.noted_at, priced_at = NULL

-- name: reprice_days_of_meters
-- The same of meters that have moved from one depot to another.
INSERT INTO repriced_day (day)
SELECT DISTINCT day::date
FROM unnest(%(meters)s::text[], %(before)s::text[], %(after)s::text[]) AS moved (meter, before, after)
JOIN device ON stream = 'meter' AND device_id = meter COLLATE "C"
LEFT JOIN depot AS old ON old.id = before COLLATE "C"
LEFT JOIN depot AS new ON new.id = after COLLATE "C",
unnest(energy_days) AS days,
generate_series(lower(days) - 7, upper(days) - 1, '1 day') AS day
WHERE old.tariff IS DISTINCT FROM new.tariff
  AND day::date IN (SELECT (hour AT TIME ZONE 'UTC')::date FROM partition_ledger
                    WHERE computed_version IS NOT NULL)
ORDER BY 1
ON CONFLICT (day) DO UPDATE SET noted_at = excluded.noted_at, priced_at = NULL

-- name: repriced_days
SELECT day, noted_at FROM repriced_day ORDER BY day

-- name: mark_priced
UPDATE repriced_day SET priced_at = now()
WHERE (day, noted_at) IN (SELECT * FROM unnest(%(days)s::date[], %(noted)s::timestamptz[]))

-- name: days_of_unpriced_sessions
SELECT day, noted_at FROM repriced_day WHERE priced_at IS NOT NULL ORDER BY day

-- name: mark_sessions_priced
DELETE FROM repriced_day
WHERE (day, noted_at) IN (SELECT * FROM unnest(%(days)s::date[], %(noted)s::timestamptz[]))
