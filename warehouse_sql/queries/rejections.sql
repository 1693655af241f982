-- name: begin_rejections
-- A rejection is worth no sync of the disk, and a writer may not block others long.
SELECT set_config('synchronous_commit', 'off', true),
       set_config('statement_timeout', %(timeout)s, true),
       set_config('idle_in_transaction_session_timeout', %(timeout)s, true)

-- name: lock_rejections
-- Held to the end of the transaction: one collector writes at a time, so that no two of them lock
-- rows in different orders, and each sees what the others have stored before it prunes.
SELECT pg_advisory_xact_lock(6735)

-- name: insert_rejections
-- A write whose outcome was unknown is repeated; the id makes it count once.
INSERT INTO rejection (id, received_at, stream, device, field, code, reason, record, sender,
                       request_id)
SELECT * FROM unnest(%s::uuid[], %s::timestamptz[], %s::text[], %s::text[], %s::text[],
                     %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
ON CONFLICT (received_at, id) DO NOTHING
RETURNING origin

-- name: redate_rejections
-- What was refused while a clock was ahead would count as the newest for as long. When it was is not
-- known: before those of now.
UPDATE rejection SET received_at = now() - interval '1 hour'
WHERE received_at > now() + make_interval(secs => %(tolerance)s)

-- name: prune_rejections_of_origins
-- Keeps the newest rejections of each of these origins. By row address, so that no plan walks the
-- whole table; under the lock nothing moves a row.
DELETE FROM rejection
WHERE ctid = ANY (ARRAY(SELECT beyond.ctid
                        FROM unnest(%(origins)s::text[]) AS touched (origin)
                        CROSS JOIN LATERAL (SELECT ctid FROM rejection AS newest
                                            WHERE newest.origin = touched.origin
                                            ORDER BY received_at DESC, id DESC
                                            OFFSET %(most)s) AS beyond))

-- name: prune_rejections_by_age
DELETE FROM rejection WHERE received_at < now() - make_interval(secs => %(seconds)s)

-- name: prune_rejections_in_all
DELETE FROM rejection
WHERE ctid = ANY (ARRAY(SELECT ctid FROM rejection ORDER BY received_at, id
                        LIMIT greatest((SELECT count(*) FROM rejection) - %(most)s, 0)))

-- name: list_rejections
-- One page, newest first, of those before the given one.
SELECT id, received_at, stream, device, field, code, reason, record, sender, request_id
FROM rejection
WHERE (%(device)s::text IS NULL OR origin = 'device ' || %(device)s)
  AND (%(stream)s::text IS NULL OR stream = %(stream)s)
  AND (%(code)s::text IS NULL OR code = %(code)s)
  AND received_at >= coalesce(%(since)s::timestamptz, '-infinity')
  AND (received_at, id) < (coalesce(%(before)s::timestamptz, 'infinity'),
                           coalesce(%(before_id)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
ORDER BY received_at DESC, id DESC
LIMIT %(limit)s
