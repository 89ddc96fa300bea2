"""What a world has to tell, while it is soaked and when that is over."""

import msgspec


class Report(msgspec.Struct, kw_only=True):
    """Counts so far; ``done`` with the account at the end, whose problems are told in words."""

    kills: int = 0
    acknowledged: int = 0
    counts: dict[str, int] = {}
    faults: dict[str, int] = {}
    refused: dict[str, int] = {}
    disk: str = ""
    lost: list[str] = []
    changed: list[str] = []
    orphans: list[str] = []
    stuck: list[str] = []
    failure: str | None = None
    done: bool = False

    @property
    def problems(self) -> list[str]:
        """What must not be, in words."""
        return [*self.lost, *self.changed, *self.orphans, *self.stuck, *([self.failure] if self.failure else [])]


def added(reports: list[Report]) -> Report:
    """Return what several worlds tell together."""
    total = Report(done=all(report.done for report in reports))
    for report in reports:
        total.kills += report.kills
        total.acknowledged += report.acknowledged
        for name in ("counts", "faults", "refused"):
            sums: dict[str, int] = getattr(total, name)
            for key, count in getattr(report, name).items():
                sums[key] = sums.get(key, 0) + count
        for name in ("lost", "changed", "orphans", "stuck"):
            getattr(total, name).extend(getattr(report, name))
        total.failure = total.failure or report.failure
    total.disk = ", ".join(report.disk for report in reports)
    return total
