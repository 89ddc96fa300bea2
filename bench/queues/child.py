"""One part of a measurement in a process of its own: ``python -m bench.queues.child PART CONTENDER JSON``.

Prints one JSON object when it is done; a listening worker prints a line before, when it idles.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from bench.queues.contender import Contender
from bench.queues.server import Place


def main() -> None:
    """Run the part that is asked for."""
    part, name, given = sys.argv[1:]
    arguments: dict[str, Any] = json.loads(given)
    place = Place(**arguments.pop("place"))
    print(json.dumps(_told(part, name, place, arguments), default=asdict), flush=True)


def _told(part: str, name: str, place: Place, arguments: dict[str, Any]) -> object:
    if part == "itself":
        from bench.queues.own import Own

        return Own().listen_to_itself(place, **arguments)
    if part == "claims":
        from bench.queues.claims import claims

        return claims(place, **arguments)
    contender = _contender(name)
    if part == "listen":
        return contender.listen(place, ready=_ready, **arguments)
    parts: dict[str, Callable[..., object]] = {
        "install": contender.install,
        "enqueue": contender.enqueue,
        "drain": contender.drain,
        "send": contender.send,
    }
    return parts[part](place, **arguments)


def _ready() -> None:
    print("ready", flush=True)


def _contender(name: str) -> Contender:
    # each process loads one of them: nobody pays for what another one imports
    if name == "lumilio":
        from bench.queues.own import Own

        return Own()
    if name == "procrastinate":
        from bench.queues.peer_procrastinate import Procrastinate

        return Procrastinate()
    from bench.queues.peer_pgqueuer import Pgqueuer

    return Pgqueuer()


if __name__ == "__main__":
    main()
