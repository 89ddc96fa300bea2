"""Have a media type look at a file in a process of its own, and tell what it did that a media worker could not do.

Started as ``python -P -B -m lumiliod.testing.watched module:attribute`` with the file as standard input; what it prints
is a line for each thing. Python tells its audit hooks of them (PEP 578); what a library does behind Python's back only
the kernel sees, which refuses it a real worker.
"""

import os
import re
import sys
import tempfile
from pkgutil import resolve_name
from typing import BinaryIO, cast

from lumiliod.media import confinement
from lumiliod.media.media_type import HEAD_BYTES, MediaType, Recipe, Source

SIZES = (1024, 300, 150)
MAX_PIXELS = 100_000_000

_OUTSIDE = re.compile(
    r"os\.(exec|fork|forkpty|kill|link|mkdir|posix_spawn|remove|rename|rmdir|symlink|system|truncate)$"
    r"|subprocess\.Popen|socket\.(bind|connect|sendto)"
)


def main() -> None:
    """Look at standard input, and tell."""
    media_type: MediaType = resolve_name(sys.argv[1])()
    told: list[str] = []
    with tempfile.TemporaryFile() as temporary:
        file = cast("BinaryIO", temporary)
        content = sys.stdin.buffer.read()
        file.write(content)
        file.seek(0)
        source = Source(file, content[:HEAD_BYTES], len(content))
        packages = {type(media_type).__module__.partition(".")[0], __name__.partition(".")[0]}
        readable = tuple(confinement.readable(packages))

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            if event == "open":
                path, _, flags = arguments
                if isinstance(path, int):
                    return
                is_written = isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
                if is_written or not os.path.realpath(cast("str", path)).startswith(readable):
                    told.append(f"opens {path!r}")
            elif _OUTSIDE.match(event):
                told.append(f"{event} {arguments}")

        sniffed = media_type.sniff(source.head, source.size_bytes)
        assert sniffed is not None
        sys.addaudithook(hook)
        media_type.inspect(source, sniffed, MAX_PIXELS)
        media_type.render(source, sniffed, Recipe(SIZES, "jpeg", 80, MAX_PIXELS))
        file.seek(0)
        if file.read() != content:
            told.append("writes to the original")
    print("\n".join(told), end="")


if __name__ == "__main__":
    main()
