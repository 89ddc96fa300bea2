"""What the end of an upload's job says of its bytes."""

from datetime import UTC, datetime
from uuid import uuid4

import msgspec
import pytest

from lumiliod.contract.jobs import Job
from lumiliod.contract.uploads import was_refused

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def ended(state: str, *errors: tuple[str, str]) -> Job:
    """Return the job of an upload, with the class and code of each of its errors."""
    given = dict.fromkeys(Job.__struct_fields__)
    return msgspec.convert(
        {
            **given,
            "id": uuid4(),
            "kind": "ingest",
            "queue": "ingest",
            "state": state,
            "priority": 1,
            "attempt": 1,
            "max_attempts": 5,
            "args": {"upload": str(uuid4())},
            "errors": [
                {"error_class": name, "code": code, "attempt": 1, "at": NOW, "message": ""} for name, code in errors
            ],
            "created_at": NOW,
            "scheduled_at": NOW,
            "tags": [],
            "waits_on": [],
        },
        Job,
    )


@pytest.mark.parametrize("state", ["discarded", "cancelled"])
def test_a_refusal_stays_one_when_its_job_is_superseded(state: str) -> None:
    """The same bytes refused once more end the older job, and so does whoever removes what was refused."""
    assert was_refused(ended(state, ("Permanent", "unsupported")))
    assert not was_refused(ended(state, ("Permanent", "staged_missing")))
    assert not was_refused(ended(state, ("Permanent", "unsupported"), ("Retryable", "later")))
    assert not was_refused(ended(state))


@pytest.mark.parametrize("state", ["available", "running", "retryable", "completed"])
def test_what_has_not_ended_badly_is_not_refused(state: str) -> None:
    assert not was_refused(ended(state, ("Permanent", "unsupported")))
