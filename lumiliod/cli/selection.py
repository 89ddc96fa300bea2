"""Which jobs a person means: the options that say so."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

STATES = ("available", "scheduled", "running", "retryable", "completed", "cancelled", "discarded")

Function = TypeVar("Function", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--kind"),
    click.option("--queue"),
    click.option("--state", type=click.Choice(STATES)),
    click.option("--cause", help="Why they failed, as `lumilio jobs causes` says."),
    click.option("--repo", "repository", metavar="R", help="Those of a repository, by name or id."),
    click.option("--asset", type=click.UUID, metavar="ID", help="Those about one asset."),
    click.option("--tag"),
)


def by_filter(function: Function) -> Function:
    """Add the options; they arrive as ``kind queue state cause repository asset tag``."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
