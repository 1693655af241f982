"""Campaign: one fault after the other under continuous load, then the check of the oracle."""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.faults.clients import Clients
from tests.faults.console import print_line
from tests.faults.fault_kinds import Fault, fault_kinds
from tests.faults.ledger import Ledger
from tests.faults.oracle import Verdict, judge
from tests.faults.stack import StackUnderTest
from tests.harness.object_store import Scheme

_FAULTS_A_ROUND: Final = 25


@dataclass
class Campaign:
    """Record of a campaign with the lake on a disk, or `in_store` of a kind.

    `kills` counts by kind of fault, `done` are the faults themselves.
    """

    seed: int
    kind_of_stack: type[StackUnderTest] = StackUnderTest
    in_store: Scheme | None = None
    ledger: Ledger = field(default_factory=Ledger)
    done: list[str] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    resent: int = 0
    longest_recovery: tuple[float, str] = (0.0, "none")
    verdict: Verdict | None = None

    def run(self, kills: int, outage: float, database_stop: float, only: str = "") -> None:
        """Do every kind of fault at least once, and go on until there were so many kills.

        Outages last `outage` and `database_stop` seconds. `only`: what a kind's name has to hold;
        where none of these kills, every fault counts as a kill.

        AssertionError, with the seed and the faults so far, where an invariant does not hold.
        """
        chance = random.Random(self.seed)
        print_line(f"SEED={self.seed}")
        try:
            with self.kind_of_stack(chance, in_store=self.in_store) as stack:
                waiting: list[str] = []
                if stack.disk and not stack.disk.can_fill:
                    print_line(
                        "no file system can be mounted here: the disk is full by a limit alone"
                    )
                known = {
                    kind: fault
                    for kind, fault in fault_kinds(outage, database_stop, stack).items()
                    if only in kind and kind not in stack.left_out
                }
                assert known, f"there is no fault with {only!r} in its name"
                while not self._done(known, kills):
                    self._round(stack, known, waiting, kills)
        except BaseException as error:
            error.add_note(f"SEED={self.seed}; faults so far: {', '.join(self.done)}")
            raise
        finally:
            print_line(self.summary())

    def summary(self) -> str:
        """One line of figures."""
        acknowledged = {s.serial for s in self.ledger.sendings if s.acknowledged}
        verdict = self.verdict or Verdict([], 0, 0, 0)
        by_kind = ", ".join(f"{kind} {n}" for kind, n in sorted(self.kills.items()) if n)
        seconds, kind = self.longest_recovery
        return (
            f"seed {self.seed}: {len(self.done)} faults, {self.kills.total()} kills ({by_kind}); "
            f"records sent {len(self.ledger.heartbeats)}, acknowledged {len(acknowledged)}, "
            f"retried {self.resent}, raw {verdict.rows_in_lake}, "
            f"in history {verdict.rows_in_history}, "
            f"duplicates removed {verdict.duplicates_removed}; "
            f"longest time to recovery {seconds:.1f} s ({kind})"
        )

    def _done(self, known: Mapping[str, Fault], kills: int) -> bool:
        killing = any(self.kills[kind] for kind in known)
        done = self.kills.total() if killing else len(self.done)
        return len(self.done) >= len(known) and done >= kills

    def _round(
        self, stack: StackUnderTest, known: Mapping[str, Fault], waiting: list[str], kills: int
    ) -> None:
        addresses = [collector.address for collector in stack.collectors]
        with Clients(self.ledger, addresses, stack.chance.randrange(2**32)) as clients:
            stack.wait_for_recovery()
            for _ in range(_FAULTS_A_ROUND):
                if self._done(known, kills):
                    break
                if not waiting:  # every kind once, in a new order, before any comes again
                    waiting += stack.chance.sample(sorted(known), len(known))
                kind = waiting.pop()
                stack.pause(0.3)
                stack.next_fault()
                self.done.append(kind)
                self.kills[kind] += known[kind](stack)
                recovery = stack.wait_for_recovery()
                print_line(f"{self.kills.total():4} kills; {kind}: recovered in {recovery:.1f} s")
                self.longest_recovery = max(self.longest_recovery, (recovery, kind))
        self.resent += clients.resent
        assert not clients.broken_promises, clients.broken_promises[:5]
        self.verdict = judge(
            self.ledger,
            stack.database_faults,
            stack.lake,
            stack.database_url,
            addresses[0],
            stack.wait_until_drained(),
        )
        assert not self.verdict.problems, "\n".join(self.verdict.problems)
        print_line(f"all accounted for: {self.summary()}")
