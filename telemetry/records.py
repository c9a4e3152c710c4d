"""Redaction of everything that goes through the standard library's logging, whoever logs it.

A filter on a handler would miss the handlers that others add later, and ComfyUI itself logs the traceback of a
failed node; so the *record factory* is wrapped: each record is clean before any handler sees it.  A record that
holds no credential is not touched.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable

from .redact import Redactor

CLIENT_LOGGERS = ("boto3", "botocore", "s3transfer", "urllib3")
"""at DEBUG these print headers, canonical requests and signatures"""

_RecordFactory = Callable[..., logging.LogRecord]


def redact_records(redactor: Redactor) -> Callable[[], None]:
    """Wraps the record factory; the returned callable takes the wrapper off (or blinds it, if somebody wrapped it since)."""
    before = logging.getLogRecordFactory()
    active = True

    def factory(*args: object, **kwargs: object) -> logging.LogRecord:
        record: logging.LogRecord = before(*args, **kwargs)
        if active:
            _clean(record, redactor)
        return record

    def undo() -> None:
        nonlocal active
        active = False
        if logging.getLogRecordFactory() is factory:
            logging.setLogRecordFactory(before)

    logging.setLogRecordFactory(factory)
    return undo


def cap_client_loggers() -> None:
    """No DEBUG from the S3 client's own loggers, whatever the root says.  Stays: nobody may open them by stopping the log."""
    for name in CLIENT_LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.getEffectiveLevel(), logging.INFO))


def _clean(record: logging.LogRecord, redactor: Redactor) -> None:
    try:
        message = record.getMessage()
    except Exception:  # a wrong format string: logging reports that itself, at the handler
        return
    clean = redactor.text(message)
    if clean != message:
        record.msg, record.args = clean, None
    if record.exc_info and record.exc_info[0] is not None:
        trace = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        clean = redactor.text(trace)
        if clean != trace:
            # Formatters print a ready exc_text as it is.
            record.exc_text, record.exc_info = clean, None
