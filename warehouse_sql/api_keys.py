"""API keys: create, revoke, list, and parse."""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from psycopg.rows import class_row

from warehouse_sql.errors import WarehouseError
from warehouse_sql.named_queries import query
from warehouse_sql.session import transaction

KEY_PATTERN: Final = r"^wl_([0-9a-f]{12})_([0-9a-f]{64})$"

_KEY: Final = re.compile(KEY_PATTERN, re.ASCII)
_LONGEST_NAME: Final = 200
_DEVICE_PREFIX: Final = re.compile(r"[!-~][ -~]{0,63}")


class KeyScope(StrEnum):
    """Permission of a key: post heartbeats, read, or everything; as the constraint of the table."""

    INGEST = "ingest"
    READ = "read"
    ADMIN = "admin"


class KeyNotMade(WarehouseError):
    """The key can't be made as it was asked for; the text says what to change."""


@dataclass(frozen=True)
class ApiKey:
    """An API key without its secret."""

    id: str
    name: str
    scopes: list[str]
    device_prefix: str | None
    records_per_second: float | None
    created_at: datetime
    revoked_at: datetime | None


def create_key(
    dsn: str,
    name: str,
    scopes: Sequence[str],
    *,
    device_prefix: str | None = None,
    records_per_second: float | None = None,
) -> str:
    """Make a key with some of the scopes of `KeyScope`; returns its only copy.

    With a prefix it writes only for devices whose id begins so. Raises KeyNotMade,
    DatabaseUnreachable or WarehouseError.
    """
    if not (0 < len(name) <= _LONGEST_NAME and name.isprintable() and name == name.strip()):
        raise KeyNotMade("a key's name has 1 to 200 printable characters, no space at either end")
    if device_prefix is not None:
        if not _DEVICE_PREFIX.fullmatch(device_prefix):
            raise KeyNotMade("a device prefix is the beginning of an id: printable ASCII, up to 64")
        if "admin" in scopes or "ingest" not in scopes:
            raise KeyNotMade(
                "a device prefix binds what a key may write: give it the scope ingest, not admin"
            )
    identity, secret = secrets.token_hex(6), secrets.token_hex(32)
    values = {
        "id": identity,
        "name": name,
        "secret_sha256": _sha256(secret),
        "scopes": sorted(set(scopes)),
        "device_prefix": device_prefix,
        "records_per_second": records_per_second,
    }
    with transaction(dsn) as conn:
        if conn.execute(query("insert_api_key"), values).fetchone() is None:
            raise KeyNotMade(
                f"there is a key called {name!r}: revoke it first, or take another name"
            )
    return f"wl_{identity}_{secret}"


def revoke_key(dsn: str, name: str) -> bool:
    """End the living key of this name; False if there is none. Raises as `create_key`."""
    with transaction(dsn) as conn:
        return conn.execute(query("revoke_api_key"), {"name": name}).fetchone() is not None


def list_keys(dsn: str, *, revoked_too: bool = False) -> list[ApiKey]:
    """The living keys, or all there ever were, by name. Raises as `create_key`."""
    with transaction(dsn) as conn, conn.cursor(row_factory=class_row(ApiKey)) as cursor:
        return cursor.execute(query("list_api_keys"), {"revoked_too": revoked_too}).fetchall()


def parse_key(text: str) -> tuple[str, bytes] | None:
    """Id and SHA-256 of the secret of a key as a caller sends it; None if it is no key."""
    found = _KEY.match(text)
    return (found[1], _sha256(found[2])) if found else None


def _sha256(secret: str) -> bytes:
    # A secret of 256 random bits can't be guessed, so it needs no slow hash; see the migration.
    return hashlib.sha256(secret.encode()).digest()
