"""What can be done everywhere, for the command palette."""

from collections.abc import Callable, Sequence
from functools import partial

from lumilio_tui import queue_words
from lumilio_tui.desk import Desk, Question, Verb
from lumilio_tui.queue_words import EVERY
from lumilio_tui.text import age, clock, count, size
from lumiliod.client import Client
from lumiliod.contract.integrity import VerifyRequest
from lumiliod.contract.jobs import JobSelection
from lumiliod.contract.schedules import ScheduleChange
from lumiliod.contract.trash import PurgeRequest


def everywhere(desk: Desk, names: Sequence[str], go: Callable[[int], None]) -> list[Verb]:
    """Return what does not depend on what is current."""
    return [*_screens(names, go), *_queues(desk), *_jobs(desk), *_library(desk), *_looks(desk)]


def _screens(names: Sequence[str], go: Callable[[int], None]) -> list[Verb]:
    return [
        Verb(f"Go to {name}", f"screen {number}", partial(go, number), changes=False, keys=str(number))
        for number, name in enumerate(names, 1)
    ]


def _verb(desk: Desk, name: str, told: str, does: Callable[[Client], str], question: Question | None = None) -> Verb:
    async def run() -> None:
        await desk.act(does, question=question)

    return Verb(name, told, run)


def _queues(desk: Desk) -> list[Verb]:
    queues = desk.known.queues.items if desk.known.queues is not None else []
    found = [
        _verb(desk, "Queues: pause all", "nothing begins, what runs goes on", partial(queue_words.pause, name=EVERY)),
        _verb(desk, "Queues: let all go on", "what was said of all at once", partial(queue_words.resume, name=EVERY)),
    ]
    for queue in queues:
        if queue.paused_at is None:
            does = partial(queue_words.pause, name=queue.name)
            found.append(_verb(desk, f"Queue {queue.name}: pause", "nothing begins", does))
        else:
            does = partial(queue_words.resume, name=queue.name)
            found.append(_verb(desk, f"Queue {queue.name}: go on", "paused now", does))
    return found


def _jobs(desk: Desk) -> list[Verb]:
    def retry(client: Client) -> str:
        return f"{count(client.change_jobs('retry', JobSelection(all=True)).count)} jobs begin anew."

    def backfill(client: Client) -> str:
        added = client.backfill().added
        told = ", ".join(f"{count(number)} {kind}" for kind, number in sorted(added.items()) if number)
        return f"Added: {told}." if told else "Nothing is missing."

    def scan(client: Client) -> str:
        online = [one for one in client.repositories() if one.status == "online"]
        for repository in online:
            client.scan(str(repository.id))
        return f"{len(online)} scans are asked for."

    everything = Question("Let everything that has failed begin anew?", (), "Retry")
    return [
        _verb(desk, "Jobs: retry all that failed", "of every kind and cause", retry, everything),
        _verb(desk, "Jobs: backfill", "add what is not done and that no job does", backfill),
        _verb(desk, "Repositories: scan all", "compare every one with its disk", scan),
        *_schedules(desk),
    ]


def _schedules(desk: Desk) -> list[Verb]:
    def run_now(client: Client, name: str) -> str:
        client.run_schedule(name)
        return f"{name} runs now."

    def pause(client: Client, name: str, paused: bool) -> str:
        client.change_schedule(name, ScheduleChange(paused=paused))
        return f"{name} {'is paused' if paused else 'goes on'}."

    async def named(does: Callable[[Client, str], str]) -> None:
        schedules = await desk.tell(lambda client: client.schedules())
        if schedules:
            name = await desk.prompt("Which schedule?", "", ", ".join(one.name for one in schedules)[:200])
            if name:
                await desk.act(lambda client: does(client, name))

    return [
        Verb("Schedules: run one now", "a periodic job, by name", lambda: named(run_now)),
        Verb("Schedules: pause one", "it does not run until it goes on", lambda: named(partial(pause, paused=True))),
        Verb("Schedules: let one go on", "after a pause", lambda: named(partial(pause, paused=False))),
    ]


def _library(desk: Desk) -> list[Verb]:
    def verify(client: Client) -> str:
        client.integrity.verify(VerifyRequest(all=True))
        return "Every original is read again, from now on."

    def prune(client: Client) -> str:
        client.derivatives.prune()
        return "Derivatives that nobody needs are removed, from now on."

    async def purge() -> None:
        async def question() -> Question | None:
            meant = await desk.tell(lambda client: client.trash.purge(PurgeRequest(all=True, dry_run=True)))
            if meant is None:
                return None
            return Question(f"Remove {count(meant.count)} assets of the trash for good?", (), "Purge")

        def does(client: Client) -> str:
            done = client.trash.purge(PurgeRequest(all=True))
            return f"{count(done.count)} assets are removed for good, from now on."

        await desk.act(does, question=question)

    return [
        _verb(desk, "Integrity: verify all", "read every original again, now", verify),
        _verb(desk, "Derivatives: prune", "remove what no row names, and what is over the budget", prune),
        Verb("Trash: empty", "remove everything in it for good", purge),
    ]


def _looks(desk: Desk) -> list[Verb]:
    def looking(name: str, told: str, look: Callable[[Client], list[tuple[str, str]]]) -> Verb:
        async def run() -> None:
            lines = await desk.tell(look)
            if lines is not None:
                await desk.show_lines(name, lines or [("Nothing.", "")])

        return Verb(name, told, run, changes=False)

    def workers(client: Client) -> list[tuple[str, str]]:
        now = desk.look.now()
        return [
            (
                f"{one.host} {one.pid}",
                f"{one.held} jobs, for {age(one.started_at, now)}{', this one' if one.own else ''}",
            )
            for one in client.workers()
        ]

    def schedules(client: Client) -> list[tuple[str, str]]:
        return [
            (one.name, f"{one.cron or f'every {one.every_s} s'}, {'paused' if one.paused else clock(one.next_at)}")
            for one in client.schedules()
        ]

    def derivatives(client: Client) -> list[tuple[str, str]]:
        return [
            (one.kind, f"{count(one.files)} files, {size(one.size_bytes)}, {count(one.outdated)} outdated")
            for one in client.derivatives.status().items
        ]

    def mirrors(client: Client) -> list[tuple[str, str]]:
        return [(str(one.id), f"{one.status}") for one in client.integrity.mirrors()]

    def uploads(client: Client) -> list[tuple[str, str]]:
        found = client.uploads.under_way().items
        return [(one.filename, f"{size(one.offset)} of {size(one.size_bytes or 0)}, {one.repository}") for one in found]

    return [
        looking("Workers: list", "the processes that do jobs", workers),
        looking("Schedules: list", "periodic jobs and when they run", schedules),
        looking("Derivatives: list", "what was made of originals", derivatives),
        looking("Mirrors: list", "places of second copies", mirrors),
        looking("Uploads: list", "those that are not complete", uploads),
    ]
