"""Rate limit on new devices: ids that were never heard before, by caller and hour."""

import math
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ingestion_api.database.pool import ReadPool
from ingestion_api.token_bucket import TokenBucket
from lake import METER, STREAMS, VEHICLE
from warehouse_sql.named_queries import query


@dataclass(frozen=True)
class NewDeviceBound:
    """The bound of one caller, and the ids that are known, which all callers share."""

    per_hour: int
    known: Mapping[str, set[str]]
    bucket: TokenBucket
    lock: threading.Lock

    def knows_all(self, stream: str, devices: Iterable[str]) -> bool:
        """Return whether none of these is new."""
        return self.known[stream].issuperset(devices)

    def refuse_excess(self, stream: str, devices: Sequence[str]) -> set[str]:
        """Return the new ones beyond the bound; those within are known from now on.

        They are charged before their commit, and once: a request that fails comes again.
        """
        known = self.known[stream]
        with self.lock:  # a large body is looked at beside the event loop
            new = [device for device in dict.fromkeys(devices) if device not in known]
            taken = self.bucket.acquire_available(len(new))
            known.update(new[:taken])
        return set(new[taken:])

    def retry_after(self, devices: int) -> int:
        """Seconds until so many more are taken, or as many as ever are at once."""
        with self.lock:
            return math.ceil(self.bucket.seconds_until(devices)) or 1


@dataclass
class NewDeviceLimiter:
    """The ids that were ever heard, and what callers may add to them; `per_hour` 0: anything."""

    per_hour: int
    _known: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in STREAMS})
    _bounds: dict[str, NewDeviceBound] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    async def start(self, pool: ReadPool) -> None:
        """Read the ids of the live state; psycopg.Error where the database does not answer."""
        if self.per_hour:
            await self._read(pool, None, None)

    def bound_for(self, caller: str) -> NewDeviceBound | None:
        """The bound of a caller; None where there is none."""
        if not self.per_hour:
            return None
        bound = self._bounds.get(caller)
        if bound is None:
            bucket = TokenBucket(self.per_hour / 3600, self.per_hour)
            bound = NewDeviceBound(self.per_hour, self._known, bucket, self._lock)
            self._bounds[caller] = bound
        return bound

    def admit(self, caller: str, stream: str, device: str) -> bool:
        """Admit a single heartbeat: its device is known, or within the bound.

        A new one is charged, also where its heartbeat turns out to break a rule.
        """
        if not self.per_hour or device in self._known[stream]:
            return True
        bound = self.bound_for(caller)
        return bound is not None and not bound.refuse_excess(stream, [device])

    async def refresh(self, pool: ReadPool, devices: Collection[tuple[str, str]]) -> bool:
        """Ask which of these, by stream and id, others have taken; whether any."""
        asked = {
            stream.name: [one for name, one in devices if name == stream.name]
            for stream in (METER, VEHICLE)
        }
        return await self._read(pool, asked[METER.name], asked[VEHICLE.name])

    async def _read(
        self, pool: ReadPool, meters: list[str] | None, vehicles: list[str] | None
    ) -> bool:
        async with pool.connection() as conn:
            rows = await conn.execute(
                query("heard_devices"), {"meters": meters, "vehicles": vehicles}
            )
            found = await rows.fetchall()
        with self._lock:
            for row in found:
                self._known[row["stream"]].add(row["device_id"])
        return bool(found)
