"""Delivery of a database to the lake: what a commit records of it, and what became of that."""

from typing import Any

import psycopg

from warehouse_sql.named_queries import query


def outbox_app_id(identity: str, epoch: str) -> str:
    """The app id of an outbox's Delta commits; `identity` and `epoch` as in `outbox_delivery`."""
    return f"outbox-{identity}-{epoch}"


def transaction_outcome(connection: psycopg.Connection[Any], transaction: int) -> str | None:
    """committed, aborted or in progress; None if nobody knows any more."""
    try:
        with connection.transaction():
            asked = {"transaction": transaction}
            ((outcome,),) = connection.execute(query("transaction_outcome"), asked).fetchall()
    except psycopg.errors.InvalidParameterValue:  # one of the future: the database has gone back
        return None
    return None if outcome is None else str(outcome)


def is_for_the_writer(
    connection: psycopg.Connection[Any], import_transaction: int | None
) -> bool | None:
    """Tell whether the lake writer is to count a commit of others than itself.

    Not one of an import, whose transaction notes the rows in the ledger, unless it was aborted;
    None while nobody knows.
    """
    if import_transaction is None:
        return True
    return {"aborted": True, "committed": False}.get(
        transaction_outcome(connection, import_transaction) or ""
    )
