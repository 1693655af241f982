-- name: delete_mart_rows
-- Here and below pipelines.assets.marts fills in table, columns and key, those of the lake's table.
DELETE FROM {table} WHERE {time} >= %(start)s AND {time} < %(end)s

-- name: copy_mart_rows
COPY {table} ({columns}) FROM STDIN

-- name: mart_rows_between
SELECT {values} FROM {table} WHERE {time} >= $1 AND {time} < $2 ORDER BY {key}

-- name: prune_mart_rows
-- By row address, so that a statement takes no more than it is told to; the pool of the marts has
-- no other writer.
DELETE FROM {table}
WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE {time} < %(before)s
                        ORDER BY {time} LIMIT %(most)s))
