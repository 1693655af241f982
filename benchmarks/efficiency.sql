-- The efficiency tables of a day as DuckDB computes them: what `make bench` compares ours with.
-- The same files, links, energies, credit, coverage, matched shares, gaps, counts, statuses and
-- sums by hour, and by the day as one window. It is spared some of what we do: where links change
-- within an hour only the AC side is cut by them, meters that feed one vehicle share its energy by
-- the hour, a register's energy is spread over the time since any reading, and a reading without a
-- value covers nothing.
-- There must be the views `meter_telemetry_history` and `vehicle_telemetry_history` (the files) and
-- `links` (meter_id, vehicle_id, valid_from, valid_to).

CREATE OR REPLACE VIEW meter_reading AS
WITH sorted AS (
    SELECT meter_id AS device, timestamp, kwh_consumed_ac AS value, reading_type, duplicates,
           lag(timestamp) OVER device AS previous,
           last_value(CASE WHEN reading_type = 'register' THEN kwh_consumed_ac END IGNORE NULLS)
               OVER (device ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS last_register,
           last_value(CASE WHEN reading_type = 'register' THEN kwh_consumed_ac END IGNORE NULLS)
               OVER (device ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING) AS register_before,
           lag(kwh_consumed_ac) OVER device IS NOT NULL
               AND (lag(reading_type) OVER device = 'interval' OR register_before IS NOT NULL)
               AS follows_known
    FROM meter_telemetry_history
    WINDOW device AS (PARTITION BY meter_id ORDER BY timestamp)
)
SELECT device, timestamp, date_trunc('hour', timestamp) AS hour_start, duplicates, previous,
       CASE WHEN follows_known THEN previous END AS previous_known,
       CASE WHEN reading_type = 'interval' THEN value
            WHEN value - last_register < -0.15 THEN value
            ELSE value - last_register END AS energy,
       coalesce(reading_type = 'register' AND value - last_register < -0.15, false) AS is_reset,
       coalesce(previous, timestamp - INTERVAL 60 SECOND) AS flowed_from,
       CASE WHEN energy IS NULL THEN NULL
            WHEN reading_type = 'register' AND energy <= 0 THEN previous
            ELSE greatest(flowed_from, timestamp - INTERVAL 300 SECOND) END AS known_from
FROM sorted;

CREATE OR REPLACE TABLE vehicle_reading AS
WITH sorted AS (
    SELECT vehicle_id AS device, timestamp, kwh_delivered_dc AS value, reading_type, duplicates,
           battery_temp,
           lag(timestamp) OVER device AS previous,
           last_value(CASE WHEN reading_type = 'register' THEN kwh_delivered_dc END IGNORE NULLS)
               OVER (device ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS last_register,
           last_value(CASE WHEN reading_type = 'register' THEN kwh_delivered_dc END IGNORE NULLS)
               OVER (device ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING) AS register_before,
           lag(kwh_delivered_dc) OVER device IS NOT NULL
               AND (lag(reading_type) OVER device = 'interval' OR register_before IS NOT NULL)
               AS follows_known
    FROM vehicle_telemetry_history
    WINDOW device AS (PARTITION BY vehicle_id ORDER BY timestamp)
)
SELECT device, timestamp, date_trunc('hour', timestamp) AS hour_start, duplicates, previous,
       CASE WHEN follows_known THEN previous END AS previous_known,
       battery_temp,
       CASE WHEN reading_type = 'interval' THEN value
            WHEN value - last_register < -0.15 THEN value
            ELSE value - last_register END AS energy,
       coalesce(reading_type = 'register' AND value - last_register < -0.15, false) AS is_reset,
       coalesce(previous, timestamp - INTERVAL 60 SECOND) AS flowed_from,
       CASE WHEN energy IS NULL THEN NULL
            WHEN reading_type = 'register' AND energy <= 0 THEN previous
            ELSE greatest(flowed_from, timestamp - INTERVAL 300 SECOND) END AS known_from
FROM sorted;

CREATE OR REPLACE TABLE credited AS
SELECT r.*, CASE WHEN r.timestamp < l.valid_to THEN l.vehicle_id END AS vehicle_id
FROM meter_reading r
ASOF LEFT JOIN links l ON r.device = l.meter_id AND r.timestamp >= l.valid_from;

-- Known time in pieces. Few readings begin one; where the next begins, the one before has ended.
CREATE OR REPLACE TABLE known_ac_hour AS
WITH cut AS (
    SELECT vehicle_id AS vehicle_id, hour_start AS window_start, timestamp, previous_known, known_from
    FROM credited WHERE known_from IS NOT NULL AND vehicle_id IS NOT NULL
), begun AS (
    SELECT *, greatest(known_from, window_start) AS begins FROM cut
    WHERE previous_known IS NULL OR previous_known < window_start OR known_from > previous_known
), until AS (
    SELECT vehicle_id, window_start, max(timestamp) AS last FROM cut GROUP BY ALL
)
SELECT vehicle_id, window_start, begins,
       coalesce(lead(previous_known) OVER (PARTITION BY vehicle_id, window_start ORDER BY begins),
                last) AS ends
FROM begun JOIN until USING (vehicle_id, window_start);


CREATE OR REPLACE TABLE known_ac_day AS
WITH cut AS (
    SELECT vehicle_id AS vehicle_id, date_trunc('day', timestamp) AS window_start, timestamp, previous_known, known_from
    FROM credited WHERE known_from IS NOT NULL AND vehicle_id IS NOT NULL
), begun AS (
    SELECT *, greatest(known_from, window_start) AS begins FROM cut
    WHERE previous_known IS NULL OR previous_known < window_start OR known_from > previous_known
), until AS (
    SELECT vehicle_id, window_start, max(timestamp) AS last FROM cut GROUP BY ALL
)
SELECT vehicle_id, window_start, begins,
       coalesce(lead(previous_known) OVER (PARTITION BY vehicle_id, window_start ORDER BY begins),
                last) AS ends
FROM begun JOIN until USING (vehicle_id, window_start);


CREATE OR REPLACE TABLE known_dc_hour AS
WITH cut AS (
    SELECT device AS vehicle_id, hour_start AS window_start, timestamp, previous_known, known_from
    FROM vehicle_reading WHERE known_from IS NOT NULL
), begun AS (
    SELECT *, greatest(known_from, window_start) AS begins FROM cut
    WHERE previous_known IS NULL OR previous_known < window_start OR known_from > previous_known
), until AS (
    SELECT vehicle_id, window_start, max(timestamp) AS last FROM cut GROUP BY ALL
)
SELECT vehicle_id, window_start, begins,
       coalesce(lead(previous_known) OVER (PARTITION BY vehicle_id, window_start ORDER BY begins),
                last) AS ends
FROM begun JOIN until USING (vehicle_id, window_start);


CREATE OR REPLACE TABLE known_dc_day AS
WITH cut AS (
    SELECT device AS vehicle_id, date_trunc('day', timestamp) AS window_start, timestamp, previous_known, known_from
    FROM vehicle_reading WHERE known_from IS NOT NULL
), begun AS (
    SELECT *, greatest(known_from, window_start) AS begins FROM cut
    WHERE previous_known IS NULL OR previous_known < window_start OR known_from > previous_known
), until AS (
    SELECT vehicle_id, window_start, max(timestamp) AS last FROM cut GROUP BY ALL
)
SELECT vehicle_id, window_start, begins,
       coalesce(lead(previous_known) OVER (PARTITION BY vehicle_id, window_start ORDER BY begins),
                last) AS ends
FROM begun JOIN until USING (vehicle_id, window_start);


-- The part of the energies that lies in known time of the other side.
CREATE OR REPLACE TABLE matched_ac_hour AS
WITH flowed AS (
    SELECT vehicle_id AS vehicle_id, device AS meter_id, timestamp, hour_start AS window_start,
           abs(energy) AS weight, greatest(flowed_from, hour_start) AS since
    FROM credited WHERE energy <> 0 AND vehicle_id IS NOT NULL
), of_known AS (
    SELECT vehicle_id, meter_id, window_start,
           sum(weight * CASE WHEN since < timestamp THEN
               (epoch_us(least(timestamp, ends)) - epoch_us(greatest(since, begins)))
               / (epoch_us(timestamp) - epoch_us(since)) ELSE 1 END) AS matched
    FROM flowed JOIN known_dc_hour USING (vehicle_id, window_start)
    WHERE begins <= timestamp AND ends >= since
    GROUP BY ALL
), of_all AS (
    SELECT vehicle_id, meter_id, window_start, sum(weight) AS weight FROM flowed GROUP BY ALL
)
SELECT a.*, coalesce(k.matched, 0) AS matched
FROM of_all a LEFT JOIN of_known k
    ON a.vehicle_id = k.vehicle_id AND a.window_start = k.window_start
    AND a.meter_id IS NOT DISTINCT FROM k.meter_id;

CREATE OR REPLACE TABLE matched_ac_day AS
WITH flowed AS (
    SELECT vehicle_id AS vehicle_id, device AS meter_id, timestamp, date_trunc('day', timestamp) AS window_start,
           abs(energy) AS weight, greatest(flowed_from, date_trunc('day', timestamp)) AS since
    FROM credited WHERE energy <> 0 AND vehicle_id IS NOT NULL
), of_known AS (
    SELECT vehicle_id, meter_id, window_start,
           sum(weight * CASE WHEN since < timestamp THEN
               (epoch_us(least(timestamp, ends)) - epoch_us(greatest(since, begins)))
               / (epoch_us(timestamp) - epoch_us(since)) ELSE 1 END) AS matched
    FROM flowed JOIN known_dc_day USING (vehicle_id, window_start)
    WHERE begins <= timestamp AND ends >= since
    GROUP BY ALL
), of_all AS (
    SELECT vehicle_id, meter_id, window_start, sum(weight) AS weight FROM flowed GROUP BY ALL
)
SELECT a.*, coalesce(k.matched, 0) AS matched
FROM of_all a LEFT JOIN of_known k
    ON a.vehicle_id = k.vehicle_id AND a.window_start = k.window_start
    AND a.meter_id IS NOT DISTINCT FROM k.meter_id;

CREATE OR REPLACE TABLE matched_dc_hour AS
WITH flowed AS (
    SELECT device AS vehicle_id, NULL::VARCHAR AS meter_id, timestamp, hour_start AS window_start,
           abs(energy) AS weight, greatest(flowed_from, hour_start) AS since
    FROM vehicle_reading WHERE energy <> 0
), of_known AS (
    SELECT vehicle_id, meter_id, window_start,
           sum(weight * CASE WHEN since < timestamp THEN
               (epoch_us(least(timestamp, ends)) - epoch_us(greatest(since, begins)))
               / (epoch_us(timestamp) - epoch_us(since)) ELSE 1 END) AS matched
    FROM flowed JOIN known_ac_hour USING (vehicle_id, window_start)
    WHERE begins <= timestamp AND ends >= since
    GROUP BY ALL
), of_all AS (
    SELECT vehicle_id, meter_id, window_start, sum(weight) AS weight FROM flowed GROUP BY ALL
)
SELECT a.*, coalesce(k.matched, 0) AS matched
FROM of_all a LEFT JOIN of_known k
    ON a.vehicle_id = k.vehicle_id AND a.window_start = k.window_start
    AND a.meter_id IS NOT DISTINCT FROM k.meter_id;

CREATE OR REPLACE TABLE matched_dc_day AS
WITH flowed AS (
    SELECT device AS vehicle_id, NULL::VARCHAR AS meter_id, timestamp, date_trunc('day', timestamp) AS window_start,
           abs(energy) AS weight, greatest(flowed_from, date_trunc('day', timestamp)) AS since
    FROM vehicle_reading WHERE energy <> 0
), of_known AS (
    SELECT vehicle_id, meter_id, window_start,
           sum(weight * CASE WHEN since < timestamp THEN
               (epoch_us(least(timestamp, ends)) - epoch_us(greatest(since, begins)))
               / (epoch_us(timestamp) - epoch_us(since)) ELSE 1 END) AS matched
    FROM flowed JOIN known_ac_day USING (vehicle_id, window_start)
    WHERE begins <= timestamp AND ends >= since
    GROUP BY ALL
), of_all AS (
    SELECT vehicle_id, meter_id, window_start, sum(weight) AS weight FROM flowed GROUP BY ALL
)
SELECT a.*, coalesce(k.matched, 0) AS matched
FROM of_all a LEFT JOIN of_known k
    ON a.vehicle_id = k.vehicle_id AND a.window_start = k.window_start
    AND a.meter_id IS NOT DISTINCT FROM k.meter_id;

CREATE OR REPLACE TABLE vehicle_hour AS
WITH ac AS (
    SELECT vehicle_id, hour_start, sum(energy) AS energy_ac, count(*) AS points_ac,
           sum(duplicates) AS duplicates_ac, count_if(is_reset) AS resets_ac,
           greatest(max(epoch_us(timestamp) - epoch_us(greatest(previous, hour_start))),
                    3.6e9 - max(epoch_us(timestamp) - epoch_us(hour_start))) / 1e6 AS gap_ac,
           list_sort(list(DISTINCT device)) AS meter_ids
    FROM credited WHERE vehicle_id IS NOT NULL GROUP BY ALL
), dc AS (
    SELECT device AS vehicle_id, hour_start, sum(energy) AS energy_dc, count(*) AS points_dc,
           sum(duplicates) AS duplicates_dc, count_if(is_reset) AS resets_dc,
           avg(battery_temp) AS average_battery_temp,
           greatest(max(epoch_us(timestamp) - epoch_us(greatest(previous, hour_start))),
                    3.6e9 - max(epoch_us(timestamp) - epoch_us(hour_start))) / 1e6 AS gap_dc
    FROM vehicle_reading GROUP BY ALL
), covered_ac AS (
    SELECT vehicle_id, window_start AS hour_start,
           sum(epoch_us(ends) - epoch_us(begins)) / 3.6e9 AS coverage_ac
    FROM known_ac_hour GROUP BY ALL
), covered_dc AS (
    SELECT vehicle_id, window_start AS hour_start,
           sum(epoch_us(ends) - epoch_us(begins)) / 3.6e9 AS coverage_dc
    FROM known_dc_hour GROUP BY ALL
), share_ac AS (
    SELECT vehicle_id, window_start AS hour_start, sum(matched) / sum(weight) AS share_ac
    FROM matched_ac_hour GROUP BY ALL
), share_dc AS (
    SELECT vehicle_id, window_start AS hour_start, sum(matched) / sum(weight) AS share_dc
    FROM matched_dc_hour GROUP BY ALL
), linked AS (
    SELECT DISTINCT vehicle_id, true AS is_linked, unnest(generate_series(
               date_trunc('hour', valid_from), valid_to - INTERVAL 1 MICROSECOND, INTERVAL 1 HOUR
           )) AS hour_start
    FROM links
)
SELECT *, 100 * energy_dc / energy_ac AS efficiency_percent, energy_ac - energy_dc AS loss,
       CASE WHEN is_linked IS NULL THEN 'unmapped'
            WHEN energy_ac < 0.05 AND coalesce(energy_dc, 0) < 0.05 THEN 'idle'
            WHEN energy_ac IS NULL OR energy_dc IS NULL OR share_ac < 0.9 OR share_dc < 0.9
                THEN 'insufficient_data'
            WHEN energy_dc <= 0 OR energy_dc > energy_ac THEN 'implausible'
            WHEN energy_dc > 0.9 * energy_ac THEN 'excellent'
            WHEN energy_dc >= 0.85 * energy_ac THEN 'good'
            WHEN energy_dc >= 0.8 * energy_ac THEN 'warning' ELSE 'critical' END AS status
FROM ac FULL JOIN dc USING (vehicle_id, hour_start) FULL JOIN linked USING (vehicle_id, hour_start)
LEFT JOIN covered_ac USING (vehicle_id, hour_start)
LEFT JOIN covered_dc USING (vehicle_id, hour_start)
LEFT JOIN share_ac USING (vehicle_id, hour_start)
LEFT JOIN share_dc USING (vehicle_id, hour_start);

-- Where several meters feed a vehicle, each has the part of its energy that it gave.
CREATE OR REPLACE TABLE given AS
WITH by_meter AS (
    SELECT vehicle_id, hour_start, device, greatest(coalesce(sum(energy), 0), 0) AS energy
    FROM credited WHERE vehicle_id IS NOT NULL GROUP BY ALL
)
SELECT vehicle_id, hour_start, device,
       coalesce(energy / nullif(sum(energy) OVER same, 0),
                (row_number() OVER (same ORDER BY device) = 1)::INTEGER) AS part
FROM by_meter WINDOW same AS (PARTITION BY vehicle_id, hour_start);

CREATE OR REPLACE TABLE charger_hour AS
WITH dc AS (
    SELECT l.meter_id AS device, r.hour_start, sum(r.energy * coalesce(g.part, 1)) AS energy_dc,
           count(*) AS points_dc, sum(r.duplicates) AS duplicates_dc, count_if(is_reset) AS resets_dc
    FROM vehicle_reading r
    JOIN links l ON r.device = l.vehicle_id AND r.timestamp >= l.valid_from
                AND r.timestamp < l.valid_to
    LEFT JOIN given g ON r.device = g.vehicle_id AND r.hour_start = g.hour_start
                     AND l.meter_id = g.device
    GROUP BY ALL
), ac AS (
    SELECT device, hour_start, sum(energy) AS measured_ac,
           sum(energy) FILTER (vehicle_id IS NOT NULL) AS energy_ac,
           sum(energy) FILTER (vehicle_id IS NULL) AS unlinked_energy_ac,
           count(*) AS points_ac, sum(duplicates) AS duplicates_ac, count_if(is_reset) AS resets_ac,
           sum(epoch_us(timestamp) - epoch_us(greatest(known_from, hour_start)))
               / 3.6e9 AS coverage_ac,
           greatest(max(epoch_us(timestamp) - epoch_us(greatest(previous, hour_start))),
                    3.6e9 - max(epoch_us(timestamp) - epoch_us(hour_start))) / 1e6 AS gap_ac,
           list_sort(list(DISTINCT vehicle_id)) AS vehicle_ids
    FROM credited GROUP BY ALL
), share_ac AS (
    SELECT meter_id AS device, window_start AS hour_start, sum(matched) / sum(weight) AS share_ac
    FROM matched_ac_hour GROUP BY ALL
), of_vehicle AS (
    SELECT g.device, g.hour_start, arg_max(share_dc, part) AS share_dc,
           arg_max(coverage_dc, part) AS coverage_dc
    FROM given g JOIN vehicle_hour USING (vehicle_id, hour_start) GROUP BY ALL
)
SELECT *, 100 * energy_dc / energy_ac AS efficiency_percent, energy_ac - energy_dc AS loss,
       CASE WHEN len(vehicle_ids) = 0 THEN 'unmapped'
            WHEN energy_ac < 0.05 AND coalesce(energy_dc, 0) < 0.05 THEN 'idle'
            WHEN energy_ac IS NULL OR energy_dc IS NULL OR share_ac < 0.9 OR share_dc < 0.9
                THEN 'insufficient_data'
            WHEN energy_dc <= 0 OR energy_dc > energy_ac THEN 'implausible'
            WHEN energy_dc > 0.9 * energy_ac THEN 'excellent'
            WHEN energy_dc >= 0.85 * energy_ac THEN 'good'
            WHEN energy_dc >= 0.8 * energy_ac THEN 'warning' ELSE 'critical' END AS status
FROM ac FULL JOIN dc USING (device, hour_start)
LEFT JOIN share_ac USING (device, hour_start)
LEFT JOIN of_vehicle USING (device, hour_start);

CREATE OR REPLACE TABLE fleet_hour AS
SELECT hour_start, sum(energy_ac) AS energy_ac,
       sum(energy_dc) FILTER (status <> 'unmapped') AS energy_dc,
       sum(energy_ac) FILTER (status IN ('excellent', 'good', 'warning', 'critical')) AS rated_ac,
       sum(energy_dc) FILTER (status IN ('excellent', 'good', 'warning', 'critical')) AS rated_dc,
       count(*) AS vehicles, count_if(status = 'critical') AS vehicles_critical,
       count_if(status = 'insufficient_data') AS vehicles_insufficient_data
FROM vehicle_hour GROUP BY hour_start;

CREATE OR REPLACE TABLE vehicle_day AS
WITH sums AS (
    SELECT vehicle_id, sum(energy_ac) AS energy_ac, sum(energy_dc) AS energy_dc, count(*) AS hours,
           sum(points_ac) AS points_ac, sum(points_dc) AS points_dc, sum(resets_ac) AS resets_ac,
           sum(resets_dc) AS resets_dc, bool_or(is_linked) AS is_linked
    FROM vehicle_hour GROUP BY vehicle_id
), whole AS (
    SELECT device AS vehicle_id, avg(battery_temp) AS average_battery_temp,
           max(epoch_us(timestamp) - epoch_us(previous)) / 1e6 AS gap_dc
    FROM vehicle_reading GROUP BY device
), gap_ac AS (
    SELECT vehicle_id, max(epoch_us(timestamp) - epoch_us(previous)) / 1e6 AS gap_ac
    FROM credited WHERE vehicle_id IS NOT NULL GROUP BY vehicle_id
), covered_ac AS (
    SELECT vehicle_id, sum(epoch_us(ends) - epoch_us(begins)) / 86.4e9 AS coverage_ac
    FROM known_ac_day GROUP BY ALL
), covered_dc AS (
    SELECT vehicle_id, sum(epoch_us(ends) - epoch_us(begins)) / 86.4e9 AS coverage_dc
    FROM known_dc_day GROUP BY ALL
), share_ac AS (
    SELECT vehicle_id, sum(matched) / sum(weight) AS share_ac FROM matched_ac_day GROUP BY ALL
), share_dc AS (
    SELECT vehicle_id, sum(matched) / sum(weight) AS share_dc FROM matched_dc_day GROUP BY ALL
)
SELECT *, 100 * energy_dc / energy_ac AS efficiency_percent,
       CASE WHEN is_linked IS NULL THEN 'unmapped'
            WHEN energy_ac < 1.2 AND coalesce(energy_dc, 0) < 0.05 THEN 'idle'
            WHEN energy_ac IS NULL OR energy_dc IS NULL OR share_ac < 0.9 OR share_dc < 0.9
                THEN 'insufficient_data'
            WHEN energy_dc <= 0 OR energy_dc > energy_ac THEN 'implausible'
            WHEN energy_dc > 0.9 * energy_ac THEN 'excellent'
            WHEN energy_dc >= 0.85 * energy_ac THEN 'good'
            WHEN energy_dc >= 0.8 * energy_ac THEN 'warning' ELSE 'critical' END AS status
FROM sums LEFT JOIN whole USING (vehicle_id) LEFT JOIN gap_ac USING (vehicle_id)
LEFT JOIN covered_ac USING (vehicle_id) LEFT JOIN covered_dc USING (vehicle_id)
LEFT JOIN share_ac USING (vehicle_id) LEFT JOIN share_dc USING (vehicle_id);

CREATE OR REPLACE TABLE charger_day AS
WITH sums AS (
    SELECT device, sum(energy_ac) AS energy_ac, sum(energy_dc) AS energy_dc,
           sum(unlinked_energy_ac) AS unlinked_energy_ac, max(len(vehicle_ids)) AS vehicles
    FROM charger_hour GROUP BY device
), whole AS (
    SELECT device, max(epoch_us(timestamp) - epoch_us(previous)) / 1e6 AS gap_ac,
           sum(epoch_us(timestamp) - epoch_us(greatest(known_from, date_trunc('day', timestamp))))
               / 86.4e9 AS coverage_ac
    FROM credited GROUP BY device
), share_ac AS (
    SELECT meter_id AS device, sum(matched) / sum(weight) AS share_ac
    FROM matched_ac_day GROUP BY ALL
), of_vehicle AS (
    SELECT device, arg_max(share_dc, part) AS share_dc, arg_max(coverage_dc, part) AS coverage_dc
    FROM (SELECT vehicle_id, device, sum(part) AS part FROM given GROUP BY ALL)
    JOIN vehicle_day USING (vehicle_id) GROUP BY ALL
)
SELECT *, 100 * energy_dc / energy_ac AS efficiency_percent,
       CASE WHEN vehicles = 0 THEN 'unmapped'
            WHEN energy_ac < 1.2 AND coalesce(energy_dc, 0) < 0.05 THEN 'idle'
            WHEN energy_ac IS NULL OR energy_dc IS NULL OR share_ac < 0.9 OR share_dc < 0.9
                THEN 'insufficient_data'
            WHEN energy_dc <= 0 OR energy_dc > energy_ac THEN 'implausible'
            WHEN energy_dc > 0.9 * energy_ac THEN 'excellent'
            WHEN energy_dc >= 0.85 * energy_ac THEN 'good'
            WHEN energy_dc >= 0.8 * energy_ac THEN 'warning' ELSE 'critical' END AS status
FROM sums LEFT JOIN whole USING (device) LEFT JOIN share_ac USING (device)
LEFT JOIN of_vehicle USING (device);

CREATE OR REPLACE TABLE fleet_day AS
SELECT sum(energy_ac) AS energy_ac, sum(energy_dc) AS energy_dc, count(*) AS vehicles,
       count_if(status = 'critical') AS vehicles_critical
FROM vehicle_day;
