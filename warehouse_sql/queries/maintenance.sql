-- name: delete_maintenance_visits
DELETE FROM maintenance_visit

-- name: copy_maintenance_visits
COPY maintenance_visit
    ("date", device_kind, device_id, kind, since, confidence, size_percent, size,
     slope_percent_a_month, days_to_limit, days_to_limit_low, days_to_limit_high, may_be_kind,
     partner_id, sessions, others, median_temperature, median_power_kw, mean_coverage,
     share_linked_by_rule, energy_ac_kwh_a_year, at_stake_kwh_a_year, mending_saves_kwh_a_year,
     reason, state, first_seen, last_seen, opened_at, closed_at, closed_by, closed_reason,
     at_stake_a_year, mending_saves_a_year, currency)
FROM STDIN

-- name: maintenance_visits
SELECT "date", device_kind, device_id, kind, since, confidence, size_percent, size,
       slope_percent_a_month, days_to_limit, days_to_limit_low, days_to_limit_high, may_be_kind,
       partner_id, sessions, others, median_temperature, median_power_kw, mean_coverage,
       share_linked_by_rule, energy_ac_kwh_a_year, at_stake_kwh_a_year, mending_saves_kwh_a_year,
       reason, state, first_seen, last_seen, opened_at, closed_at, closed_by, closed_reason,
       at_stake_a_year, mending_saves_a_year, currency
FROM maintenance_visit ORDER BY device_kind, device_id

-- name: maintenance_decisions_between
SELECT device_kind, device_id, decided_at, decided_by, closes, reason FROM maintenance_decision
WHERE decided_at >= %(start)s AND decided_at < %(end)s ORDER BY decided_at, id

-- name: condition_day_before
SELECT max(day) FROM condition_day WHERE day < %(day)s

-- name: newest_condition_day
SELECT day, computed_at, sessions, first_session_at FROM condition_day ORDER BY day DESC LIMIT 1

-- name: mark_condition
INSERT INTO condition_day (day, computed_at, sessions, first_session_at)
VALUES (%(day)s, %(computed_at)s, %(sessions)s, %(first_session_at)s)
ON CONFLICT (day) DO UPDATE
SET (computed_at, sessions, first_session_at)
    = (excluded.computed_at, excluded.sessions, excluded.first_session_at)

-- name: outdated_condition_day
-- The first day with heartbeats before it whose condition was never computed, or whose sessions have
-- changed since, or the list of the day before. The hour after midnight tells which sessions have ended.
SELECT min(asked.day) AS day
FROM (SELECT generate_series(%(first)s::date, %(last)s::date, '1 day')::date AS day) AS asked
LEFT JOIN condition_day AS known ON known.day = asked.day
LEFT JOIN condition_day AS before ON before.day = asked.day - 1
WHERE asked.day >= (SELECT (min(hour) AT TIME ZONE 'UTC')::date FROM partition_ledger
                    WHERE published_at IS NOT NULL)
  AND (known.computed_at IS NULL OR before.computed_at > known.computed_at
       OR EXISTS (SELECT FROM partition_ledger
                  WHERE hour >= asked.day::timestamp AT TIME ZONE 'UTC'
                    AND hour <= (asked.day + 1)::timestamp AT TIME ZONE 'UTC'
                    AND published_at > known.computed_at))
