"""What a warm parent is told, a line of JSON each: begin a life, or say how one ended."""

from msgspec import Struct


class FaultPlan(Struct, frozen=True, kw_only=True):
    """What goes wrong below ``root``, by chance with ``seed``.

    ``chance`` is that of one call, from ``after_s`` until ``until_s`` seconds after the life began; 0 is never. At the
    call number ``die_at`` that changes anything the process kills itself; 0 is never. Every fault is a line in ``log``.
    """

    root: str
    seed: int
    log: str
    chance: float = 0.0
    after_s: float = 0.0
    until_s: float = 0.0
    die_at: int = 0


class Begin(Struct, frozen=True, tag="begin", kw_only=True):
    """Fork, and be ``lumiliod`` with these ``arguments``; the answer is its process id.

    ``launcher`` stands for the interpreter wherever the daemon starts one.
    """

    arguments: list[str]
    folder: str
    log: str
    environ: dict[str, str]
    launcher: str
    faults: FaultPlan | None = None


class Reap(Struct, frozen=True, tag="reap", kw_only=True):
    """Wait for the end of a life; the answer is its exit status, negative for a signal."""

    pid: int


Order = Begin | Reap
