"""In-memory cache of the living API keys, and the callers that they stand for."""

import asyncio
import hmac
import math
from dataclasses import dataclass
from typing import Final

import psycopg
import structlog
from psycopg.rows import DictRow

from ingestion_api.background_tasks import Service, cancel_task, start_task
from ingestion_api.database.pool import ReadPool
from ingestion_api.rest.problems import Problem
from ingestion_api.token_bucket import TokenBucket
from warehouse_sql.api_keys import KeyScope, parse_key
from warehouse_sql.named_queries import query

log = structlog.get_logger(__name__)

SCOPES: Final = frozenset[str](KeyScope)

_FIRST_LOAD_SECONDS: Final = 30
_LOAD_SECONDS: Final = 15  # a database that hangs must not let a revoked key live on
_POOL_SECONDS: Final = 10  # while the others of its pool have all connections


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request, and the scopes that it has.

    A caller with a `device_prefix` may write only for devices whose id begins so.
    """

    name: str
    scopes: frozenset[str]
    device_prefix: str | None = None
    limit: TokenBucket | None = None

    def spend(self, records: int) -> None:
        """Charge records to the caller's rate limit; Problem 429 if he must wait first."""
        if self.limit is None:
            return
        wait = self.limit.try_acquire(records)
        if wait:
            raise Problem(
                429,
                f"the key {self.name!r} may send {self.limit.per_second:g} records a second, and "
                f"{self.limit.burst:g} at once; repeat this after Retry-After seconds",
                headers={"Retry-After": str(math.floor(wait) + 1)},
            )


LOOPBACK: Final = Caller("loopback", SCOPES)


class ApiKeyCache(Service):
    """Every living key; a request asks memory, never the database.

    The keys are read anew every `refresh_seconds`, so that a new or revoked key counts soon, in
    every collector. While the database is away the last known keys stand.

    With them each tells the others what it took of each limited key: it gives from a bucket of its
    own, which then owes what the others gave. In the long run a rate holds for all together; at
    once each may give a burst, before it hears of the others.
    """

    def __init__(self, pool: ReadPool, refresh_seconds: float) -> None:
        self._pool, self._refresh_seconds = pool, refresh_seconds
        self._keys: dict[str, _Key] = {}
        self._refresher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the keys, and go on reading them; psycopg.Error if the first reading fails."""
        await self._load(_FIRST_LOAD_SECONDS)
        self._say_how_many()
        self._refresher = start_task(self._refresh(), "API keys")

    async def stop(self) -> None:
        """End the reading; the keys stay as they are."""
        await cancel_task(self._refresher)

    @property
    def is_empty(self) -> bool:
        """True where there is no living key at all."""
        return not self._keys

    @property
    def is_alive(self) -> bool:
        """True while the keys are still being read."""
        return self._refresher is not None and not self._refresher.done()

    def find(self, text: str) -> Caller | None:
        """Return the caller of a key; None if it is no living key."""
        sent = parse_key(text)
        if sent is None:
            return None
        identity, secret_sha256 = sent
        key = self._keys.get(identity)  # the id is public, so this may take its time
        if key is None or not hmac.compare_digest(key.row["secret_sha256"], secret_sha256):
            return None
        return key.caller

    def is_valid(self, caller: Caller) -> bool:
        """Return whether an earlier caller may still call."""
        if self.is_empty:
            return caller is LOOPBACK
        return any(key.caller is caller for key in self._keys.values())

    async def _refresh(self) -> None:
        is_away = False
        while True:
            await asyncio.sleep(self._refresh_seconds)
            before = self._keys.keys()
            try:
                async with asyncio.timeout(_LOAD_SECONDS):
                    await self._load(_POOL_SECONDS)
            except (psycopg.Error, OSError) as error:
                if not is_away:
                    log.warning(
                        "API keys can't be read; the last known ones stand", error=str(error)
                    )
                is_away = True
                continue
            if is_away or self._keys.keys() != before:
                self._say_how_many()
            is_away = False

    async def _load(self, patience: float) -> None:
        sent = {id: records for id, key in self._keys.items() if (records := key.untold())}
        async with self._pool.connection(patience) as conn:
            if sent:
                told = {"ids": [*sent], "records": [*sent.values()]}
                await conn.execute(query("add_api_key_usage"), told)
                for id, records in sent.items():
                    self._keys[id].told += records
            rows = await (await conn.execute(query("living_api_keys"))).fetchall()
        keys = {}
        for row in rows:
            of_all = row.pop("records")
            known = self._keys.get(row["id"])
            # A key that is as it was keeps its caller, and with it what it has spent.
            key = known if known and known.row == row else _Key(row)
            key.charge_for_others(of_all)
            keys[row["id"]] = key
        self._keys = keys

    def _say_how_many(self) -> None:
        if self._keys:
            log.info("callers need an API key", keys=len(self._keys))
        else:
            log.warning(
                "there is no API key, so only loopback addresses are served; "
                "make one: wattlake keys create NAME --scope ingest --scope read"
            )


class _Key:
    """A row of the table, and the caller that it stands for."""

    def __init__(self, row: DictRow) -> None:
        self.row = row
        rate: float | None = row["records_per_second"]
        self.caller = Caller(
            name=row["name"],
            scopes=SCOPES if KeyScope.ADMIN in row["scopes"] else frozenset(row["scopes"]),
            device_prefix=row["device_prefix"],
            limit=None if rate is None else TokenBucket(rate),
        )
        self.told = 0
        """Records that this process has told the others of."""
        self._of_others: int | None = None

    def untold(self) -> int:
        """Return how many records it has sent that the others do not know of."""
        return self.caller.limit.given - self.told if self.caller.limit else 0

    def charge_for_others(self, of_all: int) -> None:
        """Charge the limit with what the others gave since the last time, of `of_all` ever."""
        of_others = of_all - self.told
        if self.caller.limit and self._of_others is not None:
            # Less than before is told by a database that has forgotten it.
            self.caller.limit.charge(max(0, of_others - self._of_others))
        self._of_others = of_others
