"""``lumilio-tui``: the console of a Lumilio library."""

import argparse
import os

DEFAULT_SOCKET = "/run/lumilio/lumiliod.sock"


def main() -> None:
    """Run the console until the person quits."""
    parser = argparse.ArgumentParser(prog="lumilio-tui", description="The console of a Lumilio library.")
    parser.add_argument(
        "--socket",
        metavar="PATH",
        default=os.environ.get("LUMILIO_SOCKET") or DEFAULT_SOCKET,
        help="the daemon's socket (default: $LUMILIO_SOCKET, then %(default)s)",
    )
    options = parser.parse_args()

    from lumilio_tui.app import Console

    Console(options.socket).run()


if __name__ == "__main__":
    main()
