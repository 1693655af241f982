-- name: note_publication
-- Last in the transaction that publishes: whoever sees the number sees the rows.
UPDATE mart_publication SET publication = publication + 1
