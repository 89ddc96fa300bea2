"""Write hostile files into a folder."""

import argparse
from pathlib import Path

from tests.hostile import generate, write, write_irregular

parser = argparse.ArgumentParser(description="Write hostile files into a folder.")
parser.add_argument("folder", type=Path)
parser.add_argument("--files", type=int, default=500, metavar="N")
parser.add_argument("--seed", type=int, default=1, metavar="N")
given = parser.parse_args()
given.folder.mkdir(parents=True, exist_ok=True)
for one in write(given.folder, generate(given.files, given.seed)) + write_irregular(given.folder):
    print(f"{one.name!r}: {one.about} -> {', '.join(sorted(one.ends))}")
