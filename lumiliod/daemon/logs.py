"""Logging: constant messages, data as fields; text for people, JSON for programs, fields for the journal."""

import datetime as dt
import json
import logging
import os
import sys
import textwrap
from functools import partial
from typing import Literal

from lumiliod.daemon import journal
from lumiliod.daemon.log_limits import Limits
from lumiliod.domain.logged import FIELDS
from lumiliod.domain.text import visible_json

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}

Style = Literal["auto", "text", "json", "journal"]

FRAMES = "frames"
"""The field that has several lines: the frames of an error whose messages are not to be told."""

_PLAIN = logging.Formatter()


class TextFormatter(logging.Formatter):
    """``12:00:00 warning job failed kind=ingest code=corrupt reason="no picture"``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, and the traceback if there is one."""
        when = dt.datetime.fromtimestamp(record.created, dt.UTC).strftime("%H:%M:%S")
        return f"{when} {record.levelname.lower()} {_said(record)}{_below(record, self)}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        entry: dict[str, object] = {
            "at": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return visible_json(json.dumps(entry, default=str, ensure_ascii=False))


class JournalHandler(logging.Handler):
    """Records as the journal's own, each field by its name; on standard error while the journal is away."""

    def __init__(self, to: journal.Journal, program: str) -> None:
        super().__init__()
        self._journal = to
        self._program = program
        self._instead = logging.StreamHandler()
        self._instead.setFormatter(JsonFormatter())
        self.lost = 0
        """Records that the journal, held up, did not take; it is told when it takes the next."""

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        try:
            if self.lost:
                self._journal.send(self._told(_lost(self.lost)))
                self.lost = 0
            self._journal.send(self._told(record))
        except BlockingIOError:
            # standard error is the same journal's, and would hold up whoever logs
            self.lost += 1
        except OSError:
            self._instead.emit(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Close the way to the journal."""
        self._journal.close()
        super().close()

    def _told(self, record: logging.LogRecord) -> dict[str, str]:
        told = {
            "MESSAGE": _said(record) + _below(record, _PLAIN),
            "PRIORITY": str(journal.priority(record.levelno)),
            "SYSLOG_IDENTIFIER": self._program,
            "LOGGER": record.name,
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
            "CODE_FUNC": record.funcName or "",
        }
        return told | {journal.field_name(name): str(value) for name, value in _fields(record).items()}


def configure(level: str, style: Style, *, per_minute: int = 0, program: str = "lumiliod") -> None:
    """Send all logging where ``style`` says, to standard error unless that is the journal.

    Args:
        level: the least that is logged.
        style: ``auto`` is the journal where that reads standard error, else text; the journal that cannot be
            reached is replaced by ``json``.
        per_minute: how often the same is logged in a minute; 0 is without a limit.
        program: what the journal calls this.
    """
    handler = _handler(style, program)
    root = logging.getLogger()
    for old in root.handlers:
        for limits in old.filters:
            if isinstance(limits, Limits):
                limits.close()
        old.close()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    if per_minute:
        handler.addFilter(Limits(per_minute, partial(_emit, handler)))
    for noisy in ("PIL", "hypercorn", "quart", "httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(max(root.level, logging.WARNING))
    logging.captureWarnings(capture=True)


def _handler(style: Style, program: str) -> logging.Handler:
    if style == "auto":
        style = "journal" if journal.is_ours(os.environ) else "text"
    if style == "journal":
        try:
            return JournalHandler(journal.Journal(journal.SOCKET), program)
        except OSError:
            style = "json"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    return handler


def _said(record: logging.LogRecord) -> str:
    """Return the message with its fields, on one line."""
    fields = {name: value for name, value in _fields(record).items() if name != FRAMES}
    return one_line(record.getMessage()) + "".join(f" {name}={_value(value)}" for name, value in fields.items())


def _below(record: logging.LogRecord, formatter: logging.Formatter) -> str:
    """Return what stands on lines of its own: where an error came from."""
    parts = [str(getattr(record, FRAMES, "")).rstrip()]
    if record.exc_info:
        # what an exception says may have lines, too: none begins as a record does
        parts.append(textwrap.indent(formatter.formatException(record.exc_info), "  "))
    lines = [line for part in parts if part for line in part.split("\n")]
    return "".join(f"\n{one_line(line)}" for line in lines)


def _emit(handler: logging.Handler, record: logging.LogRecord) -> None:
    """Log a record past the filters."""
    handler.acquire()
    try:
        handler.emit(record)
    finally:
        handler.release()


def one_line(value: object) -> str:
    """Return a value that cannot begin a line of its own, nor control a terminal."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _value(value: object) -> str:
    """Return a value as logfmt writes it: in quotes where it could be taken for the end, or for a field of its own."""
    text = one_line(value)
    if text and not any(c in text for c in ' "='):
        return text
    return '"' + text.replace('"', r"\"") + '"'


def _lost(count: int) -> logging.LogRecord:
    made = {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING", "count": count}
    return logging.makeLogRecord({**made, "msg": "the journal was held up, and lines were lost"})


def _fields(record: logging.LogRecord) -> dict[str, object]:
    own = {key: value for key, value in record.__dict__.items() if key not in _STANDARD}
    return {**FIELDS.get(), **own}
