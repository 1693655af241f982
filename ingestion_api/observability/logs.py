"""Structured logs on stderr: a line for each event of operation, none for a heartbeat."""

import contextlib
import io
import logging
import os
import sys
import threading
from contextvars import ContextVar

import structlog

from ingestion_api.observability.metrics import LOG_WRITES_FAILED

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)

log = structlog.get_logger(__name__)


def configure_logging(log_format: str) -> None:
    """Log as `console` text or `json`, one object a line, the server's own warnings included.

    A line that is written while a request is answered has its `request_id`.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_request_id,
    ]
    # Tracebacks without the values of variables: keys and passwords are among them.
    renderers: list[structlog.typing.Processor] = (
        [
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.JSONRenderer(),
        ]
        if log_format == "json"
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # Writes a line at once, so that those of two threads don't mix.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    sys.excepthook = lambda _kind, error, _trace: log.critical("uncaught", exc_info=error)
    threading.excepthook = lambda thread: log.critical("a thread died", exc_info=thread.exc_value)


def protect_output() -> None:
    """From now on let nothing that is written to standard output or error raise, whoever writes.

    No file or socket gets the number of one that was closed at the start.
    """
    descriptor = 0
    while descriptor <= 2:
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
    sys.stdout, sys.stderr = SafeOutput.for_descriptor(1), SafeOutput.for_descriptor(2)


class SafeOutput(io.TextIOWrapper):
    """Text that is written where that works: no disk that is full, no pipe that is closed raises.

    Whoever logs is in the middle of something that matters more than the line. What can't be
    written waits in a buffer of some kilobytes, and beyond that is lost.
    """

    @classmethod
    def for_descriptor(cls, descriptor: int) -> "SafeOutput":
        """Write to a file that stays open."""
        file = io.BufferedWriter(io.FileIO(descriptor, "wb", closefd=False))
        return cls(file, encoding="utf-8", errors="backslashreplace", line_buffering=True)

    def write(self, text: str) -> int:
        """Write, or count that it failed."""
        try:
            return super().write(text)
        except (OSError, ValueError):  # which a closed file raises
            LOG_WRITES_FAILED.inc()
            return len(text)

    def flush(self) -> None:
        """Write what waits, if that works."""
        with contextlib.suppress(OSError, ValueError):
            super().flush()


def _add_request_id(
    _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    request_id = REQUEST_ID.get()
    if request_id is not None:
        event["request_id"] = request_id
    return event
