"""API key of `wattlake up` itself, for its simulator and its status line."""

import platform
from pathlib import Path

from local_stack.errors import LocalStackError
from warehouse_sql.api_keys import create_key, list_keys, revoke_key
from warehouse_sql.errors import WarehouseError


class StackApiKey:
    """API key of a data folder, one at a time; its text is kept in memory only."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self._dsn = dsn
        place = f"wattlake up on {platform.node()} in {folder}"
        self._name = place.encode(errors="replace").decode()[:200].strip()
        self.text: str | None = None

    def make(self) -> None:
        """Create the key if there are others; without any, a key would shut out who needs none now.

        What is left of a start that was killed is revoked. LocalStackError if the database refuses.
        """
        try:
            revoke_key(self._dsn, self._name)
            if list_keys(self._dsn):
                self.text = create_key(self._dsn, self._name, ["ingest", "read"])
        except WarehouseError as error:
            raise LocalStackError(f"no API key for this stack: {error}") from error

    def revoke(self) -> str | None:
        """Revoke the key; return a message if that must wait for the next start."""
        if self.text is not None:
            self.text = None
            try:
                revoke_key(self._dsn, self._name)
            except WarehouseError as error:
                return f"its API key is revoked at the next start: {error}"
        return None
