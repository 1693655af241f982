-- name: zones_of_depots
SELECT id, name, time_zone FROM depot ORDER BY id

-- name: report_subscriptions
-- With the newest delivery of each, and the newest failure that is not yet made good.
SELECT subscription.id, period, depot_id AS depot, recipient, formats, hour_utc, created_at,
       created_by, depot.name AS depot_name, delivered.report AS delivered_report,
       delivered.version AS delivered_version, delivered.settled_at AS delivered_at,
       failed.report AS failed_report, failed.last_error, failed.attempts AS failed_attempts
FROM report_subscription AS subscription
LEFT JOIN depot ON depot.id = depot_id
LEFT JOIN LATERAL (SELECT * FROM report_delivery
                   WHERE subscription_id = subscription.id AND version > 0 AND last_error IS NULL
                   ORDER BY settled_at DESC LIMIT 1) AS delivered ON true
LEFT JOIN LATERAL (SELECT * FROM report_delivery
                   WHERE subscription_id = subscription.id AND last_error IS NOT NULL
                   ORDER BY next_attempt_at DESC LIMIT 1) AS failed ON true
WHERE %(id)s::bigint IS NULL OR subscription.id = %(id)s
ORDER BY subscription.id

-- name: add_report_subscription
INSERT INTO report_subscription (period, depot_id, recipient, formats, hour_utc, created_by)
VALUES (%(period)s, %(depot)s, %(recipient)s, %(formats)s, %(hour_utc)s, %(by)s)
RETURNING id

-- name: remove_report_subscription
DELETE FROM report_subscription WHERE id = %(id)s

-- name: report_deliveries
SELECT report, version, attempts, next_attempt_at <= now() AS is_due
FROM report_delivery WHERE subscription_id = %(id)s

-- name: report_settled
-- Delivered; or given up, where there is an error.
INSERT INTO report_delivery (subscription_id, report, version, last_error, settled_at)
SELECT id, %(report)s, %(version)s, %(error)s, now() FROM report_subscription WHERE id = %(id)s
ON CONFLICT (subscription_id, report) DO UPDATE SET
    version = excluded.version, attempts = 0, next_attempt_at = now(),
    last_error = excluded.last_error, settled_at = now()

-- name: report_not_delivered
INSERT INTO report_delivery
    (subscription_id, report, version, attempts, next_attempt_at, last_error)
SELECT id, %(report)s, 0, 1, now() + make_interval(secs => %(pause)s), %(error)s
FROM report_subscription WHERE id = %(id)s
ON CONFLICT (subscription_id, report) DO UPDATE SET
    attempts = report_delivery.attempts + 1, last_error = excluded.last_error,
    next_attempt_at = excluded.next_attempt_at
