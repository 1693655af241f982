-- name: note_publication
-- Last in the transaction that publishes: whoever sees the number sees the rows.
UPDATE mart_publication SET publication = publication + 1

-- name: try_alert_lease
-- Of all collectors one at a time does each of these works; see ingestion_api.alerts.leased_worker.
SELECT pg_try_advisory_lock(6736, hashtext(%(work)s)) AS is_taken

-- name: alert_snapshot
-- First in a transaction whose statements must see the same heartbeats.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ

-- name: alert_plans
-- Hash joins take the same time whatever the planner believes; nested loops do not, and the tables
-- of conditions grow by thousands of rows before it hears of them.
SET LOCAL enable_nestloop = off

-- name: record_alert_evaluation
-- Notes that somebody watches. After a pause nobody knows how long a device was silent, nor where the
-- pause was that of a clock ahead.
UPDATE alert_progress SET
    watching_since = CASE WHEN looked_at < %(now)s - interval '1 minute'
                            OR watching_since > %(now)s + interval '1 minute'
                          THEN %(now)s::timestamptz ELSE watching_since END,
    looked_at = %(now)s
WHERE looked_at NOT BETWEEN %(now)s - interval '10 seconds' AND %(now)s + interval '1 minute'

-- name: alert_soc_peaks
-- Keeps the highest state of charge of each vehicle that is plugged in, since its meter delivers:
-- the meter that its heartbeat names, else the first by id of those linked to it. An interval
-- delivers with more than the power at which a window is idle; a register, if it has risen by more
-- than that since the peak. One that has not for `gap` seconds, or for one and a half cadences of the
-- meter, begins the peak anew, and so does one whose peak is later than its newest heartbeat: a clock was
-- ahead. Only vehicles heard since the given time are looked at: the others are as they were.
WITH heard AS MATERIALIZED (
    SELECT vehicle_id, soc, "timestamp" AS at, meter_id
    FROM vehicle_live_state WHERE received_at >= %(since)s AND soc IS NOT NULL
), plugged AS MATERIALIZED (
    SELECT heard.vehicle_id, heard.soc, heard.at, meter.meter_id, meter.kwh_consumed_ac,
           meter."timestamp" AS meter_at, meter.reading_type, seconds, gap
    FROM heard
    LEFT JOIN LATERAL (SELECT link.meter_id FROM charging_link AS link
                       WHERE heard.meter_id IS NULL
                         AND link.vehicle_id = heard.vehicle_id COLLATE "default"
                         AND link.valid @> heard.at
                       ORDER BY link.meter_id LIMIT 1) AS linked ON true
    JOIN meter_live_state AS meter
        ON meter.meter_id = coalesce(heard.meter_id, linked.meter_id) COLLATE "C"
    CROSS JOIN LATERAL
        (SELECT coalesce(meter.interval_seconds, meter.cadence_seconds, %(nominal)s) AS seconds,
                make_interval(secs => greatest(%(gap)s, 1.5 * device_cadence(
                    meter.interval_seconds, meter.cadence_seconds, %(nominal)s))) AS gap) AS flow
    WHERE meter.kwh_consumed_ac IS NOT NULL
      AND meter."timestamp" >= heard.at - gap
      AND meter."timestamp" <= %(believed_until)s
), kept AS (
    INSERT INTO alert_soc_peak AS peak (vehicle_id, soc, at, meter_id, kwh_consumed_ac)
    SELECT plugged.vehicle_id, plugged.soc, plugged.at, plugged.meter_id, plugged.kwh_consumed_ac
    FROM plugged LEFT JOIN alert_soc_peak AS known ON known.vehicle_id = plugged.vehicle_id
    WHERE known.vehicle_id IS NULL
       OR known.meter_id <> plugged.meter_id
       OR plugged.soc > known.soc
       OR plugged.at < known.at
       OR (plugged.soc < known.soc
           AND CASE plugged.reading_type
                   WHEN 'register' THEN
                       plugged.kwh_consumed_ac < known.kwh_consumed_ac
                       OR plugged.meter_at - known.at >= plugged.gap
                          AND plugged.kwh_consumed_ac - known.kwh_consumed_ac
                              <= %(idle_kw)s::float8
                                 * extract(epoch FROM plugged.meter_at - known.at)::float8 / 3600
                   ELSE plugged.kwh_consumed_ac <= %(idle_kw)s::float8 * plugged.seconds / 3600
               END)
    ON CONFLICT (vehicle_id) DO UPDATE SET
        soc = excluded.soc, at = excluded.at, meter_id = excluded.meter_id,
        kwh_consumed_ac = excluded.kwh_consumed_ac
)
DELETE FROM alert_soc_peak AS peak
USING heard
WHERE heard.vehicle_id = peak.vehicle_id
  AND NOT EXISTS (SELECT FROM plugged WHERE plugged.vehicle_id = peak.vehicle_id)

-- name: alert_live
-- What live state says that is news to a rule: a value beyond its threshold, or another value than
-- that of its open alert or pending condition. A silence is news again when it ends. A retired
-- device is not silent, and what it said before is nothing to hear of any more; the same holds of one in
-- no depot or group that the rule names. A heartbeat of a time
-- that is not believed is none that was heard. What was old already when it was received, as by an
-- import of chargers long gone, is history: it opens nothing, and nobody expects more of its device. A
-- device that sends more seldom than once in a nominal interval is silent after some of its own cadences
-- (`patience`) at the earliest. The filters of the scans let only few devices through: all of them are
-- scanned every second.
WITH rule AS MATERIALIZED (
    SELECT * FROM unnest(%(rules)s::text[], %(kinds)s::text[], %(device_kinds)s::text[],
                         %(thresholds)s::float8[], %(clears)s::float8[],
                         %(depots)s::text[]::jsonb[], %(groups)s::text[]::jsonb[])
        AS rule (rule, kind, device_kind, threshold, clear, depots, groups)
), least AS MATERIALIZED (
    SELECT temperature, voltage, soc,
           -- Before somebody has watched for so long, no device is silent.
           CASE WHEN watching_since < silent THEN silent END AS silent
    FROM (SELECT min(threshold) FILTER (WHERE kind = 'battery_temperature') AS temperature,
                 min(threshold) FILTER (WHERE kind = 'voltage') AS voltage,
                 min(threshold) FILTER (WHERE kind = 'soc_falling') AS soc,
                 %(now)s - make_interval(secs => min(threshold) FILTER (WHERE kind = 'silent'))
                     AS silent
          FROM rule) AS rule CROSS JOIN alert_progress
), tracked AS MATERIALIZED (
    SELECT rule.kind, rule.device_kind, device_id
    FROM rule JOIN alert ON alert.rule = rule.rule AND alert.device_kind = rule.device_kind
    WHERE resolved_at IS NULL
    UNION ALL
    SELECT rule.kind, rule.device_kind, device_id
    FROM rule JOIN alert_pending AS pending
        ON pending.rule = rule.rule AND pending.device_kind = rule.device_kind
), retired AS MATERIALIZED (
    SELECT stream, device_id, retired_at FROM device WHERE retired_at <= %(now)s
), own_nominal AS (
    SELECT device_id, voltage
    FROM device
    JOIN unnest(%(classes)s::text[], %(voltages)s::float8[]) AS class (name, voltage)
        ON name = charger_class
    WHERE stream = 'meter'
), silent AS (
    SELECT 'vehicle' AS device_kind, vehicle_id AS device_id, "timestamp", received_at,
           %(silent_intervals)s * cadence AS patience
    FROM vehicle_live_state CROSS JOIN LATERAL
         (SELECT nullif(greatest(device_cadence(interval_seconds, cadence_seconds, %(nominal)s),
                                 %(nominal)s), %(nominal)s) AS cadence) AS slow
    WHERE "timestamp" < (SELECT silent FROM least)
          AND (cadence IS NULL
               OR "timestamp" < %(now)s - make_interval(secs => %(silent_intervals)s * cadence))
       OR "timestamp" > %(believed_until)s
       OR vehicle_id IN (SELECT device_id FROM tracked
                         WHERE kind = 'silent' AND device_kind = 'vehicle')
    UNION ALL
    SELECT 'meter', meter_id, "timestamp", received_at,
           %(silent_intervals)s * cadence
    FROM meter_live_state CROSS JOIN LATERAL
         (SELECT nullif(greatest(device_cadence(interval_seconds, cadence_seconds, %(nominal)s),
                                 %(nominal)s), %(nominal)s) AS cadence) AS slow
    WHERE "timestamp" < (SELECT silent FROM least)
          AND (cadence IS NULL
               OR "timestamp" < %(now)s - make_interval(secs => %(silent_intervals)s * cadence))
       OR "timestamp" > %(believed_until)s
       OR meter_id IN (SELECT device_id FROM tracked
                       WHERE kind = 'silent' AND device_kind = 'meter')
), reading AS (
    SELECT 'battery_temperature' AS kind, 'vehicle' AS device_kind, vehicle_id AS device_id,
           "timestamp" AS observed_at, battery_temp AS value, NULL::float8 AS detail,
           received_at - "timestamp" AS delay, NULL::float8 AS patience
    FROM vehicle_live_state
    WHERE battery_temp > (SELECT temperature FROM least)
       OR (battery_temp IS NOT NULL
           AND vehicle_id IN (SELECT device_id FROM tracked WHERE kind = 'battery_temperature'))
    UNION ALL
    -- Rounded: 253 V are 10 %% over 230 V, and not a little more.
    SELECT 'voltage', 'meter', meter_id, "timestamp", round(percent::numeric, 9)::float8, voltage,
           received_at - "timestamp", NULL
    FROM (SELECT meter_id, "timestamp", received_at, meter.voltage,
                 abs(meter.voltage / coalesce(own_nominal.voltage, %(nominal_voltage)s) - 1) * 100 AS percent
          FROM meter_live_state AS meter LEFT JOIN own_nominal ON device_id = meter_id) AS meter
    WHERE percent > (SELECT voltage FROM least)
       OR (percent IS NOT NULL
           AND meter_id IN (SELECT device_id FROM tracked WHERE kind = 'voltage'))
    UNION ALL
    SELECT 'soc_falling', 'vehicle', vehicle_id, "timestamp",
           coalesce(greatest(peak.soc - vehicle.soc, 0), 0), vehicle.soc,
           received_at - "timestamp", NULL
    FROM vehicle_live_state AS vehicle LEFT JOIN alert_soc_peak AS peak USING (vehicle_id)
    WHERE vehicle.soc IS NOT NULL
      AND (received_at >= %(since)s AND peak.soc - vehicle.soc > (SELECT soc FROM least)
           OR vehicle_id IN (SELECT device_id FROM tracked WHERE kind = 'soc_falling'))
    UNION ALL
    -- Only the time in which somebody watched makes a device silent; any heartbeat ends it. Of a device
    -- of another cell that is the time in which its collectors did, up to when that is known; clocks differ.
    SELECT 'silent', device_kind, silent.device_id, heard_at,
           extract(epoch FROM least(%(now)s, cell.seen_at)
                              - greatest(heard_at, watching_since, cell.since))::float8,
           extract(epoch FROM %(now)s - heard_at)::float8, received_at - "timestamp", patience
    FROM silent CROSS JOIN alert_progress
    LEFT JOIN cell_device AS heard_by
        ON heard_by.stream = device_kind AND heard_by.device_id = silent.device_id COLLATE "C"
    LEFT JOIN cell ON cell.name = heard_by.cell AND received_at <= cell.seen_at + interval '10 seconds'
    CROSS JOIN LATERAL
         (SELECT CASE WHEN "timestamp" <= %(believed_until)s THEN "timestamp"
                      ELSE watching_since END AS heard_at) AS heard
)
SELECT rule.rule, reading.device_kind, reading.device_id, reading.observed_at, reading.value,
       reading.detail, reading.patience, is_gone, alert.id AS alert_id,
       coalesce(alert.since, pending.since) AS since,
       coalesce(alert.observed_at, pending.observed_at) AS observed_before,
       coalesce(alert.value, pending.value) AS value_before,
       coalesce(alert.worst_value, pending.worst_value) AS worst_before
FROM rule JOIN reading ON reading.kind = rule.kind AND reading.device_kind = rule.device_kind
LEFT JOIN alert ON alert.rule = rule.rule AND alert.device_kind = reading.device_kind
    AND alert.device_id = reading.device_id AND alert.resolved_at IS NULL
LEFT JOIN alert_pending AS pending ON pending.rule = rule.rule
    AND pending.device_kind = reading.device_kind AND pending.device_id = reading.device_id
LEFT JOIN retired ON retired.stream = reading.device_kind
    AND retired.device_id = reading.device_id
    AND (reading.kind = 'silent' OR reading.observed_at <= retired_at)
CROSS JOIN LATERAL
    -- Looked up for the rules alone that name a depot or a group.
    (SELECT retired.device_id IS NOT NULL
            OR coalesce(rule.depots, rule.groups) IS NOT NULL
               AND NOT EXISTS (SELECT FROM device AS place
                               WHERE stream = reading.device_kind
                                 AND place.device_id = reading.device_id COLLATE "C"
                                 AND (rule.depots IS NULL OR rule.depots ? depot_id)
                                 AND (rule.groups IS NULL OR rule.groups ? group_name))
            AS is_gone) AS gone
WHERE CASE
          WHEN is_gone THEN alert.id IS NOT NULL OR pending.rule IS NOT NULL
          WHEN alert.id IS NOT NULL AND rule.kind = 'silent' THEN
              reading.detail <= greatest(rule.clear, patience)
          WHEN alert.id IS NOT NULL THEN
              (reading.observed_at, reading.value)
              IS DISTINCT FROM (alert.observed_at, alert.value)
          WHEN pending.rule IS NOT NULL THEN
              (reading.observed_at, reading.value)
              IS DISTINCT FROM (pending.observed_at, pending.value)
          ELSE reading.value > greatest(rule.threshold, patience)
               AND delay <= greatest(
                   make_interval(secs => %(history)s),
                   make_interval(secs => CASE rule.kind WHEN 'silent' THEN
                                             greatest(rule.threshold, patience) ELSE 0 END))
      END

-- name: alert_publication
SELECT publication, publication > evaluated_marts AS is_new
FROM mart_publication CROSS JOIN alert_progress

-- name: alert_publication_evaluated
UPDATE alert_progress SET evaluated_marts = %(publication)s

-- name: alert_hours
-- The judged hours since a time, of every vehicle that a rule may speak of or has an open alert of,
-- with the vehicle's efficiency in the four weeks before that time.
WITH recent AS MATERIALIZED (
    SELECT vehicle_id, hour_start, status, efficiency_percent, charger_class
    FROM vehicle_efficiency_hourly
    WHERE hour_start >= %(since)s AND hour_start <= %(now)s
      AND status IN ('excellent', 'good', 'warning', 'critical', 'implausible')
), usual AS MATERIALIZED (
    SELECT vehicle_id, 100 * sum(matched_energy_dc_kwh) / sum(matched_energy_ac_kwh) AS efficiency
    FROM vehicle_efficiency_hourly
    WHERE %(drop)s::float8 IS NOT NULL
      AND hour_start >= %(since)s - interval '28 days' AND hour_start < %(since)s
      AND status IN ('excellent', 'good', 'warning', 'critical')
      AND matched_energy_ac_kwh > 0  -- null where an older version computed it
    GROUP BY vehicle_id
    HAVING count(*) >= %(least_hours)s
), concerned AS (
    SELECT vehicle_id FROM recent LEFT JOIN usual USING (vehicle_id)
    WHERE status = ANY (%(statuses)s)
       OR usual.efficiency - efficiency_percent > %(drop)s
    UNION
    SELECT device_id FROM alert
    WHERE resolved_at IS NULL AND device_kind = 'vehicle' AND rule = ANY (%(rules)s)
)
SELECT vehicle_id, hour_start, status, efficiency_percent, recent.charger_class,
       usual.efficiency AS usual, place.depot_id AS depot, place.group_name AS "group"
FROM concerned JOIN recent USING (vehicle_id) LEFT JOIN usual USING (vehicle_id)
LEFT JOIN device AS place
    ON place.stream = 'vehicle' AND place.device_id = vehicle_id COLLATE "C"
ORDER BY vehicle_id, hour_start

-- name: open_alerts_of_rules
SELECT id, rule, device_id, since, observed_at, value, worst_value
FROM alert
WHERE resolved_at IS NULL AND device_kind = 'vehicle' AND rule = ANY (%(rules)s)

-- name: alert_visits
-- Visits that are open, as of the end of their day.
SELECT device_kind, device_id, depot, "group", opened_at, reason, at_stake_kwh_a_year,
       mending_saves_kwh_a_year, at_stake_a_year, mending_saves_a_year, currency,
       ("date" + 1)::timestamp AT TIME ZONE 'UTC' AS observed_at
FROM mart.maintenance WHERE state = 'open' ORDER BY device_kind, device_id

-- name: open_visit_alerts
SELECT id, rule, device_kind, device_id, since, observed_at, value, worst_value
FROM alert
WHERE resolved_at IS NULL AND rule = ANY (%(rules)s)

-- name: alerts_without_rule
-- Open alerts of which the rule is gone, or speaks of other devices now.
SELECT id, observed_at, value, worst_value
FROM alert
WHERE resolved_at IS NULL
  AND (rule, device_kind) NOT IN (SELECT * FROM unnest(%(rules)s::text[], %(device_kinds)s::text[]))

-- name: follow_severities
-- Open alerts whose rule has another severity than it had when they opened.
UPDATE alert SET severity = new.severity, updated_at = now()
FROM unnest(%(rules)s::text[], %(device_kinds)s::text[], %(severities)s::text[])
    AS new (rule, device_kind, severity)
WHERE alert.rule = new.rule AND alert.device_kind = new.device_kind AND resolved_at IS NULL
  AND alert.severity <> new.severity
RETURNING alert.id

-- name: drop_pending_without_rule
DELETE FROM alert_pending
WHERE (rule, device_kind) NOT IN (SELECT * FROM unnest(%(rules)s::text[], %(device_kinds)s::text[]))

-- name: upsert_pending_alerts
INSERT INTO alert_pending AS pending
    (rule, device_kind, device_id, since, observed_at, value, worst_value)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::timestamptz[],
                     %s::float8[], %s::float8[])
ON CONFLICT (rule, device_kind, device_id) DO UPDATE SET
    since = excluded.since, observed_at = excluded.observed_at, value = excluded.value,
    worst_value = excluded.worst_value

-- name: drop_pending_alerts
DELETE FROM alert_pending
WHERE (rule, device_kind, device_id)
      IN (SELECT * FROM unnest(%s::text[], %s::text[], %s::text[]))

-- name: open_alerts
INSERT INTO alert (rule, device_kind, device_id, since, observed_at, value, worst_value, kind,
                   severity, message, silenced_until)
SELECT new.*, silence.until
FROM unnest(%s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::timestamptz[], %s::float8[],
            %s::float8[], %s::text[], %s::text[], %s::text[])
    AS new (rule, device_kind, device_id, since, observed_at, value, worst_value, kind, severity,
            message)
LEFT JOIN alert_silence AS silence ON silence.rule = new.rule
    AND silence.device_kind = new.device_kind AND silence.device_id = new.device_id
    AND silence.until > now()
ON CONFLICT (rule, device_kind, device_id) WHERE resolved_at IS NULL DO NOTHING
RETURNING id

-- name: update_alerts
-- An observation from before the beginning tells that a clock was ahead then.
UPDATE alert SET observed_at = new.observed_at, value = new.value, worst_value = new.worst_value,
                 since = least(since, new.observed_at), message = new.message, updated_at = now()
FROM unnest(%s::bigint[], %s::timestamptz[], %s::float8[], %s::float8[], %s::text[])
    AS new (id, observed_at, value, worst_value, message)
WHERE alert.id = new.id AND resolved_at IS NULL

-- name: resolve_alerts
UPDATE alert SET observed_at = new.observed_at, value = new.value, worst_value = new.worst_value,
                 resolved_at = now(), updated_at = now()
FROM unnest(%s::bigint[], %s::timestamptz[], %s::float8[], %s::float8[])
    AS new (id, observed_at, value, worst_value)
WHERE alert.id = new.id AND resolved_at IS NULL
RETURNING alert.id

-- name: lock_alert_events
-- Before any event is inserted, and last of all locks: held to the commit, so that the ids of
-- events become visible in their order.
SELECT pg_advisory_xact_lock(6737)

-- name: insert_alert_events
INSERT INTO alert_event (alert_id, type, by, is_quiet, alert)
SELECT alert.id, new.type, %(by)s, coalesce(alert.silenced_until > now(), false),
       jsonb_build_object(
           'id', alert.id, 'rule', alert.rule, 'kind', alert.kind,
           'deviceKind', alert.device_kind, 'deviceId', alert.device_id,
           'severity', alert.severity, 'state', alert.state, 'since', alert.since,
           'observedAt', alert.observed_at, 'openedAt', alert.opened_at,
           'updatedAt', alert.updated_at, 'resolvedAt', alert.resolved_at,
           'acknowledgedAt', alert.acknowledged_at, 'acknowledgedBy', alert.acknowledged_by,
           'silencedUntil', alert.silenced_until, 'value', alert.value,
           'worstValue', alert.worst_value, 'message', alert.message)
FROM unnest(%(ids)s::bigint[], %(types)s::text[]) WITH ORDINALITY AS new (id, type, number)
JOIN alert ON alert.id = new.id
ORDER BY number

-- name: notify_alert_events
SELECT pg_notify('wattlake_alerts', '')

-- name: forget_alerts
-- Resolved alerts go with their events, of which a stream that resumes may then miss some.
WITH forgotten AS (
    DELETE FROM alert
    WHERE resolved_at < now() - make_interval(secs => %(seconds)s)
      AND NOT EXISTS (SELECT FROM alert_event
                      JOIN alert_webhook ON alert_event.id > told AND webhook = ANY (%(webhooks)s)
                      WHERE alert_id = alert.id)
    RETURNING id
), newest AS (
    SELECT max(alert_event.id) AS id FROM forgotten JOIN alert_event ON alert_id = forgotten.id
)
UPDATE alert_progress SET forgotten_event = greatest(forgotten_event, newest.id)
FROM newest WHERE newest.id IS NOT NULL

-- name: listen_to_alerts
LISTEN wattlake_alerts

-- name: alert_events_after
SELECT id, type, at, by, alert FROM alert_event WHERE id > %(after)s ORDER BY id LIMIT %(limit)s

-- name: alert_event_bounds
-- An alert that goes on keeps its events while newer ones are forgotten with theirs.
SELECT greatest((SELECT max(id) FROM alert_event), forgotten_event) AS newest, forgotten_event
FROM alert_progress

-- name: count_open_alerts
SELECT severity, count(*) AS alerts FROM alert WHERE resolved_at IS NULL GROUP BY severity

-- name: list_alerts
-- One page, newest first, of those before the given one.
SELECT id, rule, kind, device_kind, device_id, severity, state, since, observed_at, opened_at,
       updated_at, resolved_at, acknowledged_at, acknowledged_by, silenced_until, value,
       worst_value, message
FROM alert
WHERE (%(state)s::text IS NULL OR (%(state)s = 'open') = (resolved_at IS NULL))
  AND (%(severities)s::text[] IS NULL OR severity = ANY(%(severities)s))
  AND (%(rules)s::text[] IS NULL OR rule = ANY(%(rules)s))
  AND (%(device_kind)s::text IS NULL OR device_kind = %(device_kind)s)
  AND (%(device_id)s::text IS NULL OR device_id = %(device_id)s)
  AND (%(acknowledged)s::boolean IS NULL OR %(acknowledged)s = (acknowledged_at IS NOT NULL))
  AND (NOT %(is_placed)s::boolean
       OR EXISTS (SELECT FROM device
                  WHERE stream = device_kind AND device.device_id = alert.device_id COLLATE "C"
                    AND (%(depots)s::text[] IS NULL OR depot_id = ANY(%(depots)s))
                    AND (%(groups)s::text[] IS NULL OR group_name = ANY(%(groups)s))))
  AND id < %(before)s
ORDER BY id DESC
LIMIT %(limit)s

-- name: one_alert
SELECT id, rule, kind, device_kind, device_id, severity, state, since, observed_at, opened_at,
       updated_at, resolved_at, acknowledged_at, acknowledged_by, silenced_until, value,
       worst_value, message
FROM alert WHERE id = %(id)s

-- name: newest_events_of_alert
SELECT id, type, at, by, alert FROM alert_event WHERE alert_id = %(id)s ORDER BY id DESC LIMIT 1000

-- name: acknowledge_alert
-- The first to do so stays.
UPDATE alert SET acknowledged_at = now(), acknowledged_by = %(by)s
WHERE id = %(id)s AND acknowledged_at IS NULL
RETURNING id

-- name: silence_alert
UPDATE alert SET silenced_until = %(until)s
WHERE id = %(id)s AND silenced_until IS DISTINCT FROM %(until)s
RETURNING id

-- name: unsilence_alert
UPDATE alert SET silenced_until = NULL WHERE id = %(id)s AND silenced_until > now() RETURNING id

-- name: end_silences
UPDATE alert SET silenced_until = NULL
WHERE resolved_at IS NULL AND silenced_until <= now()
RETURNING id

-- name: list_silences
SELECT rule, device_kind, device_id, until, by
FROM alert_silence WHERE until > now() ORDER BY rule, device_kind, device_id

-- name: keep_silence
INSERT INTO alert_silence (rule, device_kind, device_id, until, by)
VALUES (%(rule)s, %(device_kind)s, %(device_id)s, %(until)s, %(by)s)
ON CONFLICT (rule, device_kind, device_id) DO UPDATE SET until = excluded.until, by = excluded.by

-- name: drop_silence
DELETE FROM alert_silence
WHERE (rule, device_kind, device_id) = (%(rule)s, %(device_kind)s, %(device_id)s) AND until > now()
RETURNING until

-- name: open_alert_of
SELECT id FROM alert
WHERE (rule, device_kind, device_id) = (%(rule)s, %(device_kind)s, %(device_id)s)
  AND resolved_at IS NULL

-- name: register_webhook
-- One that is new is told what happens from now on.
INSERT INTO alert_webhook (webhook, told)
SELECT %(webhook)s, greatest((SELECT max(id) FROM alert_event), forgotten_event)
FROM alert_progress
ON CONFLICT (webhook) DO NOTHING

-- name: next_webhook_event
-- The first event after the last one told that a webhook is to hear of, and whether its device belongs to
-- the depots and groups that the webhook is for. No attempt waits for an hour, unless the clock was ahead
-- when it was put off.
SELECT told, attempts, next_attempt_at NOT BETWEEN now() AND now() + interval '1 hour' AS is_due,
       event.id, event.type, event.at, event.by, event.alert,
       coalesce(%(depots)s::text[], %(groups)s::text[]) IS NULL
       OR EXISTS (SELECT FROM device
                  WHERE stream = event.alert ->> 'deviceKind'
                    AND device_id = (event.alert ->> 'deviceId') COLLATE "C"
                    AND (%(depots)s::text[] IS NULL OR depot_id = ANY(%(depots)s))
                    AND (%(groups)s::text[] IS NULL OR group_name = ANY(%(groups)s))) AS is_wanted
FROM alert_webhook
LEFT JOIN LATERAL (SELECT * FROM alert_event
                   WHERE id > told AND NOT is_quiet AND type <> 'worsened'
                   ORDER BY id LIMIT 1) AS event ON true
WHERE webhook = %(webhook)s

-- name: webhook_delivered
UPDATE alert_webhook SET told = %(id)s, attempts = 0, next_attempt_at = now(), last_error = NULL
WHERE webhook = %(webhook)s

-- name: webhook_failed
UPDATE alert_webhook SET attempts = %(attempts)s, last_error = %(error)s,
                         next_attempt_at = now() + make_interval(secs => %(pause)s)
WHERE webhook = %(webhook)s

-- name: insert_dead_letter
INSERT INTO alert_dead_letter (webhook, event_id, attempts, last_error)
VALUES (%(webhook)s, %(id)s, %(attempts)s, %(error)s)

-- name: next_redelivery
SELECT letter.id AS letter, attempts, event.id, event.type, event.at, event.by, event.alert
FROM alert_dead_letter AS letter JOIN alert_event AS event ON event.id = event_id
WHERE webhook = %(webhook)s AND is_wanted
ORDER BY letter.id LIMIT 1

-- name: dead_letter_delivered
DELETE FROM alert_dead_letter WHERE id = %(letter)s

-- name: dead_letter_failed
UPDATE alert_dead_letter SET is_wanted = false, attempts = attempts + 1, last_error = %(error)s
WHERE id = %(letter)s

-- name: list_dead_letters
SELECT letter.id, webhook, attempts, last_error, died_at, is_wanted,
       event.id AS event_id, event.type, event.at, event.by, event.alert
FROM alert_dead_letter AS letter JOIN alert_event AS event ON event.id = event_id
WHERE letter.id > %(after)s
ORDER BY letter.id LIMIT %(limit)s

-- name: count_dead_letters
SELECT count(*) AS letters FROM alert_dead_letter

-- name: request_redelivery
UPDATE alert_dead_letter SET is_wanted = true WHERE id = %(id)s RETURNING id
