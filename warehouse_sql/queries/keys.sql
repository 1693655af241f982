-- name: insert_api_key
-- Returns no row where a living key has the name.
INSERT INTO api_key (id, name, secret_sha256, scopes, device_prefix, records_per_second)
VALUES (%(id)s, %(name)s, %(secret_sha256)s, %(scopes)s, %(device_prefix)s, %(records_per_second)s)
ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING
RETURNING id

-- name: revoke_api_key
UPDATE api_key SET revoked_at = now() WHERE name = %(name)s AND revoked_at IS NULL RETURNING id

-- name: list_api_keys
SELECT id, name, scopes, device_prefix, records_per_second, created_at, revoked_at
FROM api_key
WHERE revoked_at IS NULL OR %(revoked_too)s
ORDER BY name, created_at

-- name: add_api_key_usage
-- In the order of their ids, so that two collectors can't block each other for ever.
INSERT INTO api_key_usage AS usage (id, records)
SELECT id, records FROM unnest(%(ids)s::text[], %(records)s::bigint[]) AS new (id, records)
WHERE EXISTS (SELECT FROM api_key WHERE api_key.id = new.id)
ORDER BY id
ON CONFLICT (id) DO UPDATE SET records = usage.records + excluded.records

-- name: living_api_keys
SELECT id, name, secret_sha256, scopes, device_prefix, records_per_second,
       coalesce(records, 0) AS records
FROM api_key LEFT JOIN api_key_usage USING (id)
WHERE revoked_at IS NULL
