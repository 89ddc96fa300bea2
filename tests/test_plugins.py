from collections.abc import Callable
from pathlib import Path

import pytest

from lumiliod import plugins
from lumiliod.domain.errors import ConfigError
from lumiliod.storage import backend, layout
from lumiliod.storage.date import DateLayout
from lumiliod.storage.local import LocalBackend

GROUP = "lumilio.testing"

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install distributions with entry points into a folder on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(dist: str, entries: str, group: str = GROUP) -> None:
        folder = tmp_path / f"{dist}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[{group}]\n{entries}\n")

    return make


def code(group: str, name: str) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        plugins.load(group, name)
    return caught.value.code, caught.value.message


def test_load(install: Install, tmp_path: Path) -> None:
    (tmp_path / "broken_lumilio_plugin.py").write_text("1 / None\n")
    install("ours", "b = json:dumps\na = json:loads\nx = broken_lumilio_plugin:y\ny = json:nothing\nz = no_such_module")
    install("theirs", "a = json:loads\nb = json:load")
    assert plugins.names(GROUP) == ["a", "b", "x", "y", "z"]
    assert plugins.load(GROUP, "a") is __import__("json").loads
    assert code(GROUP, "c") == (
        "plugin_missing",
        "no plugin 'c' for lumilio.testing is installed; installed: a, b, x, y, z",
    )
    assert code(GROUP, "b")[0] == "plugin_ambiguous"
    assert "ours (json:dumps) and theirs (json:load)" in code(GROUP, "b")[1]
    for name in "xyz":
        kind, message = code(GROUP, name)
        assert kind == "plugin_broken"
        assert "installed: a, b, x, y, z" in message
    with pytest.raises(ConfigError):
        plugins.load_all(GROUP)


def test_nothing_installed() -> None:
    assert plugins.load_all("lumilio.none") == {}
    assert "installed: none" in code("lumilio.none", "a")[1]


def test_layouts_and_backends_are_plugins(install: Install, tmp_path: Path) -> None:
    install("l", "test_date = lumiliod.storage.date:DateLayout\ntest_bad = json:JSONDecoder", layout.GROUP)
    install("b", "test_local = lumiliod.storage.local:LocalBackend\ntest_bad = builtins:str", backend.GROUP)
    assert layout.named("test_date") == DateLayout()
    assert isinstance(backend.named("test_local", str(tmp_path)), LocalBackend)
    with pytest.raises(ConfigError):
        layout.named("test_bad")
    with pytest.raises(ConfigError):
        backend.named("test_bad", str(tmp_path))
