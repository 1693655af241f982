-- name: first_partition
-- Where the partitions begin by themselves, and where a setting lets them begin; null: unset.
SELECT day, set_to FROM first_partition

-- name: lower_first_partition
-- Let the partitions begin on this day, unless they begin earlier.
UPDATE first_partition SET day = %(day)s WHERE day > %(day)s

-- name: lower_first_partition_to_waiting
-- Let the partitions begin with the oldest hour that waits, unless they begin earlier.
UPDATE first_partition SET day = oldest.day
FROM (SELECT (min(hour) AT TIME ZONE 'UTC')::date AS day FROM unpublished_hour
      WHERE hour >= (SELECT hour FROM first_hour)) AS oldest
WHERE first_partition.day > oldest.day

-- name: note_partitions_start
-- What Dagster's setting is, for those who don't have it.
UPDATE first_partition SET set_to = %(set_to)s WHERE set_to IS DISTINCT FROM %(set_to)s

-- name: first_hour
SELECT hour FROM first_hour

-- name: hours_never_computed
-- Hours before the first one that is computed; null and 0 where there is none. `advised` is the first
-- of them with which there would be no more partitions than Dagster advises, `too_early` counts those
-- before that.
SELECT count(DISTINCT waiting.hour) AS hours, min(waiting.hour) AS first, max(first.hour) AS begin,
       min(waiting.hour) FILTER (WHERE waiting.hour >= earliest) AS advised,
       count(DISTINCT waiting.hour) FILTER (WHERE waiting.hour < earliest) AS too_early
FROM first_hour AS first
     CROSS JOIN date_trunc('day', now() - interval '100000 hours', 'UTC') AS earliest
     LEFT JOIN unpublished_hour AS waiting ON waiting.hour < first.hour
