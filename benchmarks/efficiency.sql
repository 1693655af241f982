-- The efficiency tables of a day as DuckDB computes them: what `make bench` compares ours with.
-- The same files, links, energies, credit, coverage, gaps, counts and sums by hour and by day. Left
-- out are the matched share, and how several meters share a vehicle's energy, which spares DuckDB
-- the joins of intervals.
-- There must be the views `meter_telemetry_history` and `vehicle_telemetry_history` (the files) and
-- `links` (meter_id, vehicle_id, valid_from, valid_to).

-- Read once, so not stored.
CREATE OR REPLACE VIEW meter_reading AS
WITH sorted AS (
    SELECT meter_id AS device, timestamp, kwh_consumed_ac AS value, reading_type, duplicates,
           lag(timestamp) OVER device AS previous,
           last_value(CASE WHEN reading_type = 'register' THEN kwh_consumed_ac END IGNORE NULLS)
               OVER (device ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS last_register
    FROM meter_telemetry_history
    WINDOW device AS (PARTITION BY meter_id ORDER BY timestamp)
)
SELECT device, timestamp, date_trunc('hour', timestamp) AS hour_start, duplicates,
       CASE WHEN reading_type = 'interval' THEN value
            WHEN value - last_register < -0.15 THEN value
            ELSE value - last_register END AS energy,
       coalesce(reading_type = 'register' AND value - last_register < -0.15, false) AS is_reset,
       epoch_us(timestamp) - epoch_us(previous) AS gap_us,
       epoch_us(timestamp) - epoch_us(greatest(
           previous, timestamp - INTERVAL 300 SECOND, date_trunc('hour', timestamp))) AS covered_us
FROM sorted;

CREATE OR REPLACE TABLE vehicle_reading AS
WITH sorted AS (
    SELECT vehicle_id AS device, timestamp, kwh_delivered_dc AS value, reading_type, duplicates,
           battery_temp,
           lag(timestamp) OVER device AS previous,
           last_value(CASE WHEN reading_type = 'register' THEN kwh_delivered_dc END IGNORE NULLS)
               OVER (device ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS last_register
    FROM vehicle_telemetry_history
    WINDOW device AS (PARTITION BY vehicle_id ORDER BY timestamp)
)
SELECT device, timestamp, date_trunc('hour', timestamp) AS hour_start, duplicates, battery_temp,
       CASE WHEN reading_type = 'interval' THEN value
            WHEN value - last_register < -0.15 THEN value
            ELSE value - last_register END AS energy,
       coalesce(reading_type = 'register' AND value - last_register < -0.15, false) AS is_reset,
       epoch_us(timestamp) - epoch_us(previous) AS gap_us,
       epoch_us(timestamp) - epoch_us(greatest(
           previous, timestamp - INTERVAL 300 SECOND, date_trunc('hour', timestamp))) AS covered_us
FROM sorted;

CREATE OR REPLACE TABLE credited AS
SELECT r.*, CASE WHEN r.timestamp < l.valid_to THEN l.vehicle_id END AS vehicle_id
FROM meter_reading r
ASOF LEFT JOIN links l ON r.device = l.meter_id AND r.timestamp >= l.valid_from;

CREATE OR REPLACE TABLE vehicle_hour AS
WITH ac AS (
    SELECT vehicle_id, hour_start, sum(energy) AS energy_ac, count(*) AS points_ac,
           sum(duplicates) AS duplicates_ac, count_if(is_reset) AS resets_ac,
           sum(covered_us) / 3.6e9 AS coverage_ac, max(gap_us) / 1e6 AS gap_ac,
           list_sort(list(DISTINCT device)) AS meter_ids
    FROM credited WHERE vehicle_id IS NOT NULL GROUP BY ALL
), dc AS (
    SELECT device AS vehicle_id, hour_start, sum(energy) AS energy_dc, count(*) AS points_dc,
           sum(duplicates) AS duplicates_dc, count_if(is_reset) AS resets_dc,
           avg(battery_temp) AS average_battery_temp,
           sum(covered_us) / 3.6e9 AS coverage_dc, max(gap_us) / 1e6 AS gap_dc
    FROM vehicle_reading GROUP BY ALL
), linked AS (
    SELECT DISTINCT vehicle_id, true AS is_linked, unnest(generate_series(
               date_trunc('hour', valid_from), valid_to - INTERVAL 1 MICROSECOND, INTERVAL 1 HOUR
           )) AS hour_start
    FROM links
)
SELECT *, 100 * energy_dc / energy_ac AS efficiency_percent, energy_ac - energy_dc AS loss,
       CASE WHEN is_linked IS NULL THEN 'unmapped' WHEN energy_ac < 0.05 THEN 'idle'
            WHEN energy_ac IS NULL OR energy_dc IS NULL THEN 'insufficient_data'
            WHEN energy_dc <= 0 OR energy_dc > energy_ac THEN 'implausible'
            WHEN energy_dc > 0.9 * energy_ac THEN 'excellent'
            WHEN energy_dc >= 0.85 * energy_ac THEN 'good'
            WHEN energy_dc >= 0.8 * energy_ac THEN 'warning' ELSE 'critical' END AS status
FROM ac FULL JOIN dc USING (vehicle_id, hour_start) FULL JOIN linked USING (vehicle_id, hour_start);

CREATE OR REPLACE TABLE charger_hour AS
WITH dc AS (
    SELECT l.meter_id AS device, r.hour_start, sum(r.energy) AS energy_dc, count(*) AS points_dc,
           count_if(is_reset) AS resets_dc, sum(covered_us) / 3.6e9 AS coverage_dc
    FROM vehicle_reading r
    JOIN links l ON r.device = l.vehicle_id AND r.timestamp >= l.valid_from
                AND r.timestamp < l.valid_to
    GROUP BY ALL
), ac AS (
    SELECT device, hour_start, sum(energy) AS energy_ac,
           sum(energy) FILTER (vehicle_id IS NULL) AS unlinked_energy_ac,
           count(*) AS points_ac, sum(duplicates) AS duplicates_ac, count_if(is_reset) AS resets_ac,
           sum(covered_us) / 3.6e9 AS coverage_ac, max(gap_us) / 1e6 AS gap_ac,
           list_sort(list(DISTINCT vehicle_id)) AS vehicle_ids
    FROM credited GROUP BY ALL
)
SELECT *, 100 * energy_dc / energy_ac AS efficiency_percent
FROM ac FULL JOIN dc USING (device, hour_start);

CREATE OR REPLACE TABLE fleet_hour AS
SELECT hour_start, sum(energy_ac) AS energy_ac,
       sum(energy_dc) FILTER (status <> 'unmapped') AS energy_dc,
       sum(energy_ac) FILTER (status IN ('excellent', 'good', 'warning', 'critical')) AS rated_ac,
       sum(energy_dc) FILTER (status IN ('excellent', 'good', 'warning', 'critical')) AS rated_dc,
       count(*) AS vehicles, count_if(status = 'critical') AS vehicles_critical
FROM vehicle_hour GROUP BY hour_start;

CREATE OR REPLACE TABLE vehicle_day AS
WITH whole AS (
    SELECT device AS vehicle_id, avg(battery_temp) AS average_battery_temp,
           sum(least(gap_us, 300e6)) / 86.4e9 AS coverage_dc, max(gap_us) / 1e6 AS gap_dc
    FROM vehicle_reading GROUP BY device
)
SELECT vehicle_id, sum(energy_ac) AS energy_ac, sum(energy_dc) AS energy_dc, count(*) AS hours,
       sum(points_ac) AS points_ac, sum(points_dc) AS points_dc, max(gap_ac) AS gap_ac,
       any_value(whole.gap_dc) AS gap_dc, any_value(whole.coverage_dc) AS coverage_dc,
       100 * sum(energy_dc) / sum(energy_ac) AS efficiency_percent
FROM vehicle_hour LEFT JOIN whole USING (vehicle_id) GROUP BY vehicle_id;

CREATE OR REPLACE TABLE charger_day AS
SELECT device, sum(energy_ac) AS energy_ac, sum(energy_dc) AS energy_dc, max(gap_ac) AS gap_ac,
       100 * sum(energy_dc) / sum(energy_ac) AS efficiency_percent
FROM charger_hour GROUP BY device;

CREATE OR REPLACE TABLE fleet_day AS
SELECT sum(energy_ac) AS energy_ac, sum(energy_dc) AS energy_dc, count(*) AS vehicles FROM vehicle_day;
