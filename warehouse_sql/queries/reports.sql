-- name: zones_of_depots
SELECT id, name, time_zone FROM depot ORDER BY id
