"""Steps that are printed with a verdict, and go on after one that failed."""

import subprocess
import time
from collections.abc import Callable


class Steps:
    """Counts what failed; ``only`` runs on if the step before was well."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.count = 0

    def part(self, title: str) -> None:
        """Begin a part."""
        print(f"== {title}", flush=True)

    def step(self, name: str, work: Callable[[], object]) -> bool:
        """Do one step: it fails by an exception; what it returns is told if it is text."""
        self.count += 1
        began = time.monotonic()
        try:
            said = work()
        except (AssertionError, OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
            self.failed.append(name)
            print(f"FAIL  {name}", flush=True)
            for line in str(error).splitlines()[:30]:
                print(f"        {line}", flush=True)
            return False
        more = f": {said}" if isinstance(said, str) and said else ""
        print(f"ok    {name}{more} ({time.monotonic() - began:.1f} s)", flush=True)
        return True

    def skip(self, name: str, why: str) -> None:
        """Say what is not tested here."""
        print(f"skip  {name}: {why}", flush=True)


def until(is_so: Callable[[], object], what: str, limit_s: float = 60.0) -> None:
    """Wait until something holds.

    Raises:
        AssertionError: it does not, in that time.
    """
    give_up_at = time.monotonic() + limit_s
    while not is_so():
        if time.monotonic() > give_up_at:
            raise AssertionError(f"not within {limit_s:.0f} s: {what}")
        time.sleep(0.2)
