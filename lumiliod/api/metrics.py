"""What is measured, for Prometheus: ``GET /metrics``, beside the API."""

from quart import Blueprint

from lumiliod.api.exchange import Exchange
from lumiliod.api.routes import NoQuery, Operation, parse_query, streams
from lumiliod.library.metrics import ApiSeen, Metrics
from lumiliod.runtime import Runtime

TEXT = "text/plain"


def blueprint(rt: Runtime) -> Blueprint:
    """Return the route of the metrics."""
    room = Blueprint("metrics", __name__)
    measured = Metrics(rt)

    @streams(room, "GET", "/metrics", Operation(answers={200: TEXT}))
    async def metrics(exchange: Exchange) -> None:
        """Tell what is measured, in Prometheus' text format."""
        parse_query(exchange.query, NoQuery)
        tally = exchange.tally
        seen = ApiSeen(
            answers=dict(tally.answers),
            problems=dict(tally.problems),
            open_requests=tally.open_requests,
            open_connections=exchange.open_connections(),
            event_readers=tally.event_readers,
        )
        media_type, content = await measured.text(seen)
        await exchange.reply(200, {"Content-Type": media_type}, b"" if exchange.method == "HEAD" else content)

    return room
