"""The one stream of what happens, for whoever stays."""

import msgspec
from quart import Blueprint

from lumiliod.api.events import send_events
from lumiliod.api.exchange import Exchange
from lumiliod.api.routes import Operation, parse_query, streams
from lumiliod.contract.events import MEDIA_TYPE
from lumiliod.contract.feed import EVENTS
from lumiliod.domain.errors import Shape
from lumiliod.library.feed import Feed, Reader
from lumiliod.library.feed_look import Looks
from lumiliod.runtime import Runtime

LAST_EVENT_ID = "Last-Event-ID"


class EventsQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Query parameters of the stream; ``topics`` are names with commas between them, all by default."""

    topics: str = ""


def blueprint(rt: Runtime) -> Blueprint:
    """Return the route of the stream; all its readers share one look."""
    room = Blueprint("feed", __name__)
    looks = Looks(rt)
    feed = Feed(looks.health, looks.look)

    @streams(
        room,
        "GET",
        "/events",
        Operation(
            answers={200: MEDIA_TYPE},
            query=EventsQuery,
            headers={LAST_EVENT_ID: "The number of the last event that was read: go on behind it."},
            events=EVENTS,
        ),
    )
    async def events(exchange: Exchange) -> None:
        """Tell what happens to jobs, assets, runs of scans and services; `reset` says when to ask anew."""
        query = parse_query(exchange.query, EventsQuery)
        topics = [topic.strip() for topic in query.topics.split(",") if topic.strip()]
        await send_events(exchange, Reader(feed, topics, _last(exchange)))

    return room


def _last(exchange: Exchange) -> int | None:
    """Return the number of the last event that the client read, if it says so.

    Raises:
        Shape: it is no number (``bad_event_id``).
    """
    told = exchange.headers.get(LAST_EVENT_ID)
    if not told:
        return None
    if len(told) > 20 or not (told.isascii() and told.isdecimal()):
        raise Shape(f"{LAST_EVENT_ID} is the number of an event", code="bad_event_id")
    return int(told)
