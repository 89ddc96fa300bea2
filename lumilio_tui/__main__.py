"""``lumilio-tui``: the console of a Lumilio library."""

import argparse
import locale
import os
import sys
from typing import NoReturn

DEFAULT_SOCKET = "/run/lumilio/lumiliod.sock"
USAGE = 64
"""Exit status of bad usage, as of all commands (sysexits.h)."""


def main() -> None:
    """Run the console until the person quits."""
    options = _parser().parse_args()
    ascii_only = options.ascii or not is_unicode()

    from lumilio_tui.pictures import detected

    # before anything else reads from the terminal
    images = detected(options.images, ascii_only=ascii_only)

    from lumilio_tui.app import Console
    from lumilio_tui.desk import Look

    console = Console(
        options.socket,
        readonly=options.readonly,
        look=Look(ascii_only=ascii_only, images=images),
        log_file=options.log_file,
    )
    if options.theme is not None:
        if options.theme not in console.available_themes:
            _refuse(f"there is no theme {options.theme}; there are {', '.join(console.available_themes)}")
        console.theme = options.theme
    console.run()


def is_unicode() -> bool:
    """Tell whether the terminal is expected to show more than ASCII, by the locale."""
    return locale.getencoding().lower().replace("-", "") == "utf8"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and how it is used."""
        self.print_usage(sys.stderr)
        _refuse(message)


def _refuse(message: str) -> NoReturn:
    sys.stderr.write(f"lumilio-tui: {message}\n")
    sys.exit(USAGE)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="lumilio-tui", description="The console of a Lumilio library.")
    parser.add_argument(
        "--socket",
        metavar="PATH",
        default=os.environ.get("LUMILIO_SOCKET") or DEFAULT_SOCKET,
        help="the daemon's socket (default: $LUMILIO_SOCKET, then %(default)s)",
    )
    parser.add_argument("--readonly", action="store_true", help="change nothing, whatever key is pressed")
    parser.add_argument(
        "--images",
        choices=("auto", "kitty", "sixel", "half", "none"),
        default=os.environ.get("LUMILIO_IMAGES") or "auto",
        help="how pictures are drawn (default: $LUMILIO_IMAGES, then what the terminal can)",
    )
    parser.add_argument("--ascii", action="store_true", help="ASCII characters only (default where the locale says so)")
    parser.add_argument(
        "--theme",
        metavar="NAME",
        default=os.environ.get("LUMILIO_THEME") or None,
        help="colours, such as textual-dark, textual-light, nord, gruvbox, textual-ansi (default: $LUMILIO_THEME)",
    )
    parser.add_argument(
        "--log-file", metavar="PATH", help="where the daemon's log is (default: the journal of the unit lumiliod)"
    )
    return parser


if __name__ == "__main__":
    main()
