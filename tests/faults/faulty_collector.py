"""A collector that can be told where to die or hang, and whose files can be limited."""

import contextlib
import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from lake import Lake
from tests.faults.collector import FAULT_FILE, arm, run
from tests.harness.collector import Collector
from tests.harness.processes import free_port, process_state

_SETTINGS: Final = {
    "FLUSH_SECONDS": "0.3",
    "FLUSH_ROWS": "500",
    "COMMIT_TIMEOUT_SECONDS": "2",
    "LAST_FLUSH_SECONDS": "10",
}


class FaultyCollector(Collector):
    """Collector that can be killed, stopped, told where to die, and started again.

    `meant_to_end`: somebody has ended it or will. `was_ready`: it has said so since its start.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        database_url: str,
        lake: Lake,
        *,
        port: int | None = None,
        wrapper: Sequence[str] = (),
        role: Mapping[str, str] | None = None,
    ) -> None:
        """`wrapper` is a command that becomes the command after it, as `strace -D` does.

        `role` are settings beside those of every collector under test.
        """
        self.meant_to_end = self.was_ready = False
        self._fault_file = folder / f"{name}.fault"
        self._copier: threading.Thread | None = None
        settings = {
            **_SETTINGS,
            "LAKE_URI": lake.uri,
            "LAKE_STORAGE_OPTIONS": json.dumps(lake.storage_options),
            "PORT": str(port or free_port()),
            FAULT_FILE: str(self._fault_file),
            **(role or {}),
        }
        module = (sys.executable, "-m", "tests.faults.collector")
        command = [*wrapper, *module] if wrapper else []
        super().__init__(
            database_url, folder, settings, name=name, program=run, command=command, timeout=10
        )

    def start(self) -> None:
        """Start it, whatever ended it before; does not wait until it is ready."""
        self._fault_file.unlink(missing_ok=True)
        self.meant_to_end = self.was_ready = False
        # Through a pipe, because a limit on the size of files would hit the log, too.
        reading, writing = os.pipe()
        self._copier = threading.Thread(target=self._keep_log, args=(reading,))
        self._copier.start()
        try:
            self._process = self._launch(writing)
        finally:
            os.close(writing)

    def die_at(self, step: str, passes: int) -> None:
        """Let it die by SIGKILL when its lake writer comes to `step` for that many times."""
        self.meant_to_end = True
        arm(self._fault_file, step, passes, signal.SIGKILL)

    def hang_at(self, step: str, passes: int) -> None:
        """Let all of it stop at once when its lake writer comes to `step`; see `resume`."""
        arm(self._fault_file, step, passes, signal.SIGSTOP)

    @property
    def hangs(self) -> bool:
        """True where it was stopped and waits for `resume`."""
        return process_state(self.pid) == "T"

    def resume(self) -> None:
        """End a hang."""
        super().signal(signal.SIGCONT)

    def wait(self, seconds: float = 60) -> int:
        """Exit code, once it has ended; subprocess.TimeoutExpired if it has not in time."""
        code = super().wait(seconds)
        if self._copier is not None:
            self._copier.join()
        return code

    def limit_files(self, size: int) -> None:
        """Let writes beyond `size` bytes of a file fail (EFBIG); -1 takes the limit back."""
        with contextlib.suppress(ProcessLookupError):
            _, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (size, hard))

    def ask(self, path: str) -> dict[str, Any] | None:
        """JSON answer to a GET, whatever its status; None if there is no answer."""
        answer = super().ask(path)
        if answer and path == "/readyz" and answer["ready"]:
            self.was_ready = True
        return answer

    @property
    def writes_lake(self) -> bool:
        """True where it says that it writes the lake."""
        return bool((self.ask("/readyz") or {}).get("lakeWriter"))

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal that ends it."""
        self.meant_to_end = True
        super().signal(number)

    def _keep_log(self, output: int) -> None:
        with open(output, "rb") as lines, self.log.open("ab", buffering=0) as log:
            log.writelines(lines)
