"""What is told of a machine: folders, disks, clocks; each with what helps."""

import datetime as dt
import os
from pathlib import Path

import pytest

from lumiliod import config
from lumiliod.contract.doctor import Check
from lumiliod.library import machine

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def folders(state_dir: Path) -> dict[str, Check]:
    chosen = config.parse("", state_dir=str(state_dir))
    return {one.name: one for one in machine.of_machine(chosen) if one.area == "folders"}


def test_a_good_machine_has_no_failures(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    tmp_path.chmod(0o700)
    chosen = config.parse("[storage]\nmin_free_mb = 0", state_dir=str(tmp_path))
    checks = machine.of_machine(chosen)
    assert [one for one in checks if one.state == "fail"] == []
    assert {one.area for one in checks} == {"tools", "folders", "disk", "clock", "limits"}
    assert all((one.fix is None) == (one.state == "ok") for one in checks)


@pytest.mark.parametrize(("mode", "state"), [(0o700, "ok"), (0o750, "ok"), (0o770, "warn"), (0o777, "warn")])
def test_who_may_write_to_a_folder(tmp_path: Path, mode: int, state: str) -> None:
    tmp_path.chmod(mode)
    found = folders(tmp_path)["state folder"]
    assert found.state == state
    assert f"{mode:04o}" in found.told


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    assert folders(tmp_path)["socket's folder"].state == "fail"
    assert folders(tmp_path / "none")["state folder"].state == "fail"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_of_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    found = folders(tmp_path)["state folder"]
    assert (found.state, found.fix is not None) == ("fail", True)


def test_room(tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    free = found.f_bavail * found.f_frsize
    assert machine.of_room("a", str(tmp_path), 0).state == "ok"
    assert machine.of_room("a", str(tmp_path), free * 2).state == "fail"
    assert machine.of_room("a", str(tmp_path), free * 3 // 4).state == "warn"
    assert machine.of_room("a", str(tmp_path / "none"), 0).state == "fail"


@pytest.mark.parametrize(("apart_s", "state"), [(0, "ok"), (-4, "ok"), (6, "warn"), (-6, "warn")])
def test_clocks(apart_s: int, state: str) -> None:
    assert machine.of_clocks(NOW, NOW + dt.timedelta(seconds=apart_s)).state == state


def test_a_clock_before_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "BUILT", dt.datetime(9000, 1, 1, tzinfo=dt.UTC))
    [found] = [one for one in machine.of_machine(config.parse("", state_dir=str(tmp_path))) if one.name == "date"]
    assert found.state == "fail"


@pytest.mark.parametrize(("share", "least", "state"), [(0.8, 0, "ok"), (0.8, 1 << 40, "warn"), (-1.0, 0, "warn")])
def test_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, least: int, state: str) -> None:
    monkeypatch.setattr(machine, "WATCHES_SHARE", share)
    monkeypatch.setattr(machine, "WATCHES_LEAST", least)
    [found] = [one for one in machine.of_machine(config.parse("", state_dir=str(tmp_path))) if one.name == "watches"]
    assert found.state == state
