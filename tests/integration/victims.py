"""Processes that die in the middle of a step, each as if it had just been started."""

import multiprocessing
import signal
from collections.abc import Callable
from typing import Any

# They fork from a server that has imported the modules and done nothing with them, which takes
# a tenth of the time: the Delta runtime does not survive a fork once it is in use.
_forking = multiprocessing.get_context("forkserver")
_forking.set_forkserver_preload(
    ["tests.integration.test_bulk_import", "tests.integration.outbox_rows"]
)


def die_in(target: Callable[..., object], *arguments: Any) -> None:
    """Call `target` in a process of its own, which has to kill itself."""
    victim = _forking.Process(target=target, args=arguments)
    victim.start()
    victim.join(120)
    assert victim.exitcode == -signal.SIGKILL
