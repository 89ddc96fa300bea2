"""Settings of a repository: what they do, where they stand, and what cannot be."""

from pathlib import Path

import yaml

from lumiliod.contract.repositories import NewRepository, RepositoryChange
from tests.api.repositories.homes import Home, code
from tests.daemon.test_bad_input import wait_until
from tests.raw_http import ask


def test_settings_hold_at_once_and_stand_in_the_marker(home: Home) -> None:
    marker = home.root / ".lumiliorepo"
    marker.write_text(marker.read_text() + "theirs: {kept: yes}\n")
    wanted = RepositoryChange(
        max_file_size_kb=1, handle_duplicate_filenames="uuid", ignore_patterns=["other.*"], full_scan_interval_s=0
    )
    changed = home.client.repos.change(home.name, wanted)
    assert changed.settings is not None
    assert (changed.settings.max_file_size_kb, changed.settings.ignore_patterns) == (1, ["other.*"])
    tree = yaml.safe_load(marker.read_text())
    assert (tree["id"], tree["theirs"]) == (str(home.id), {"kept": "yes"})
    assert tree["local_settings"]["handle_duplicate_filenames"] == "uuid"
    assert tree["sync_settings"]["full_scan_interval"] == "0s"
    assert f"scan:{home.id}" not in {schedule.name for schedule in home.client.schedules()}
    assert code(lambda: home.client.upload(str(home.upload), repository=home.name)) == "413 too_large"
    home.settle()
    wait_until(lambda: home.outcomes()["Trip/other.jpg"] == "ignored" or not home.now.scanning)
    again = home.client.repos.change(home.name, RepositoryChange(max_file_size_kb=0, name=f"{home.name} anew"))
    assert (again.name, again.id) == (f"{home.name} anew", home.id)
    assert again.settings is not None
    assert (again.settings.max_file_size_kb, again.settings.handle_duplicate_filenames) == (0, "uuid")
    home.client.upload(str(home.upload), repository=again.name)


def test_settings_that_cannot_be(home: Home, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    home.client.add_repository(NewRepository(path=str(tmp_path / "second"), name=f"{home.name}-2"))
    before = (home.root / ".lumiliorepo").read_bytes()

    def change(name: str) -> str:
        return code(lambda: home.client.repos.change(home.name, RepositoryChange(name=name)))

    assert change(f"{home.name}-2") == "409 name_taken"
    assert change("a/b") == change("..") == change(" ") == "400 bad_name"
    bodies = [
        b'{"max_file_size_kb": -1}',
        b'{"ignore_patterns": ["a/b"]}',
        b'{"ignore_patterns": [""]}',
        b'{"handle_duplicate_filenames": "replace"}',
        b'{"id": "x"}',
        b'{"full_scan_interval_s": -1}',
    ]
    for body in bodies:
        assert ask(home.daemon, "PATCH", f"/repositories/{home.id}", body)[0] == 400, body
    assert code(lambda: home.client.repos.change("nobody", RepositoryChange())) == "404 repository_not_found"
    assert (home.root / ".lumiliorepo").read_bytes() == before
