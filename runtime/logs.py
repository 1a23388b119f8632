"""Structured logs: JSON lines in production, readable lines on a terminal.

Every line has an `action`, a literal that names what happened, and the `job_id` wherever there is one.
Secrets and contents of files are never logged.
"""

import logging
import sys

import structlog

from runtime.settings import LogSettings

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logs(settings: LogSettings, service: str) -> None:
    """Set up logging for this process. Called once, from `__main__`."""
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(event_key="action", colors=sys.stderr.isatty())
        if settings.format == "console"
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    rename: list[structlog.typing.Processor] = (
        [] if settings.format == "console" else [structlog.processors.format_exc_info]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.EventRenamer("action"),
            *rename,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    # nats-py logs a traceback for every reconnect attempt; ours is logged in runtime.bus.
    logging.getLogger("nats").setLevel(logging.CRITICAL)


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger for the module `name`."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(module=name)
    return logger
