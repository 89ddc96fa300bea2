"""What a lane takes of what it has claimed: units of batches, shared by the slots that are free."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pytest

from lumiliod.domain.ids import JobId
from lumiliod.domain.jobs import ClaimedJob
from lumiliod.jobs.buffer import Buffer


def claimed(*numbers: int, alone: bool = False, priority: int = 2) -> list[ClaimedJob]:
    args = {"alone": True} if alone else {}
    return [ClaimedJob(JobId(uuid4()), n, "work", "work", priority, n, 1, 5, args, None, None) for n in numbers]


def is_together(args: Mapping[str, Any]) -> bool:
    return "alone" not in args


def units(buffer: Buffer, free: int = 1) -> list[list[int]]:
    found = []
    while unit := buffer.next_unit({}, free):
        found.append([job.seq for job in unit])
    return found


def test_jobs_that_run_by_themselves_part_the_others() -> None:
    buffer = Buffer({"work": 3}, {"work": is_together})
    buffer.add([*claimed(1, 2), *claimed(3, 4, alone=True), *claimed(5, 6, 7, 8)])
    assert buffer.units == 4, "two by themselves, six in threes"
    assert units(buffer) == [[1, 2], [3], [4], [5, 6, 7], [8]]


@pytest.mark.parametrize(
    ("free", "sizes"), [(1, [4, 4, 1]), (2, [4, 3, 1, 1]), (5, [2, 2, 1, 1, 1, 1, 1]), (20, [1] * 9), (0, [4, 4, 1])]
)
def test_slots_that_are_free_share_what_waits(free: int, sizes: list[int]) -> None:
    buffer = Buffer({"work": 4})
    buffer.add(claimed(*range(9)))
    found = units(buffer, free)
    assert [len(unit) for unit in found] == sizes
    assert [number for unit in found for number in unit] == list(range(9))


def test_of_jobs_that_run_by_themselves_no_batches_are_claimed() -> None:
    buffer = Buffer({"work": 8, "other": 4}, {"work": is_together})
    assert buffer.batches == {"work": 8, "other": 4}
    buffer.add([*claimed(1), *claimed(2, alone=True)])
    assert buffer.batches == {"work": 1, "other": 4}
    buffer.add(claimed(3))
    assert buffer.batches == {"work": 8, "other": 4}
