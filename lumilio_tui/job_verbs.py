"""What can be done with jobs, in words."""

from lumilio_tui.text import count
from lumiliod.client import Client, Verb
from lumiliod.contract.jobs import JobSelection

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


def changed(client: Client, verb: Verb, wanted: JobSelection) -> str:
    """Do it, and say what became of it. Blocks."""
    done = client.change_jobs(verb, wanted)
    told = DONE[verb].format(jobs="1 job" if done.count == 1 else f"{count(done.count)} jobs")
    if done.passed_over:
        told += f" {count(done.passed_over)} not: others do their work, or they wait."
    return told
