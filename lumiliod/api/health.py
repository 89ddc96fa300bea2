"""Health: is the process there, is it ready, how are its services."""

import trio
from quart import Blueprint
from quart_trio.wrappers.response import TrioResponse

from lumiliod.api.routes import Operation, answer, describes
from lumiliod.contract.doctor import Checkup
from lumiliod.contract.status import Health, Live, Status
from lumiliod.domain.errors import Retryable
from lumiliod.library import doctor as library_doctor
from lumiliod.library import status as library_status
from lumiliod.runtime import Runtime


def blueprint(rt: Runtime) -> Blueprint:
    """Return the routes of health and status."""
    room = Blueprint("health", __name__)

    @room.get("/health")
    @describes(Operation(answers={200: Health}))
    async def health() -> TrioResponse:
        """Tell how every service is; the answer is 200 even when one is not well."""
        await trio.lowlevel.checkpoint()
        return answer(rt.health.snapshot())

    @room.get("/health/live")
    @describes(Operation(answers={200: Live}))
    async def live() -> TrioResponse:
        """Tell that the process answers, looking at nothing else."""
        await trio.lowlevel.checkpoint()
        return answer(Live())

    @room.get("/health/ready")
    @describes(Operation(answers={200: Live}))
    async def ready() -> TrioResponse:
        """Tell that requests can be served; 503 with the reason when they cannot."""
        await trio.lowlevel.checkpoint()
        if not rt.health.ready:
            services = rt.health.snapshot().services
            waiting = [f"{s.name} {s.state}: {s.reason}" for s in services if s.state not in ("ready", "degraded")]
            reasons = "; ".join(waiting) or "no service has started"
            raise Retryable(f"Not ready: {reasons}.", code="not_ready", after_s=1)
        return answer(Live())

    @room.get("/status")
    @describes(Operation(answers={200: Status}))
    async def status() -> TrioResponse:
        """Tell what is in the library and what is still to do."""
        return answer(await library_status.status(rt))

    @room.get("/doctor")
    @describes(Operation(answers={200: Checkup}))
    async def doctor() -> TrioResponse:
        """Look at what may keep the library from working, each thing with what helps; nothing is changed."""
        return answer(await library_doctor.checkup(rt))

    return room
