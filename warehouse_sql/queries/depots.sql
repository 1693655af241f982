-- name: list_depots
SELECT depot.*, counted.meters, counted.vehicles
FROM depot CROSS JOIN LATERAL
     (SELECT count(*) FILTER (WHERE stream = 'meter') AS meters,
             count(*) FILTER (WHERE stream = 'vehicle') AS vehicles
      FROM device WHERE depot_id = depot.id) AS counted
WHERE %(id)s::text IS NULL OR depot.id = %(id)s
ORDER BY depot.id

-- name: put_depot
INSERT INTO depot (id, name, tariff, time_zone, latitude, longitude)
VALUES (%(id)s, %(name)s, %(tariff)s, %(time_zone)s, %(latitude)s, %(longitude)s)
ON CONFLICT (id) DO UPDATE SET
    name = excluded.name,
    tariff = excluded.tariff,
    time_zone = excluded.time_zone,
    latitude = excluded.latitude,
    longitude = excluded.longitude,
    updated_at = now()

-- name: lock_depot
SELECT FROM depot WHERE id = %(id)s FOR UPDATE

-- name: remove_depot
DELETE FROM depot WHERE id = %(id)s

-- name: hold_depots
-- Held, so that none is taken away or gets another tariff meanwhile.
SELECT id FROM depot WHERE id = ANY(%(depots)s) ORDER BY id FOR SHARE

-- name: missing_places
-- One of these depots or groups that there is not.
(SELECT 'depot' AS what, wanted.name FROM unnest(%(depots)s::text[]) AS wanted (name)
 WHERE NOT EXISTS (SELECT FROM depot WHERE depot.id = wanted.name COLLATE "C"))
UNION ALL
(SELECT 'group', wanted.name FROM unnest(%(groups)s::text[]) AS wanted (name)
 WHERE NOT EXISTS (SELECT FROM device WHERE group_name = wanted.name COLLATE "C"))
LIMIT 1

-- name: devices_within
SELECT stream, device_id, depot_id AS depot, group_name AS "group" FROM device
WHERE (%(depots)s::text[] IS NULL OR depot_id = ANY(%(depots)s))
  AND (%(groups)s::text[] IS NULL OR group_name = ANY(%(groups)s))
ORDER BY stream, device_id
