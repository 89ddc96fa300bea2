"""A folder that the daemon may not write: it says who would have to let it in."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

NOBODY = 65534


def test_it_says_what_would_help(short_dir: Path) -> None:
    folder = short_dir / "closed"
    folder.mkdir(mode=0o755)
    folder.chmod(0o555)
    # root may write everywhere: it becomes somebody else
    program = f"""
import os
from lumiliod.domain.errors import Forbidden
from lumiliod.storage import roots
if os.geteuid() == 0:
    os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
try:
    roots.checked({str(folder)!r}, [], [])
except Forbidden as error:
    print(error.code, error.message)
"""
    short_dir.chmod(0o755)
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    user = pwd.getpwuid(os.geteuid() or NOBODY).pw_name
    assert said.startswith(f"root_not_writable cannot write in {folder}: the daemon's user {user} may not; ")
