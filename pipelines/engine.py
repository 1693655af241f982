"""The engine of large computations: this process, or the workers of a Ray cluster.

It runs the same function of the same values either way. What the function returns is committed by
the caller alone, so that a worker that dies, or a task that runs twice, changes nothing.
"""

import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

from pipelines.settings import PipelineSettings

_CONNECT_SECONDS: Final = 10
_RETRIES: Final = 3  # of a task whose worker or node has died
_ONE_PROCESSOR: Final = {"POLARS_MAX_THREADS": "1"}  # which is what a task has of its node

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


class EngineError(Exception):
    """A Ray cluster that can't be reached, or on which a task can't be finished."""


def run_tasks(
    settings: PipelineSettings,
    function: Callable[[_Task], _Result],
    tasks: Sequence[_Task],
) -> Generator[_Result, None, None]:
    """Yield what `function` makes of each task, in their order; close it to stop the others.

    `function` is one of a module, and tasks and results are values. On a cluster they are computed
    as many at once as it has processors, which all need this version of Wattlake; a single task is
    computed here. Raises what the function raises, and EngineError.
    """
    if settings.engine == "local" or len(tasks) < 2:
        yield from map(function, tasks)
    else:
        yield from _run_on_ray(settings, function, tasks)


def _run_on_ray(
    settings: PipelineSettings,
    function: Callable[[_Task], _Result],
    tasks: Sequence[_Task],
) -> Generator[_Result, None, None]:
    # An extra of the installation, of which the settings have made sure; it loads for a second.
    import ray  # noqa: PLC0415

    try:
        _require_listener(settings.ray_address)
        with _own_sigterm_handler():
            ray.init(
                address=settings.ray_address,
                runtime_env={"env_vars": {**_environment(settings), **_ONE_PROCESSOR}},
                log_to_driver=False,
                configure_logging=False,
            )
        try:
            remote = ray.remote(num_cpus=1, max_retries=_RETRIES)(function)
            waiting = deque(remote.remote(task) for task in tasks)
            while waiting:
                # The reference goes with its result, which the cluster then forgets.
                yield ray.get(waiting.popleft())
        finally:
            ray.shutdown()  # ends the tasks that are left
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except (ray.exceptions.RayError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise EngineError(
            f"the Ray cluster at RAY_ADDRESS {settings.ray_address} fails: {reason}. Look at its "
            "nodes, or set ENGINE=local"
        ) from error


def _require_listener(address: str) -> None:
    """Raise OSError where nobody listens at an address: Ray itself looks for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    with socket.create_connection((host, int(port)), _CONNECT_SECONDS):
        pass


def _environment(settings: PipelineSettings) -> dict[str, str]:
    """Settings of this process, for what a task reads from the environment.

    Without the one that may hold a secret: Ray shows the environment of a task to everybody.
    """
    here = {"engine", "ray_address", "run_failure_webhook"}
    values = settings.model_dump(mode="json", exclude=here, exclude_none=True)
    return {name.upper(): str(value) for name, value in values.items()}


@contextmanager
def _own_sigterm_handler() -> Iterator[None]:
    """Keep the handler of SIGTERM: Ray's own would end a run before it has noted that it ended."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)
