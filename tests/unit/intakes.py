"""Decoding of a body as in the collector; what is decoded fast, is decoded strictly alike."""

from ingestion_api.heartbeats.batch import Limits
from ingestion_api.heartbeats.strict_decoder import (
    DecodedBatch,
    decode_batch_fast,
    decode_batch_strict,
)


def read_batch(body: bytes, kind: str, limits: Limits) -> DecodedBatch:
    """The intake of a JSON body."""
    quick = decode_batch_fast(body, kind, limits)
    if quick is None:
        return decode_batch_strict(body, kind, limits)
    close = decode_batch_strict(body, kind, limits)
    assert not close.refusals
    assert quick.rows.keys() == close.rows.keys()
    for stream, rows in quick.rows.items():
        assert rows.to_arrow().equals(close.rows[stream].to_arrow())
    return quick


def read_telemetry(body: bytes, limits: Limits) -> DecodedBatch:
    """The intake of a JSON body whose records tell their kind."""
    return read_batch(body, "telemetry", limits)
