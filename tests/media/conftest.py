from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lumiliod.media.media import Media, opened
from lumiliod.media.settings import MediaSettings

CORPUS = Path(__file__).parents[3] / "shared" / "corpus" / "dev"


@pytest.fixture
async def media() -> AsyncIterator[Media]:
    async with opened(MediaSettings(workers=1)) as room:
        yield room


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "derivatives"
    folder.mkdir()
    return folder
