"""The command line as its users run it, in a process of its own."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from local_stack.cli.main import main
from tests.harness.collector import Collector
from tests.harness.forked import Forked

DONE, FAILED, WRONG_USAGE, SOME_REFUSED = 0, 1, 2, 3


def wattlake(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder`, with nothing of the caller's settings.

    In a process of its own, which spends no second on imports.
    """
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    environment = {**kept, "XDG_STATE_HOME": str(folder / "state"), **environment}
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        outputs = stdout.fileno(), stderr.fileno()
        process = Forked(partial(run_command, arguments), folder, environment, *outputs)
        try:
            code = process.wait(120)
        finally:
            process.kill()
        for output in (stdout, stderr):
            output.seek(0)
        return subprocess.CompletedProcess(
            ["wattlake", *arguments], code, stdout.read(), stderr.read()
        )


def run_command(arguments: Sequence[str]) -> None:
    """Run `python -m local_stack` without its imports."""
    sys.argv = ["wattlake", *arguments]
    main()


def failed_with(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The one line on standard error of a command that ended with `code`."""
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def url_of(collector: Collector) -> str:
    return f"http://127.0.0.1:{collector.port}"
