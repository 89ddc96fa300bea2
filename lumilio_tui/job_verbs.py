"""What can be done with jobs, in words."""

import time
from collections.abc import Sequence

import msgspec

from lumilio_tui.desk import Desk, Question
from lumilio_tui.job_filter import JobWanted
from lumilio_tui.text import count
from lumiliod.client import Client, Verb
from lumiliod.contract.jobs import JobSelection

SHOWN = 100
"""So many of what is meant are named."""

QUESTIONS: dict[Verb, str] = {
    "retry": "Let {jobs} begin anew?",
    "cancel": "End {jobs}, what runs at once, and what waits for them?",
    "discard": "Give up {jobs}? They stay among the failures.",
}

DONE: dict[Verb, str] = {
    "retry": "{jobs} begin anew.",
    "cancel": "{jobs} ended.",
    "discard": "{jobs} given up.",
}


def about(verb: Verb, number: int, told: Sequence[str]) -> Question:
    """Return the question about so many jobs, of which some can be named."""
    jobs = "1 job" if number == 1 else f"{count(number)} jobs"
    named = list(told[:SHOWN])
    if named and number > len(named):
        named.append(f"and {count(number - len(named))} more")
    return Question(QUESTIONS[verb].format(jobs=jobs), named, verb.capitalize())


def changed(client: Client, verb: Verb, wanted: JobSelection) -> str:
    """Do it, and say what became of it. Blocks."""
    done = client.change_jobs(verb, wanted)
    told = DONE[verb].format(jobs="1 job" if done.count == 1 else f"{count(done.count)} jobs")
    if done.passed_over:
        told += f" {count(done.passed_over)} not: others do their work, or they wait."
    return told


class Matching:
    """Something that is to be done with all jobs of a filter, as it is now and with those that are there now."""

    def __init__(self, desk: Desk, verb: Verb, wanted: JobWanted) -> None:
        self._desk = desk
        self._verb: Verb = verb
        self._wanted = wanted
        self._asked_at = time.monotonic()

    async def question(self) -> Question | None:
        """Ask the daemon how many are meant; None, which is said, when there are none."""
        dry = self._wanted.selection(dry_run=True)
        self._asked_at = time.monotonic()
        meant = await self._desk.tell(lambda client: client.change_jobs(self._verb, dry))
        if meant is None:
            return None
        if not meant.count:
            self._desk.say(f"There is nothing to {self._verb}.")
            return None
        query = " ".join(f"{name}:{value}" for name, value in self._wanted.query.items())
        question = about(self._verb, meant.count, ())
        return Question(
            question.title, [f"All that match {query}" if query else "All jobs there are.", LATER], question.yes
        )

    def change(self, client: Client) -> str:
        """Do it, to none that came since it was asked about. Blocks."""
        since_s = time.monotonic() - self._asked_at
        wanted = msgspec.structs.replace(self._wanted.selection(), older_s=since_s, all=False)
        return changed(client, self._verb, wanted)


LATER = "What comes while you read this is left alone."
