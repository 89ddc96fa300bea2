"""Bytes entrusted to a store that may lie: put, read back, compare. All calls block; callers thread them."""

from blake3 import blake3

from lumiliod.domain.errors import NotFound, Permanent, Unavailable
from lumiliod.domain.ids import Digest, RepoPath, shown
from lumiliod.storage import durable
from lumiliod.storage.backend import Backend
from lumiliod.storage.digesting import digest_file
from lumiliod.storage.uncached import uncached_digest

LOST_AFTER_S = 60.0
"""When to try again what a store said it had and has not."""


def put_verified(backend: Backend, source: str, target: RepoPath, digest: Digest, size_bytes: int) -> bool:
    """Store a file and believe it only once its bytes have come back.

    What is wrong in the end stays: it may be somebody else's. Whoever knows that it is not removes it and
    calls again, or takes another name.

    Args:
        backend: the store, which need not be trusted.
        source: a local file, whose bytes are compared with ``digest`` first.
        target: where it shall be.
        digest: BLAKE3 of the bytes.
        size_bytes: their number.

    Returns:
        True when stored now; False when these very bytes were already there.

    Raises:
        Permanent: the source holds other bytes (``corrupt``; nothing was sent), or the store does, twice read,
            though it said otherwise (``store_corrupts``).
        Unavailable: what the store took is not there (``store_lost``), and whatever a backend raises.
        Conflict: other bytes are there (``name_taken``).
    """
    ours, stat = digest_file(source)
    if (ours, stat.size_bytes) != (digest, size_bytes):
        raise Permanent(f"{shown(source)} is not what it was", code="corrupt")
    stored = backend.put_new(source, target)
    for _ in range(2):  # what comes back wrong once may have been damaged on its way
        try:
            if digest_of(backend, target, size_bytes) == digest:
                return stored
        except NotFound as error:
            message = f"{shown(target)} was stored and is not there"
            raise Unavailable(message, code="store_lost", after_s=LOST_AFTER_S) from error
    raise Permanent(f"{shown(target)} does not come back as it was stored", code="store_corrupts")


def digest_of(backend: Backend, path: RepoPath, size_bytes: int | None = None) -> Digest | None:
    """Return the digest of a stored file, of one on this host as its disk has it; None when it is longer than that.

    In a thread of trio it ends within a block when its caller is cancelled. Errors are those of ``open`` and of
    reading.
    """
    hasher, total = blake3(), 0
    with durable.translated("read", path), backend.open(path) as file:
        if backend.local:
            digest, total = uncached_digest(file.fileno())
            return digest if size_bytes is None or total <= size_bytes else None
        while block := file.read(durable.BLOCK_BYTES):
            durable.check_cancelled()
            hasher.update(block)
            total += len(block)
            if size_bytes is not None and total > size_bytes:
                return None
    return Digest(hasher.hexdigest())
