"""What one run of one contestant took."""

from dataclasses import dataclass, field


@dataclass
class Round:
    """One run of one contestant. ``stages`` is wall time inside jobs, milliseconds a job."""

    wall_s: float
    cpu_s: float
    peak_mb: float = 0.0
    stages: dict[str, float] = field(default_factory=dict[str, float])
