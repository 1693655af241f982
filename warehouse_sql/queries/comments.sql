-- name: mart_columns
-- The columns of tables, and of the views of the schema mart on them, with their comments.
WITH relation AS (
    SELECT oid, relname AS "table" FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relname = ANY(%(tables)s)
    UNION
    SELECT format('%%I.%%I', view_schema, view_name)::regclass, table_name
    FROM information_schema.view_table_usage
    WHERE view_schema = 'mart' AND table_schema = 'public' AND table_name = ANY(%(tables)s)
)
SELECT "table", relnamespace::regnamespace::text AS schema, relname AS relation, attname AS "column",
       col_description(pg_class.oid, attnum) AS comment
FROM relation JOIN pg_class USING (oid) JOIN pg_attribute ON attrelid = pg_class.oid
WHERE attnum > 0 AND NOT attisdropped
ORDER BY schema, relation, attnum
