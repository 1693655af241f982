"""The library that draws the page's charts: Vega, Vega-Lite and vega-embed as one ES module.

It is a part of vl-convert, which the reports draw with, so nothing is loaded from elsewhere. To
take it out costs seconds and 100 MB: a process of its own does that once for each version, when a
page is first asked for, and the module is kept in the user's folder of caches.
"""

import asyncio
import hashlib
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger(__name__)

SNIPPET: Final = "globalThis.vegaEmbed = vegaEmbed;"

_PACKAGE: Final = "vl-convert-python"


class ChartLibrary:
    """Makes the module when it is first needed."""

    def __init__(self, folder: Path) -> None:
        key = f"{_PACKAGE} {version(_PACKAGE)} {SNIPPET}"
        self.name = f"charts-{hashlib.sha256(key.encode()).hexdigest()[:12]}.js"
        self._file = folder / f"{self.name}.gz"
        self._content: bytes | None = None
        self._making = asyncio.Lock()

    async def read(self) -> bytes:
        """The module, gzipped. Raises RuntimeError if it can't be made."""
        async with self._making:
            if self._content is None:
                self._content = await asyncio.to_thread(self._kept)
            if self._content is None:
                self._content = await _made()
                await asyncio.to_thread(self._keep, self._content)
            return self._content

    def _kept(self) -> bytes | None:
        try:
            return self._file.read_bytes()
        except OSError:  # not there yet, or in a folder that this account can't read
            return None

    def _keep(self, content: bytes) -> None:
        # Several collectors may make it at once: each renames a file of its own.
        own = self._file.with_suffix(f".{os.getpid()}")
        try:
            own.parent.mkdir(parents=True, exist_ok=True)
            own.write_bytes(content)
            own.replace(self._file)
        except OSError as error:
            log.info("the chart library is kept in memory only", reason=str(error))


def cache_folder() -> Path:
    """Return this account's folder for what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "wattlake"


async def _made() -> bytes:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ingestion_api.page.chart_bundle"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        content, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise RuntimeError(f"the chart library can't be made: {said.decode(errors='replace')}")
    return content
