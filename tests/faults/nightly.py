"""`python -m tests.faults.nightly --kills 200 --seed 1`: the long form of `test_faults`."""

import argparse
import secrets

from tests.faults.campaign import Campaign


def main() -> None:
    """Run one campaign; prints its faults as they come, and a line of figures at the end."""
    parser = argparse.ArgumentParser(description="Kill everything at random under load.")
    parser.add_argument("--kills", type=int, default=200, help="at least so many kills")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--only", default="", help="faults with this in their name")
    wanted = parser.parse_args()
    Campaign(wanted.seed).run(wanted.kills, outage=4, database_stop=10, only=wanted.only)


if __name__ == "__main__":
    main()
