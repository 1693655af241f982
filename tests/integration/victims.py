"""Processes that die in the middle of a step, each as if it had just been started."""

import signal
from collections.abc import Callable
from typing import Any

from tests.integration.forking import forking


def die_in(target: Callable[..., object], *arguments: Any) -> None:
    """Call `target` in a process of its own, which has to kill itself."""
    victim = forking.Process(target=target, args=arguments)
    victim.start()
    victim.join(120)
    assert victim.exitcode == -signal.SIGKILL
