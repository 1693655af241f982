-- name: list_depots
SELECT depot.*, counted.meters, counted.vehicles
FROM depot CROSS JOIN LATERAL
     (SELECT count(*) FILTER (WHERE stream = 'meter') AS meters,
             count(*) FILTER (WHERE stream = 'vehicle') AS vehicles
      FROM device WHERE depot_id = depot.id) AS counted
WHERE %(id)s::text IS NULL OR depot.id = %(id)s
ORDER BY depot.id

-- name: put_depot
INSERT INTO depot (id, name, time_zone, latitude, longitude)
VALUES (%(id)s, %(name)s, %(time_zone)s, %(latitude)s, %(longitude)s)
ON CONFLICT (id) DO UPDATE SET
    name = excluded.name,
    time_zone = excluded.time_zone,
    latitude = excluded.latitude,
    longitude = excluded.longitude,
    updated_at = now()

-- name: remove_depot
DELETE FROM depot WHERE id = %(id)s

-- name: hold_depots
SELECT id FROM depot WHERE id = ANY(%(depots)s) FOR KEY SHARE
