"""The media worker: a process that decodes what nobody vouches for, one request at a time.

Started by the sandbox as ``python -m lumiliod.media.worker``; it bounds itself before the first
foreign byte, answers frames until its pipe closes, and dies with the daemon: a thread waits for the
hang-up, so that even a decoder that never returns leaves no orphan.
"""

import ctypes
import errno
import os
import resource
import select
import stat
import sys
import threading
import warnings
from pathlib import Path
from pkgutil import resolve_name
from typing import BinaryIO

import msgspec

from lumiliod.domain.errors import LumilioError, NotFound, Permanent, Refused
from lumiliod.media.media_type import HEAD_BYTES, MediaType, Recipe, Sniffed, Source
from lumiliod.media.wire import Answer, Drawn, Failed, Inspect, Known, Ready, Render, Request, Setup, frame

OPEN_FILES = 128
OOM_SCORE = "800"
"""The kernel's out-of-memory killer takes a worker before anything else of ours."""
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 36, 38  # linux/prctl.h
_PASSING_ERRNOS = frozenset({errno.EIO, errno.ESTALE, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE})


def main() -> None:
    """Serve frames on the inherited standard streams until they close."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    quiet = os.open(os.devnull, os.O_RDWR)
    os.dup2(quiet, 0)
    os.dup2(quiet, 1)  # libraries print; the pipe is ours
    threading.Thread(target=_exit_at_hang_up, args=(requests.fileno(),), daemon=True).start()
    setup_frame = _read_frame(requests)
    if setup_frame is None:
        return
    setup = msgspec.msgpack.decode(setup_frame, type=Setup)
    media_types = _loaded(setup.media_types)
    _bound(setup)
    warnings.simplefilter("ignore")
    answers.write(frame(Ready(_libraries())))
    answers.flush()
    os.dup2(quiet, 2)  # libtiff, libav and LibRaw speak of each broken file at length
    decoder = msgspec.msgpack.Decoder(Request)
    while (payload := _read_frame(requests)) is not None:
        _renew_cpu_limit(setup.cpu_limit_s)
        answers.write(frame(_answer(decoder.decode(payload), media_types, setup)))
        answers.flush()


def open_source(path: bytes) -> Source:
    """Open a regular file, following no link at its last part; the caller closes ``source.file``.

    Raises:
        NotFound: it is gone.
        Permanent: ``unreadable``, ``unsupported`` (no regular file) or ``empty``.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound("the file is gone") from error
    except PermissionError as error:
        raise Permanent("the file may not be read", code="unreadable") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Permanent("the file is a symbolic link", code="unreadable") from error
        if error.errno == errno.ENXIO:
            raise Permanent("not a regular file", code="unsupported") from error
        raise
    file = os.fdopen(descriptor, "rb")
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode) or facts.st_size == 0:
        file.close()
        if not stat.S_ISREG(facts.st_mode):
            raise Permanent("not a regular file", code="unsupported")
        raise Permanent("the file is empty", code="empty")
    return Source(file, file.read(HEAD_BYTES), facts.st_size)


def sniff(source: Source, media_types: tuple[MediaType, ...]) -> tuple[MediaType, Sniffed]:
    """Return the first type that knows the content.

    Raises:
        Permanent: ``unsupported``, or ``corrupt`` where there is nothing but zeros (a failed copy).
    """
    for media_type in media_types:
        sniffed = media_type.sniff(source.head, source.size_bytes)
        if sniffed is not None:
            return media_type, sniffed
    if not source.head.strip(b"\0"):
        raise Permanent("the file holds nothing but zeros", code="corrupt")
    raise Permanent("the content is no photo, video or audio format known here", code="unsupported")


def _answer(request: Request, media_types: tuple[MediaType, ...], setup: Setup) -> Answer:
    try:
        source = open_source(request.path)
        with source.file:
            media_type, sniffed = sniff(source, media_types)
            match request:
                case Inspect():
                    return Known(media_type.inspect(source, sniffed, setup.max_pixels))
                case Render(into=into, sizes=sizes):
                    recipe = Recipe(into, sizes, setup.thumbnail_format, setup.thumbnail_quality, setup.max_pixels)
                    return Drawn(media_type.render(source, sniffed, recipe))
    except Refused as error:
        return Failed("refused", error.code, error.message)
    except NotFound as error:
        return Failed("not_found", error.code, error.message)
    except LumilioError as error:
        return Failed("permanent", error.code, error.message)
    except MemoryError:
        return Failed("refused", "too_large", "decoding needs more memory than a media worker may use")
    except OSError as error:
        if error.errno in _PASSING_ERRNOS:
            return Failed("unavailable", "io_error", f"the disk failed: {os.strerror(error.errno or 0)}")
        return _corrupt(error)
    except Exception as error:  # the edge: decoders raise whatever they like about broken files
        return _corrupt(error)


def _corrupt(error: Exception) -> Failed:
    said = str(error).encode("utf-8", "backslashreplace").decode()[:300]
    if "cannot identify image file" in said:  # Pillow names its file object
        said = "no decoder knows this picture"
    return Failed("permanent", "corrupt", f"cannot be decoded: {type(error).__name__}: {said}")


def _read_frame(stream: BinaryIO) -> bytes | None:
    header = stream.read(4)
    return stream.read(int.from_bytes(header, "big")) if len(header) == 4 else None


def _loaded(names: tuple[str, ...]) -> tuple[MediaType, ...]:
    media_types: list[MediaType] = [resolve_name(name)() for name in names]
    return tuple(sorted(media_types, key=lambda media_type: (media_type.order, media_type.name)))


def _bound(setup: Setup) -> None:
    """Give up privileges and set the limits, on top of what the imports already took."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    memory = pages * resource.getpagesize() + setup.memory_limit_bytes
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # whatever is started here stays below this process, where it is found when that is ended
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # a container may forbid it, and then its own limits stand
    try:
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
    except OSError:
        return


def _renew_cpu_limit(seconds: int) -> None:
    """Allow ``seconds`` of processor time from now on; SIGXCPU ends the worker after that."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime)
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds, resource.RLIM_INFINITY))


def _exit_at_hang_up(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, 0)  # POLLHUP is always told
    poll.poll()
    os._exit(0)


def _libraries() -> dict[str, str]:
    av, rawpy, pi_heif = (sys.modules.get(name) for name in ("av", "rawpy", "pi_heif"))
    libraries: dict[str, str] = {}
    if av is not None:
        libraries["libavcodec"] = ".".join(map(str, av.library_versions["libavcodec"]))
    if rawpy is not None:
        libraries["libraw"] = ".".join(map(str, rawpy.libraw_version))
    if pi_heif is not None:
        libraries["libheif"] = str(pi_heif.libheif_version())
    return libraries


if __name__ == "__main__":
    main()
