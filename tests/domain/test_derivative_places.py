import pytest

from lumiliod.domain.derivatives import FOLDERS, RECIPES, THUMBNAIL_RECIPE, digest_at, place
from lumiliod.domain.errors import Shape
from lumiliod.domain.ids import Digest

DIGEST = Digest("ab" + "0123456789" * 6 + "01")


def test_a_place_tells_the_bytes_and_the_recipe() -> None:
    thumbnails = "assets/thumbnails/300/ab"
    assert place("thumbnail_300", DIGEST, ".JPG") == f"{thumbnails}/{DIGEST}.{THUMBNAIL_RECIPE}.jpg"
    assert place("thumbnail_300", DIGEST, "jpg", "other-9") == f"{thumbnails}/{DIGEST}.other-9.jpg"
    assert set(RECIPES) == set(FOLDERS), "every kind has a place and a recipe"
    for kind in FOLDERS:
        assert digest_at(place(kind, DIGEST, "jpg")) == DIGEST, kind


@pytest.mark.parametrize(
    ("kind", "digest", "extension", "recipe"),
    [
        ("", DIGEST, ".jpg", None), ("thumbnail_0", DIGEST, ".jpg", None), ("thumbnail_300", DIGEST, "/../x", None),
        ("thumbnail_300", DIGEST, "", None), ("thumbnail_300", DIGEST, ".jpg", "../x"),
        ("thumbnail_300", "../../x", ".jpg", None), ("thumbnail_300", DIGEST.upper(), ".jpg", None),
    ],
)  # fmt: skip
def test_there_is_no_such_place(kind: str, digest: str, extension: str, recipe: str | None) -> None:
    with pytest.raises(Shape):
        place(kind, Digest(digest), extension, recipe)


def test_other_names_are_no_derivatives() -> None:
    thumbnails, name = "assets/thumbnails/300", f"{DIGEST}.r.jpg"
    assert digest_at(f"{thumbnails}/ab/{name}") == DIGEST
    for other in (
        f"{thumbnails}/{name}", f"{thumbnails}/ac/{name}", f"{thumbnails}/ab/{DIGEST}.jpg", f"{thumbnails}/ab/x.r.jpg",
        f"assets/thumbnails/301/ab/{name}", name, f"ab/{name}", "", f"{thumbnails}/ab/{DIGEST}.r.a.jpg", f"{name}\n",
    ):  # fmt: skip
        assert digest_at(other) is None, other
