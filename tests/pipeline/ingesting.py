"""What the tests of ingest do in processes of their own, which may be killed at any step."""

from pathlib import Path

from lumiliod.domain.ids import RepositoryId
from lumiliod.library import upload as uploads
from lumiliod.pipeline import kinds
from lumiliod.runtime import Runtime
from lumiliod.testing.sources import Chunks
from tests.pipeline import removing
from tests.pipeline.shelf import Shelf


def upload(shelf: Shelf, name: str, content: bytes, acknowledged: str) -> None:
    """Take an upload, note when it is acknowledged, and do what follows."""

    async def act(rt: Runtime) -> None:
        await uploads.receive(
            rt,
            repository=str(shelf.id),
            filename=name,
            body=Chunks([content[:100], content[100:]]),
            expected_digest=None,
            announced_bytes=len(content),
        )
        Path(acknowledged).touch()

    removing.do(shelf, act, with_media=True)


def scan(shelf: Shelf) -> None:
    """Look for what is new, and take it in."""

    async def act(rt: Runtime) -> None:
        await rt.jobs.call(kinds.enqueue_one, kinds.scan(RepositoryId(shelf.id)))

    removing.do(shelf, act, with_media=True)
