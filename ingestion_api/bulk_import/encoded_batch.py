"""Heartbeats of one stream as numbers, to be sorted, spilled to disk and written in bulk."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ingestion_api.heartbeats.contract import ID_LENGTH
from ingestion_api.heartbeats.fast_decoder import are_valid_ids
from lake import INTERVAL, REGISTER, Stream

Codes = npt.NDArray[np.int32]
NO_ID: Final = -1
BAD_ID: Final = -2
READING_TYPES: Final = (INTERVAL, REGISTER)  # in the order of their codes


@dataclass(frozen=True)
class EncodedBatch:
    """Heartbeats of one stream in file order.

    `columns` are by name and in the stream's order: ids as codes of `IdEncoder`, reading types as
    places in READING_TYPES, times as microseconds since 1970, numbers with NaN for null.
    """

    stream: Stream
    columns: Mapping[str, npt.NDArray[Any]]

    def __len__(self) -> int:
        return len(self.columns["timestamp"])

    @property
    def devices(self) -> Codes:
        """Codes of who sent them."""
        devices: Codes = self.columns[self.stream.device]
        return devices

    @property
    def times(self) -> npt.NDArray[np.int64]:
        """Event times."""
        times: npt.NDArray[np.int64] = self.columns["timestamp"]
        return times

    def take(self, rows: npt.NDArray[np.intp] | slice) -> "EncodedBatch":
        """Some of them."""
        return EncodedBatch(
            self.stream, {name: values[rows] for name, values in self.columns.items()}
        )


def dtypes(stream: Stream) -> dict[str, np.dtype[Any]]:
    """The columns of a block, without the time of receipt."""
    return {
        stream.device: np.dtype(np.int32),
        "timestamp": np.dtype(np.int64),
        **{name: np.dtype(np.float64) for name in stream.number_columns},
        **{name: np.dtype(np.int32) for name in stream.text_columns},
        "reading_type": np.dtype(np.int8),
    }


class IdEncoder:
    """Every id of an import, and a number for each."""

    def __init__(self) -> None:
        self._judged: dict[str | None, int] = {None: NO_ID}
        self.texts: list[str] = []

    def __len__(self) -> int:
        return len(self.texts)

    def encode(self, values: Any) -> Codes:
        """The codes of an array of texts; NO_ID for a null, BAD_ID for what is no id."""
        if not pa.types.is_dictionary(values.type):
            values = pc.dictionary_encode(values)
        known = [self.encode_one(text) for text in values.dictionary.to_pylist()]
        indices = pc.fill_null(values.indices.cast(pa.int32()), len(known)).to_numpy()
        codes: Codes = np.array([*known, NO_ID], np.int32)[indices]
        return codes

    def encode_one(self, text: str | None) -> int:
        """The code of a text, NO_ID or BAD_ID."""
        code = self._judged.get(text)
        if code is None:
            assert text is not None, "null is judged from the start"
            code = BAD_ID
            if 0 < len(text) <= ID_LENGTH and are_valid_ids([text]):
                code = len(self.texts)
                self.texts.append(text)
            self._judged[text] = code
        return code

    def to_arrow(self) -> Any:
        """All ids by their codes; a further null stands for NO_ID."""
        return pa.array([*self.texts, None], pa.large_string())


def to_arrow(
    block: EncodedBatch, ids: Any, received: npt.NDArray[np.int64], imported_at: int
) -> pa.Table:
    """A table with the stream's columns; `ids` as `IdEncoder.to_arrow` gives them.

    `imported_at` is when the import began, microseconds since 1970.
    """
    kinds = pa.array(READING_TYPES, pa.large_string())
    columns = []
    for field in block.stream.arrow_schema:
        if field.name in {"received_at", "imported_at"}:
            is_receipt = field.name == "received_at"
            times = received if is_receipt else np.full(len(block), imported_at)
            columns.append(pa.array(times).view(field.type))
            continue
        values = block.columns[field.name]
        if field.name == "reading_type":
            columns.append(kinds.take(pa.array(values)))
        elif pa.types.is_large_string(field.type):
            places = np.where(values < 0, len(ids) - 1, values)
            columns.append(ids.take(pa.array(places)))
        elif pa.types.is_float64(field.type):
            columns.append(pa.array(values, from_pandas=True))  # NaN becomes null
        else:
            columns.append(pa.array(values).view(field.type))
    return pa.Table.from_arrays(columns, schema=block.stream.arrow_schema)
