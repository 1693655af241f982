"""Replay: recorded heartbeats are posted as by a device; an interrupted replay goes on."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from pydantic import BaseModel, ValidationError

from lake.recordings import ColumnMapping
from local_stack.client.collector import TOO_MANY_NEW_DEVICES, Collector, describe
from local_stack.client.recording_files import count_rows
from local_stack.client.recordings import RecordedRow, recorded_heartbeats
from local_stack.errors import CollectorError, RecordingError
from local_stack.folders import make_folder


class _Refusal(BaseModel):
    index: int
    field: str | None
    reason: str
    code: str | None = None


class _Warning(BaseModel):
    field: str
    reason: str


class _Answer(BaseModel):
    accepted: int
    errors: list[_Refusal]
    warnings: list[_Warning] = []


@dataclass
class Position:
    """Position of a replay: rows of the file that were answered for, and the answers."""

    rows: int = 0
    accepted: int = 0
    rejected: int = 0
    finished: bool = False


class Replay:
    """Replay of one file to one collector.

    The position is kept in the user's folder for state, under the content of the file, the URL
    and the meaning, so a renamed file goes on and a changed one starts again.
    """

    def __init__(
        self, file: Path, meaning: ColumnMapping, order_by: str | None, collector: Collector
    ) -> None:
        """Read the file once; RecordingError if that fails."""
        self.file, self._meaning, self._order_by = file, meaning, order_by
        self._collector = collector
        self.rejected_file = file.with_name(f"{file.name}.rejected.ndjson")
        self.reasons: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        self.unknown_columns: dict[str, str | None] = {}
        self.rows = count_rows(file)
        key = hashlib.sha256()
        identity = json.dumps(_identity(meaning, order_by), sort_keys=True)
        for part in (_content(file), collector.url, identity):
            key.update(f"{part}\n".encode())
        self._state = _state_folder() / f"{key.hexdigest()}.json"
        self.position = Position()
        if self._state.exists():
            self.position = Position(**json.loads(self._state.read_text(encoding="utf-8")))

    def start_again(self) -> None:
        """Forget the position."""
        self.position = Position()

    def run(
        self, batch: int, patience: float, on_wait: Callable[[str], None]
    ) -> Iterator[Position]:
        """Post the rest of the file in batches; yields the position after each.

        RecordingError, FolderError, or CollectorError after `patience` seconds without an answer;
        the same replay then goes on where this one ended.
        """
        if self.position.rows == 0:
            self.rejected_file.unlink(missing_ok=True)
        every = recorded_heartbeats(self.file, self._meaning, self._order_by, self.unknown_columns)
        rest = islice(every, self.position.rows, None)
        while part := list(islice(rest, batch)):
            self._post(part, patience, on_wait)
            self.position.rows += len(part)
            self._keep_position()
            yield self.position
        self.position.finished = True
        self._keep_position()

    def _post(
        self, part: Sequence[RecordedRow], patience: float, on_wait: Callable[[str], None]
    ) -> None:
        refused = [
            (row, _Refusal(index=0, field=row.field, reason=row.problem))
            for row in part
            if row.problem is not None
        ]
        sent = [row for row in part if row.problem is None]
        heartbeats = [row.heartbeat for row in sent]
        accepted = 0
        for posted in self._collector.post_records(
            "/v1/ingest/telemetry", heartbeats, give_up_after=patience, on_wait=on_wait
        ):
            try:
                answer = _Answer.model_validate_json(posted.response.content)
            except ValidationError as error:
                raise CollectorError(
                    f"{self._collector.url} answers {describe(posted.response)} to rows "
                    f"{sent[0].row}-{sent[-1].row} of {self.file}"
                ) from error
            accepted += answer.accepted
            self.warnings.update(f"{one.field}: {one.reason}" for one in answer.warnings)
            refused += [
                (sent[posted.places[refusal.index]], refusal)
                for refusal in answer.errors
                if refusal.code != TOO_MANY_NEW_DEVICES
            ]
        self.position.accepted += accepted
        self._keep_refused(refused)

    def _keep_refused(self, refused: Sequence[tuple[RecordedRow, _Refusal]]) -> None:
        if not refused:
            return
        by_row: dict[int, tuple[RecordedRow, list[_Refusal]]] = {}
        for record, refusal in refused:
            by_row.setdefault(record.row, (record, []))[1].append(refusal)
            where = f"{refusal.field}: " if refusal.field else ""
            self.reasons[f"{where}{refusal.reason}"] += 1
        self.position.rejected += len(by_row)
        try:
            with self.rejected_file.open("a", encoding="utf-8") as file:
                for row, (record, refusals) in by_row.items():
                    errors = [refusal.model_dump(exclude={"index", "code"}) for refusal in refusals]
                    line = {"row": row, "errors": errors, "heartbeat": record.heartbeat}
                    file.write(json.dumps(line, default=str) + "\n")
        except OSError as error:
            raise RecordingError(
                f"refused rows can't be written to {self.rejected_file} ({error.strerror}): "
                "replay a copy of the file from a folder that you may write"
            ) from error

    def _keep_position(self) -> None:
        make_folder(self._state.parent)
        unfinished = self._state.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(asdict(self.position)), encoding="utf-8")
        unfinished.replace(self._state)


def _identity(meaning: ColumnMapping, order_by: str | None) -> dict[str, object]:
    identity = meaning.identity()
    is_utc = identity.get("time_zone") == "UTC"
    if is_utc:
        del identity["time_zone"]
    return {**identity, "order_by": order_by, "assume_utc": is_utc}


def _state_folder() -> Path:
    state_home = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state_home) if state_home else Path.home() / ".local" / "state"
    return base / "wattlake" / "replay"


def _content(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise RecordingError(f"{file} can't be read: {error.strerror}") from error
