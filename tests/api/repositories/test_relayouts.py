"""Re-layouts over the API."""

from functools import partial

from tests.api.repositories.homes import Home, code
from tests.daemon.test_bad_input import wait_until
from tests.raw_http import ask


def test_a_relayout_over_the_api(home: Home) -> None:
    [before] = [path for path in home.assets().values() if path and path.startswith("inbox/")]
    plan = home.client.repos.plan_relayout(home.name, "cas")
    assert (plan.from_strategy, plan.to_strategy, plan.moves, plan.user_area) == ("date", "cas", 1, 2)
    assert [move.from_path for move in plan.examples] == [before]
    assert home.now.storage_strategy == "date"
    ticket = home.client.repos.relayout(home.name, "cas", verify=True)
    assert home.now.storage_strategy == "cas"
    home.settle()
    assert home.client.task(ticket.task_id).state == "completed"
    found = home.client.repos.last_relayout(home.name)
    assert (found.id, found.state, found.done, found.troubles) == (ticket.relayout_id, "done", 1, [])
    assert plan.examples[0].to_path in home.assets().values()
    home.client.repos.undo_relayout(home.name)
    home.settle()
    assert before in home.assets().values()
    assert home.now.storage_strategy == "date"
    assert home.client.repos.last_relayout(home.name).state == "undone"
    assert code(lambda: home.client.repos.undo_relayout(home.name)) == "404 relayout_not_found"


def test_what_a_relayout_refuses(home: Home) -> None:
    for to in ("", "tree", "../x", "CAS"):
        assert code(partial(home.client.repos.relayout, home.name, to)) == "400 bad_storage_strategy"
    assert code(lambda: home.client.repos.plan_relayout("nobody", "cas")) == "404 repository_not_found"
    assert code(lambda: home.client.repos.last_relayout(home.name)) == "404 relayout_not_found"
    assert code(lambda: home.client.repos.undo_relayout("..")).startswith("404")
    assert ask(home.daemon, "POST", f"/repositories/{home.id}/relayout", b'{"to": "cas", "force": true}')[0] == 400
    away = home.root.with_name("gone")
    home.root.rename(away)
    assert code(lambda: home.client.repos.plan_relayout(home.name, "cas")) == "503 repository_offline"
    away.rename(home.root)
    wait_until(lambda: home.now.status == "online")
