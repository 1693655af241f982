"""`python -m tests.faults.nightly --kills 200 --seed 1`: the long form of `test_faults`."""

import argparse
import secrets
import subprocess
import sys

from tests.faults.campaign import Campaign
from tests.faults.full_disks import FullDisks
from tests.faults.hourly_runs import kill_at_every_moment
from tests.faults.soak import Soak
from tests.faults.stack import StackUnderTest
from tests.faults.two_cells import TwoCells
from tests.harness.object_store import Scheme
from tests.harness.ray_cluster import command_on_loopback

_PARTS = ("kills", "cells", "store", "azure", "runs", "disks", "ray")
_SOAK = "soak"  # only when asked for: it takes hours
_TESTS_ON_AZURE = (
    *(sys.executable, "-m", "pytest", "-q", "-n", "0"),
    *("--store", "az", "tests/integration/test_object_store.py"),
)


def main() -> None:
    """Run the campaigns; prints their faults as they come, and lines of figures at the end."""
    parser = argparse.ArgumentParser(description="Kill everything at random under load.")
    parser.add_argument(
        "--kills",
        type=int,
        default=200,
        help="at least so many kills, and a quarter as many faults of a store",
    )
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--only", default="", help="faults with this in their name")
    parser.add_argument("--full", type=float, default=60, help="seconds that a disk stays full")
    parser.add_argument(
        "--part", choices=(*_PARTS, _SOAK), action="append", help="one of them alone"
    )
    parser.add_argument("--minutes", type=float, default=120, help="of the soak")
    parser.add_argument("--fleet", type=int, default=500, help="vehicles of the soak")
    parser.add_argument("--every", type=float, default=300, help="seconds for a fault of the soak")
    wanted = parser.parse_args()
    parts = wanted.part or _PARTS
    if "kills" in parts:
        Campaign(wanted.seed).run(wanted.kills, outage=4, database_stop=10, only=wanted.only)
    if "cells" in parts:
        cells = Campaign(wanted.seed, TwoCells)
        cells.run(max(1, wanted.kills // 4), outage=4, database_stop=10, only=wanted.only)
    if "store" in parts:
        _campaigns_in_stores("s3", wanted.seed, max(1, wanted.kills // 4), wanted.only)
    if "azure" in parts:
        if not wanted.only:
            subprocess.run(_TESTS_ON_AZURE, check=True)
        _campaigns_in_stores("az", wanted.seed, max(1, wanted.kills // 4), wanted.only)
    if "runs" in parts:
        kill_at_every_moment(wanted.seed)
    if "disks" in parts:
        with FullDisks(wanted.seed) as disks:
            disks.run(wanted.full, wanted.only)
    if "ray" in parts:
        subprocess.run(command_on_loopback("tests.faults.ray_nodes"), check=True)
    if _SOAK in parts:
        with Soak(wanted.seed, wanted.fleet, wanted.full) as soak:
            soak.run(wanted.minutes, wanted.every)


def _campaigns_in_stores(scheme: Scheme, seed: int, faults: int, only: str) -> None:
    """Every kind of fault once, in a new store each time: the server gets slow as it fills up.

    It happens to two collectors and to two cells in turn, by the seed, which so repeats it.
    """
    while faults > 0:
        campaign = Campaign(seed, (StackUnderTest, TwoCells)[seed % 2], in_store=scheme)
        campaign.run(0, outage=4, database_stop=10, only=only)
        faults -= len(campaign.done)
        seed += 1


if __name__ == "__main__":
    main()
