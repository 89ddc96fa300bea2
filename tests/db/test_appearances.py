"""What pictures look like, kept bit by bit, and which of one person's look alike."""

from dataclasses import replace
from uuid import UUID

import psycopg
import pytest

from lumiliod.db import appearances, assets, derivatives, integrity, repositories, trash, users
from lumiliod.db.derivatives import Made
from lumiliod.domain.assets import NewDerivative
from lumiliod.domain.derivatives import FILMSTRIP, RECIPES, THUMBNAIL_RECIPE, VIDEO_WEB
from lumiliod.domain.ids import AssetId
from lumiliod.domain.media import Appearance, AssetType, Metadata
from tests.db.test_search import REPOSITORY, admit, home

LOOKS = Appearance(0x8F00_FF00_1234_5678, bytes(range(24)), 12.5, 0.5, 0.25, 0.125)


@pytest.fixture
def library(conn: psycopg.Connection) -> psycopg.Connection:
    repositories.insert(conn, home())
    return conn


def looking(conn: psycopg.Connection, number: int, phash: int | None) -> AssetId:
    owner = users.ensure_admin(conn)
    asset = admit(conn, owner, number, f"{number}.jpg", b"%d.jpg" % number, Metadata())
    appearances.put(conn, {asset: replace(LOOKS, phash=phash)})
    return asset


@pytest.mark.parametrize("phash", [0, 1, 1 << 63, (1 << 64) - 1, LOOKS.phash, None])
def test_every_bit_is_kept(library: psycopg.Connection, phash: int | None) -> None:
    asset = looking(library, 1, phash)
    assert appearances.get(library, asset) == replace(LOOKS, phash=phash)
    appearances.put(library, {asset: replace(LOOKS, phash=phash, sharpness=0.0)})
    assert appearances.get(library, asset) == replace(LOOKS, phash=phash, sharpness=0.0)
    appearances.put(library, {asset: None})
    assert appearances.get(library, asset) is None


def test_the_nearest_come_first_and_the_far_not_at_all(library: psycopg.Connection) -> None:
    hashes = [0, 0b111, 1 << 63, 0xFF, 0x1FF, None, None]
    found = [looking(library, number, phash) for number, phash in enumerate(hashes)]
    assert appearances.near(library, found[0], 8, 10) == [(found[2], 1), (found[1], 3), (found[3], 8)]
    assert appearances.near(library, found[0], 8, 1) == [(found[2], 1)]
    assert appearances.near(library, found[0], 0, 10) == []
    assert appearances.near(library, found[5], 16, 10) == []
    library.execute("UPDATE assets SET deleted_at = now() WHERE id = %s", (found[2],))
    assert appearances.near(library, found[0], 8, 10) == [(found[1], 3), (found[3], 8)]
    assert set(assets.rows(library, found)) == set(found) - {found[2]}


def test_other_people_have_their_own(library: psycopg.Connection) -> None:
    one, other = looking(library, 1, 5), looking(library, 2, 5)
    assert appearances.near(library, one, 0, 10) == [(other, 0)]
    library.execute("INSERT INTO users (id, name, role) VALUES (gen_random_uuid(), 'Ada', 'user')")
    library.execute("UPDATE assets SET owner_id = (SELECT id FROM users WHERE name = 'Ada') WHERE id = %s", (other,))
    assert appearances.near(library, one, 0, 10) == []


def test_only_what_another_recipe_made_is_made_anew(library: psycopg.Connection) -> None:
    found = sorted(looking(library, number, number) for number in range(4))
    library.execute("UPDATE assets SET status = 'ready' WHERE id <> %s", (found[0],))
    for asset, recipe in zip(found[1:], ("a", THUMBNAIL_RECIPE, "z"), strict=True):
        derive(library, asset, "thumbnail_150", recipe)
    nothing = UUID(int=0)
    assert [one for one, _ in assets.without_thumbnails(library, nothing, 10)] == [found[0], found[1], found[3]]
    assert [one for one, _ in assets.without_thumbnails(library, nothing, 2)] == [found[0], found[1]]
    assert [one for one, _ in assets.without_thumbnails(library, found[1], 10)] == [found[3]]
    derive(library, found[2], "waveform", "a")
    assert [one for one, _ in assets.without_thumbnails(library, found[1], 10)] == [found[2], found[3]]


def test_films_are_converted_anew_by_a_new_recipe_unless_they_made_room(library: psycopg.Connection) -> None:
    found = sorted(looking(library, number, number) for number in range(7))
    library.execute("UPDATE assets SET type = 'video', plays_on_web = false")
    unknown, current, older, evicted, plays, old_strip, plays_with_old_strip = found
    library.execute("UPDATE assets SET plays_on_web = NULL WHERE id = %s", (unknown,))
    library.execute("UPDATE assets SET plays_on_web = true WHERE id = ANY (%s)", ([plays, plays_with_old_strip],))
    for asset in (current, older, evicted, old_strip):
        derive(library, asset, VIDEO_WEB, RECIPES[VIDEO_WEB] if asset in (current, old_strip) else "a")
    for asset in (current, old_strip, plays, plays_with_old_strip):
        derive(library, asset, FILMSTRIP, RECIPES[FILMSTRIP] if asset in (current, plays) else "a")
    library.execute("UPDATE derivatives SET evicted_at = now() WHERE asset_id = %s", (evicted,))
    wanted = [unknown, older, old_strip, plays_with_old_strip]
    assert [one for one, _ in assets.without_web_version(library, [AssetType.VIDEO], UUID(int=0), 10)] == wanted


def derive(library: psycopg.Connection, asset: AssetId, kind: str, recipe: str) -> None:
    made = NewDerivative(kind, f"assets/{asset}.{recipe}", recipe, "image/jpeg", 1, None, None)
    derivatives.put(library, [Made(asset, REPOSITORY, [made])])


def test_a_derivative_in_a_new_place_tells_which_it_replaces(library: psycopg.Connection) -> None:
    one, other = looking(library, 1, 1), looking(library, 2, 2)
    made = [NewDerivative("waveform", place, "r", "audio/x", 1, None, None) for place in ("assets/a", "assets/b")]
    of_one = [Made(one, REPOSITORY, [made[0]])]
    assert derivatives.put(library, of_one) == {one: []}
    assert derivatives.put(library, [*of_one, Made(other, REPOSITORY, [made[0]])]) == {one: [], other: []}
    moved = [Made(one, REPOSITORY, [made[1]]), Made(other, REPOSITORY, [made[0]])]
    assert derivatives.put(library, moved) == {one: ["assets/a"], other: []}
    places = ["assets/a", "assets/b", "assets/c"]
    assert integrity.unknown_derivatives(library, REPOSITORY, places) == ["assets/c"]
    assert trash.derivatives(library, one) == [(REPOSITORY, "assets/b")]
    assert derivatives.put(library, [Made(other, REPOSITORY, [made[1]])]) == {other: ["assets/a"]}
    assert integrity.unknown_derivatives(library, REPOSITORY, places) == ["assets/a", "assets/c"]
    assert trash.derivatives(library, one) == [], "another asset has the same one"
