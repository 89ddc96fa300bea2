"""Every code that people are shown has words, and every word a code."""

import re
from typing import get_args

import pytest

from lumiliod.cli import words
from lumiliod.contract.relayout import Resolution
from lumiliod.contract.sync import PlanAction
from lumiliod.contract.trash import TrashOutcome
from lumiliod.db.due import Q as DUE
from lumiliod.db.relayout import State
from lumiliod.db.relayout_journal import Q as JOURNAL
from lumiliod.domain.assets import Outcome
from lumiliod.domain.sync import HeldState, SyncCounts, SyncStatus, SyncType
from lumiliod.domain.trash import TrashState
from lumiliod.library import integrity, plan

WAYS_BACK = re.findall(r"THEN '(\w+)'", JOURNAL["ways_back"])

TABLES: list[tuple[dict[str, str], set[str]]] = [
    (words.FILE_OUTCOMES, set(Outcome)),
    (words.FINDING_KINDS, set(integrity.KINDS)),
    (words.FINDING_STATES, {*integrity.STATES, "not_found"}),
    (words.ACTIONS, {*plan.ACTIONS, "none"}),
    (words.TRASH_STATES, set(TrashState)),
    (words.TRASH_OUTCOMES, set(get_args(TrashOutcome))),
    (words.RELAYOUT_STATES, set(get_args(State))),
    (words.STAYING, {*Outcome, "in_place", "missing", *WAYS_BACK}),
    (words.COLLISIONS, set(get_args(Resolution))),
    (words.SYNC_TYPES, set(SyncType)),
    (words.SYNC_STATUSES, set(SyncStatus)),
    (words.PLAN_ACTIONS, set(get_args(PlanAction))),
    (words.HELD_STATES, set(HeldState)),
    (words.SCAN_RESULT, {*SyncCounts.__dataclass_fields__, "status", "note"} - {"returned"}),
]


@pytest.mark.parametrize(("table", "codes"), TABLES)
def test_every_code_has_words(table: dict[str, str], codes: set[str]) -> None:
    assert set(table) == codes
    assert not [text for text in table.values() if "_" in text]


def test_every_table_is_looked_at() -> None:
    tables = [value for name, value in vars(words).items() if name.isupper() and not name.startswith("_")]
    assert [table for table in tables if all(table is not known for known, _ in TABLES)] == []


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("file_missing: there is no file a: b.jpg", "there is no file a: b.jpg"),
        ("the same bytes were there: one file is kept", "the same bytes were there: one file is kept"),
        ("corrupt", "corrupt"),
        ("C: is no place", "C: is no place"),
    ],
)
def test_reasons_are_told_without_their_code(reason: str, told: str) -> None:
    assert words.sentence(reason) == told


def test_what_keeps_from_purging_has_words() -> None:
    codes = re.findall(r"(?:THEN|ELSE) '(\w+)'", DUE["why_not_due"])
    assert codes
    assert set(codes) <= set(words.TRASH_OUTCOMES)
