"""Structured logs on stderr: one line for each event worth a person's time, none for a record."""

import logging
import sys
import threading

import structlog

from ingestion_api.observing import REQUEST_ID

log = structlog.get_logger(__name__)


def set_up_logs(log_format: str) -> None:
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


def _add_request_id(
    _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    request_id = REQUEST_ID.get()
    if request_id is not None:
        event["request_id"] = request_id
    return event
