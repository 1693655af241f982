"""Nothing lost, nothing doubled, whatever fails.

Several clients post meter and vehicle heartbeats all the time, singly and in batches, late, out of
order, twice, corrected, and again where no answer came. Meanwhile collectors and databases die,
disks fill up, and the lake goes away. Afterwards, with everything healthy again:

- lost: every heartbeat that was acknowledged, by whatever attempt, is in the raw table and in the
  history; the client that repeats until it has an answer got one for everything;
- invented: every row of the lake was sent just so, in all its fields;
- doubled: a device and a time are in the history once, with the heartbeat that was received last;
  the raw table holds each at least as often as it was acknowledged and at most as often as it was
  sent. Only where the connection to the database broke during an attempt may it hold that attempt
  twice, with one time of receipt;
- order: a heartbeat that was acknowledged before a correction of it was sent never replaces the
  correction, once that is acknowledged, too;
- unknown: what was not acknowledged may be there or not, but never altered, and never twice in the
  history;
- live state: of each device the newest event time of all that was stored, which is everything that
  was acknowledged, and perhaps more;
- counts: the partition ledger has exactly the raw rows of every hour, /v1/status adds up, and
  every duplicate that a compaction removed is accounted for;
- recovery: both collectors are ready again, one of them writes the lake, and the outbox drains to
  zero. Nothing but what was killed was started again, no client ever got an answer other than
  201 or 503 with Retry-After, and no empty lake took the place of one that was away.

`SEED=1 make test` repeats the choices of a run, though not the timing of its processes; a failure
names its seed. `make nightly KILLS=200` goes on for longer.
"""

import os
import random
import secrets

import pytest

from tests.faults.campaign import Campaign
from tests.faults.hourly_runs import HourlyRuns


def test_nothing_acknowledged_is_lost_or_doubled_whatever_fails() -> None:
    campaign = Campaign(int(os.environ.get("SEED") or secrets.randbelow(2**32)))
    campaign.run(kills=0, outage=0.5, database_stop=1)


@pytest.mark.timeout(1800)
def test_hours_are_computed_after_the_database_died_in_the_middle_of_a_run() -> None:
    """See `hourly_runs`; a slow machine fails no test, so three minutes are for the long form."""
    with HourlyRuns(random.Random(1), 900, SENSOR_INTERVAL_SECONDS="5") as runs:
        runs.kill_at("STEP_START", "hourly_tables", dagster_too=False)
