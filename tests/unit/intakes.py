"""Reading a body as the collector does; what its quick look takes, the close one takes alike."""

from ingestion_api.heartbeats.batch import Limits
from ingestion_api.heartbeats.strict_decoder import Intake, close_batch, quick_batch


def read_batch(body: bytes, kind: str, limits: Limits) -> Intake:
    """The intake of a JSON body."""
    quick = quick_batch(body, kind, limits)
    if quick is None:
        return close_batch(body, kind, limits)
    close = close_batch(body, kind, limits)
    assert not close.refusals
    assert quick.rows.keys() == close.rows.keys()
    for stream, rows in quick.rows.items():
        assert rows.to_arrow().equals(close.rows[stream].to_arrow())
    return quick


def read_telemetry(body: bytes, limits: Limits) -> Intake:
    """The intake of a JSON body whose records tell their kind."""
    return read_batch(body, "telemetry", limits)
