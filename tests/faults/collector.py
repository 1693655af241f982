"""`python -m tests.faults.collector`: the real collector, which can be told where to die or hang.

Its own `main` runs unchanged. The lake writer looks for the file `FAULT_FILE` at every step of a
flush; where the file names that step, the process sends itself SIGKILL or SIGSTOP.
"""

import os
from functools import partial
from pathlib import Path
from typing import Final
from unittest.mock import patch

from ingestion_api import app
from ingestion_api.__main__ import main
from ingestion_api.outbox.lake_writer import LakeWriter

FAULT_FILE: Final = "FAULT_FILE"


def arm(file: Path, step: str, passes: int, signal_number: int) -> None:
    """Let the collector that looks at `file` get a signal at its so many-th pass of `step`."""
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(f"{step} {passes} {signal_number}", encoding="ascii")
    unfinished.rename(file)


def fail_at_step(file: Path, step: str) -> None:
    """Send the armed signal if this is its step; called at every step of a flush."""
    try:
        fatal, passes, signal_number = file.read_text(encoding="ascii").split()
    except FileNotFoundError:
        return
    if fatal != step:
        return
    file.unlink()
    if int(passes) > 1:
        arm(file, step, int(passes) - 1, int(signal_number))
    else:
        os.kill(os.getpid(), int(signal_number))


def run() -> int:
    """Run the collector until a signal ends it; returns its exit code."""
    at_step = partial(fail_at_step, Path(os.environ[FAULT_FILE]))
    with patch.object(app, "LakeWriter", partial(LakeWriter, at_step=at_step)):
        return main()


if __name__ == "__main__":
    raise SystemExit(run())
