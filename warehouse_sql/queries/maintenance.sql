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

-- name: judged_condition_days
-- Days whose empty list says that nobody is to be visited: there were enough sessions, and eight weeks of
-- them for a trend and one until a visit opens.
SELECT day FROM condition_day
WHERE sessions >= 200
  AND first_session_at <= (day + 1)::timestamp AT TIME ZONE 'UTC' - interval '9 weeks'
ORDER BY day

-- name: outdate_condition
-- Days that are computed again, whatever their age.
UPDATE condition_day SET computed_at = 'epoch' WHERE day = ANY(%(days)s)

-- name: outdated_condition_day
-- The first day with heartbeats before it whose condition was never computed, or whose sessions have
-- changed since, or the list of the day before. The hour after midnight tells which sessions have ended.
SELECT min(asked.day) AS day
FROM (SELECT generate_series(
          least(%(first)s::date, (SELECT min(day) FROM condition_day WHERE computed_at = 'epoch')),
          %(last)s::date, '1 day')::date AS day) AS asked
LEFT JOIN condition_day AS known ON known.day = asked.day
LEFT JOIN condition_day AS before ON before.day = asked.day - 1
WHERE asked.day >= (SELECT (min(hour) AT TIME ZONE 'UTC')::date FROM partition_ledger
                    WHERE published_at IS NOT NULL)
  AND (known.computed_at IS NULL OR before.computed_at > known.computed_at
       OR EXISTS (SELECT FROM partition_ledger
                  WHERE hour >= asked.day::timestamp AT TIME ZONE 'UTC'
                    AND hour <= (asked.day + 1)::timestamp AT TIME ZONE 'UTC'
                    AND published_at > known.computed_at))

-- name: hours_arriving
-- Hours that came lately and were never computed, as while files are imported. Others, to which late
-- heartbeats came, may go on for ever.
SELECT count(DISTINCT hour) FROM unpublished_hour
WHERE hour < %(end)s AND published_version IS NULL AND last_arrival > %(since)s

-- name: list_maintenance
-- The most money first; where no price is known, and of equal money, the most energy.
SELECT * FROM mart.maintenance
WHERE state = ANY(%(states)s)
  AND (%(kinds)s::text[] IS NULL OR kind = ANY(%(kinds)s))
  AND (%(device_kind)s::text IS NULL OR device_kind = %(device_kind)s)
  AND (%(device_id)s::text IS NULL OR device_id = %(device_id)s)
  AND (%(depots)s::text[] IS NULL OR depot = ANY(%(depots)s))
  AND (%(groups)s::text[] IS NULL OR "group" = ANY(%(groups)s))
  AND (%(after_id)s::text IS NULL
       OR (coalesce(at_stake_a_year, '-infinity'), at_stake_kwh_a_year)
          < (coalesce(%(after_money)s::float8, '-infinity'), %(after_energy)s::float8)
       OR coalesce(at_stake_a_year, '-infinity') = coalesce(%(after_money)s::float8, '-infinity')
          AND at_stake_kwh_a_year = %(after_energy)s::float8
          AND (device_kind, device_id) > (%(after_kind)s::text, %(after_id)s::text))
ORDER BY at_stake_a_year DESC NULLS LAST, at_stake_kwh_a_year DESC, device_kind, device_id
LIMIT %(limit)s

-- name: maintenance_totals
-- How many devices of a kind and currency there are, and what is at stake at all of them.
SELECT device_kind, currency, count(*) AS visits,
       sum(at_stake_kwh_a_year) AS at_stake_kwh_a_year,
       sum(mending_saves_kwh_a_year) AS mending_saves_kwh_a_year,
       sum(at_stake_a_year) AS at_stake_a_year, sum(mending_saves_a_year) AS mending_saves_a_year
FROM mart.maintenance
WHERE state = ANY(%(states)s)
  AND (%(kinds)s::text[] IS NULL OR kind = ANY(%(kinds)s))
  AND (%(device_kind)s::text IS NULL OR device_kind = %(device_kind)s)
  AND (%(device_id)s::text IS NULL OR device_id = %(device_id)s)
  AND (%(depots)s::text[] IS NULL OR depot = ANY(%(depots)s))
  AND (%(groups)s::text[] IS NULL OR "group" = ANY(%(groups)s))
GROUP BY device_kind, currency
ORDER BY device_kind, currency

-- name: one_maintenance
SELECT * FROM mart.maintenance WHERE device_kind = %(device_kind)s AND device_id = %(device_id)s

-- name: decide_maintenance
-- Closes a visit that is open, or opens one that a person has closed; no row where it is neither.
INSERT INTO maintenance_decision (device_kind, device_id, decided_by, closes, reason)
SELECT device_kind, device_id, %(by)s, %(closes)s, %(reason)s FROM mart.maintenance
WHERE device_kind = %(device_kind)s AND device_id = %(device_id)s
  AND CASE WHEN %(closes)s THEN state = 'open' ELSE state = 'closed' AND closed_by IS NOT NULL END
RETURNING id
