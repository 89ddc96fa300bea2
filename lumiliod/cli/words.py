"""What codes mean, in words for people: a table for each family. JSON has the codes themselves."""

import re
from collections.abc import Mapping

_CODED = re.compile(r"[a-z_]+: (?=\S)")

FILE_OUTCOMES = {
    "pending": "still to be looked at",
    "asset": "asset",
    "duplicate": "duplicate",
    "trashed": "in the trash",
    "sidecar": "sidecar",
    "ignored": "ignored",
    "unsupported": "unsupported",
    "corrupt": "corrupt",
    "too_large": "too large",
    "unreadable": "unreadable",
}
"""What became of a file."""

SCAN_RESULT = {
    "found": "Found",
    "added": "New",
    "changed": "Changed",
    "moved": "Moved",
    "missing": "Missing",
    "ignored": "Left out",
    "status": "Scan",
    "note": "Note",
}
"""What a scan tells of itself."""

SYNC_TYPES = {
    "realtime": "something happened",
    "reconciliation": "it was time",
    "startup": "at the start",
    "manual": "a person asked",
}
"""Why a scan ran."""

SYNC_STATUSES = {
    "running": "under way",
    "completed": "done",
    "failed": "failed",
    "held": "held",
}
"""How a scan is, or ended."""

PLAN_ACTIONS = {
    "added": "new",
    "updated": "changed",
    "moved": "moved",
    "returned": "back",
    "retired": "missing",
}
"""What a scan would do with a file."""

HELD_STATES = {
    "held": "to be decided",
    "approved": "approved",
    "rejected": "rejected",
}
"""What a person has said of deletions that are held."""

FINDING_KINDS = {
    "missing": "missing",
    "changed": "changed",
    "bit_rot": "bit rot",
    "untracked": "not in the library",
    "unreadable": "unreadable",
}
"""What is wrong with a file."""

FINDING_STATES = {
    "open": "open",
    "ignored": "ignored",
    "healed": "healed",
    "resolved": "resolved",
    "not_found": "there is no such finding",
}
"""How a finding is, or that there is none."""

ACTIONS = {
    "restore": "put good bytes back",
    "reingest": "take in what it is now",
    "adopt": "take it into the library",
    "quarantine": "set it aside",
    "accept_missing": "give it up",
    "remake": "copy it anew",
    "none": "nothing",
}
"""What is done about a finding."""

TRASH_STATES = {
    "retiring": "being moved in",
    "trashed": "in the trash",
    "restoring": "being moved back",
    "purging": "to be purged",
    "doomed": "being purged",
}
"""Where an asset of the trash is, or is going."""

TRASH_OUTCOMES = {
    "removed": "it is in the trash now",
    "restored": "it is back",
    "restoring": "it is being moved back",
    "purging": "it is to be removed for good",
    "in_trash": "it is in the trash already",
    "not_in_trash": "it is not in the trash",
    "not_found": "there is no such asset",
    "in_motion": "its files are being moved; try again",
    "in_user_area": "its files are in folders of yours, where nothing is removed",
    "not_old_enough": "it was removed more lately than that",
    "away": "a repository with something of it is offline or detached",
    "doomed": "it is being removed for good",
    "no_file": "no file holds its bytes any more; upload them again to have it back",
}
"""What became of an asset that was to be removed, restored or purged."""

RELAYOUT_STATES = {
    "running": "under way",
    "done": "done",
    "undoing": "being undone",
    "undone": "undone",
}
"""How far a re-layout is."""

STAYING = {
    **FILE_OUTCOMES,
    "in_place": "in their place already",
    "missing": "not where they were",
    "record_gone": "not known any more",
    "changed": "other files by now",
    "moved_elsewhere": "moved by somebody else",
    "name_taken": "whose old name is another file's",
}
"""Why files stay where they are; else what they are."""

COLLISIONS = {
    "renamed": "it gets another name",
    "merged": "one of two files is kept",
}
"""What becomes of a file whose name is taken."""


def said(words: Mapping[str, str], code: str) -> str:
    """Return the words for a code; for one of a daemon that knows more, the code."""
    return words.get(code, code)


def action_said(code: str) -> str:
    """Return the words for an action, and what names it on the command line."""
    return said(ACTIONS, code) if code == "none" else f"{said(ACTIONS, code)} ({code})"


def sentence(reason: str) -> str:
    """Return a reason without the code before it."""
    return _CODED.sub("", reason, count=1) if _CODED.match(reason) else reason
