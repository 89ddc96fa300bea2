"""Plugins: entry points by group and name. Our own come the same way as a stranger's."""

from importlib.metadata import EntryPoint, entry_points

from lumiliod.domain.errors import ConfigError

# What importing foreign code raises in practice; anything else is a bug worth its traceback.
_BROKEN = (
    ImportError,
    AttributeError,
    NameError,
    SyntaxError,
    TypeError,
    ValueError,
    LookupError,
    OSError,
    RuntimeError,
    AssertionError,
)


def names(group: str) -> list[str]:
    """Return the names installed in ``group``, sorted."""
    return sorted(entry_points(group=group).names)


def load(group: str, name: str) -> object:
    """Return the object the plugin ``name`` of ``group`` names.

    Raises:
        ConfigError: it is not installed (``plugin_missing``), two packages claim the name
            (``plugin_ambiguous``) or it cannot be imported (``plugin_broken``).
    """
    point = _only(group, name)
    try:
        return point.load()
    except _BROKEN as error:
        raise ConfigError(
            f"plugin '{name}' for {group} ({point.value}) cannot be loaded: {type(error).__name__}: {error}; "
            f"installed: {', '.join(names(group))}",
            code="plugin_broken",
            group=group,
            name=name,
        ) from error


def _only(group: str, name: str) -> EntryPoint:
    """Return the entry point ``name`` of ``group``.

    Raises:
        ConfigError: there is none (``plugin_missing``), or several that differ (``plugin_ambiguous``).
    """
    found = {point.value: point for point in entry_points(group=group) if point.name == name}
    if not found:
        installed = ", ".join(names(group)) or "none"
        raise ConfigError(
            f"no plugin '{name}' for {group} is installed; installed: {installed}",
            code="plugin_missing",
            group=group,
            name=name,
        )
    if len(found) > 1:
        claimants = " and ".join(sorted(_claimant(point) for point in found.values()))
        raise ConfigError(
            f"plugin '{name}' for {group} is claimed by {claimants}; remove all but one",
            code="plugin_ambiguous",
            group=group,
            name=name,
        )
    (point,) = found.values()
    return point


def load_all(group: str) -> dict[str, object]:
    """Return every plugin of ``group`` by name, in name order.

    Raises:
        ConfigError: as :func:`load`, for the first that fails.
    """
    return {name: load(group, name) for name in names(group)}


def targets(group: str) -> dict[str, str]:
    """Return ``module:attribute`` of every plugin of ``group`` by name, without importing any.

    Raises:
        ConfigError: two packages claim a name (``plugin_ambiguous``).
    """
    return {name: _only(group, name).value for name in names(group)}


def _claimant(point: EntryPoint) -> str:
    return f"{point.dist.name} ({point.value})" if point.dist is not None else point.value
