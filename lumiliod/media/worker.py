"""The media worker: a process that decodes what nobody vouches for, one request at a time.

A fork of the zygote with a socket of its own; it gives up all it does not need before the first foreign byte, answers
frames until the socket closes, and dies with the daemon: a thread waits for the hang-up, so that even a decoder that
never returns leaves no orphan.
"""

import errno
import itertools
import os
import resource
import select
import socket
import sys
import threading
import time
import warnings
from contextlib import ExitStack
from pkgutil import resolve_name
from typing import BinaryIO, Literal, cast

import msgspec

from lumiliod.domain.errors import LumilioError, Permanent, Refused
from lumiliod.media import confinement, encoder_probe, encoders, motion
from lumiliod.media.media_type import (
    HEAD_BYTES,
    Conversion,
    Convertible,
    MediaType,
    Recipe,
    Rendering,
    Sniffed,
    Source,
    Streamable,
)
from lumiliod.media.tiff import with_directory
from lumiliod.media.wire import (
    JPEG_MAX_PX,
    MAX_MESSAGE,
    TOGETHER,
    Advanced,
    Answer,
    Convert,
    Cut,
    Develop,
    Developed,
    Drawn,
    Failed,
    Inspect,
    InspectAll,
    Known,
    KnownAll,
    Locate,
    Located,
    Made,
    Probe,
    Probed,
    Ready,
    Render,
    Request,
    Setup,
    Survey,
    Surveyed,
    Wrote,
    frame,
)

MAX_FILES = TOGETHER
"""Descriptors that come with a request at most: originals, or one and two files to write to."""
PROGRESS_S = 0.5
DEVELOPED_QUALITY = 90
_PASSING_ERRNOS = frozenset({errno.EIO, errno.ESTALE, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE})


def serve(daemon: socket.socket, media_types: tuple[MediaType, ...]) -> None:
    """Serve frames on a socket until it closes; the process has one thread, and its decoders are imported."""
    setup_frame, _ = received(daemon)
    if setup_frame is None:
        return
    setup = msgspec.msgpack.decode(setup_frame, type=Setup)
    devices = encoders.devices(setup.encoders)
    encoders.load_drivers(setup.encoders)
    confinement.bound(
        setup.memory_limit_bytes,
        writes_files=setup.writes_files,
        file_limit_bytes=setup.file_limit_bytes,
        maps_devices=bool(devices),
    )
    packages = {type(media_type).__module__.partition(".")[0] for media_type in media_types}
    protections = confinement.confine(
        packages | {confinement.__name__.partition(".")[0]},
        devices,
        encoders.READABLE if devices else (),
        encoders.WRITABLE if devices else (),
    )
    # of a thread that ran already the kernel would have left everything as it was
    threading.Thread(target=_exit_at_hang_up, args=(daemon.fileno(),), daemon=True).start()
    warnings.simplefilter("ignore")
    daemon.sendall(frame(Ready(_libraries(), protections)))
    os.dup2(0, 2)  # libtiff, libav and LibRaw speak of each broken file at length
    decoder = msgspec.msgpack.Decoder(Request)
    while True:
        payload, descriptors = received(daemon)
        if payload is None or not descriptors:
            return
        _renew_cpu_limit(setup.cpu_limit_s)
        progress = _Progress(daemon, setup.cpu_limit_s)
        with ExitStack() as stack:
            request = decoder.decode(payload)
            modes = ("rb", *itertools.repeat("rb" if isinstance(request, InspectAll) else "r+b", MAX_FILES))
            files = [
                cast("BinaryIO", stack.enter_context(os.fdopen(*one))) for one in zip(descriptors, modes, strict=False)
            ]
            answer = _answer(request, files, media_types, setup, progress)
        daemon.sendall(frame(answer))


def sniff(source: Source, media_types: tuple[MediaType, ...]) -> tuple[MediaType, Sniffed]:
    """Return the first type that knows the content.

    Raises:
        Permanent: ``unsupported``, or ``corrupt`` where there is nothing but zeros (a failed copy).
    """
    head = with_directory(source.head, source.file)
    for media_type in media_types:
        try:
            sniffed = media_type.sniff(head, source.size_bytes)
        except Exception:  # noqa: S112  # one type's mistake says nothing of the files of the others
            continue
        if sniffed is not None:
            return media_type, sniffed
    if not source.head.strip(b"\0"):
        raise Permanent("the file holds nothing but zeros", code="corrupt")
    raise Permanent("the content is no photo, video or audio format known here", code="unsupported")


class _Progress:
    """Tells the daemon how far a conversion is, and takes up its share of the processor anew each time."""

    def __init__(self, daemon: socket.socket, cpu_limit_s: int) -> None:
        self._daemon, self._cpu_limit_s = daemon, cpu_limit_s
        self._told_s = time.monotonic()

    def __call__(self, share: float) -> None:
        """Say it, at most once in ``PROGRESS_S``."""
        if (now_s := time.monotonic()) - self._told_s < PROGRESS_S:
            return
        self._told_s = now_s
        _renew_cpu_limit(self._cpu_limit_s)
        self._daemon.sendall(frame(Advanced(share)))


def _answer(
    request: Request, files: list[BinaryIO], media_types: tuple[MediaType, ...], setup: Setup, progress: _Progress
) -> Answer:
    try:
        if isinstance(request, Probe):
            return Probed(*encoder_probe.probe(request.encoders))
        if isinstance(request, InspectAll):
            answers = [_answer(Inspect(), [file], media_types, setup, progress) for file in files]
            return KnownAll(tuple(one for one in answers if isinstance(one, Known | Failed)))
        original = files[0]
        original.seek(0)
        source = Source(original, original.read(HEAD_BYTES), os.fstat(original.fileno()).st_size)
        media_type, sniffed = sniff(source, media_types)
        match request:
            case Inspect():
                return Known(media_type.inspect(source, sniffed, setup.max_pixels))
            case Render(sizes=sizes):
                recipe = Recipe(sizes, setup.thumbnail_format, setup.thumbnail_quality, setup.max_pixels)
                return Drawn(media_type.render(source, sniffed, recipe))
            case Develop():
                recipe = Recipe((JPEG_MAX_PX,), "jpeg", DEVELOPED_QUALITY, setup.max_pixels)
                conversion = _conversion(files, setup, progress)
                return _developed(media_type.render(source, sniffed, recipe), conversion)
            case Locate(from_end=from_end):
                return Located(motion.locate(source, from_end))
            case Convert(encoder=encoder):
                if not isinstance(media_type, Convertible):
                    raise Permanent("nothing of this kind is converted", code="unsupported")
                return Made(media_type.convert(source, sniffed, _conversion(files, setup, progress, encoder)))
            case Survey():
                return Surveyed(_streamable(media_type).survey(source, sniffed, setup.max_pixels))
            case Cut(piece=piece):
                return Wrote(_streamable(media_type).cut(source, sniffed, piece, _conversion(files, setup, progress)))
    except Refused as error:
        return failed("refused", error.code, error.message)
    except LumilioError as error:
        return failed("permanent", error.code, error.message)
    except MemoryError:
        return failed("refused", "too_large", "decoding needs more memory than a media worker may use")
    except OSError as error:
        if error.errno == errno.EFBIG:
            return failed("refused", "too_large", "what is made of it is larger than it may be")
        if error.errno in _PASSING_ERRNOS:
            return failed("unavailable", "io_error", f"the disk failed: {os.strerror(error.errno or 0)}")
        return _corrupt(error)
    except Exception as error:  # the edge: decoders raise whatever they like about broken files
        return _corrupt(error)


def _developed(rendering: Rendering, conversion: Conversion) -> Developed:
    if len(rendering.pictures) != 1:
        raise Permanent("there is no picture in it", code="unsupported")
    [picture] = rendering.pictures
    conversion.into.write(picture.data)
    conversion.into.flush()
    return Developed(picture.width, picture.height, len(picture.data))


def _streamable(media_type: MediaType) -> Streamable:
    if not isinstance(media_type, Streamable):
        raise Permanent("nothing of this kind is streamed", code="unsupported")
    return media_type


def _conversion(
    files: list[BinaryIO], setup: Setup, progress: _Progress, encoder: str = encoders.SOFTWARE
) -> Conversion:
    _, scratch, into = files
    for file in (scratch, into):  # an attempt before this one may have been ended in the middle
        file.seek(0)  # the place is the descriptor's, and that attempt's too
        file.truncate(0)
    return Conversion(scratch, into, setup.max_pixels, progress, encoder)


def _corrupt(error: Exception) -> Failed:
    said = str(error)[:300]
    if "cannot identify image file" in said:  # Pillow names its file object
        said = "no decoder knows this picture"
    return failed("permanent", "corrupt", f"cannot be decoded: {type(error).__name__}: {said}")


def failed(kind: Literal["permanent", "refused", "unavailable"], code: str, message: str) -> Failed:
    """Return an error as it is told to the daemon: printable, and of a bounded length."""
    readable = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in message)
    return Failed(kind, code, readable[:MAX_MESSAGE])


def received(daemon: socket.socket) -> tuple[bytes | None, list[int]]:
    """Return a frame's payload, None at the end, and the descriptors that came with it."""
    header, descriptors, _, _ = socket.recv_fds(daemon, 4, MAX_FILES)
    header += _exactly(daemon, 4 - len(header))
    if len(header) < 4:
        return None, []
    return _exactly(daemon, int.from_bytes(header, "big")), descriptors


def _exactly(daemon: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count and (more := daemon.recv(count - len(data))):
        data += more
    return bytes(data)


def loaded(names: tuple[str, ...]) -> tuple[MediaType, ...]:
    """Import media types, ``module:attribute``, and return them in the order in which they are asked.

    Raises:
        Exception, SystemExit: whatever other people's packages raise.
    """
    media_types = [resolve_name(name)() for name in names]
    for name, media_type in zip(names, media_types, strict=True):
        if not isinstance(media_type, MediaType):
            raise TypeError(f"{name} gives no media type")
    return tuple(sorted(media_types, key=lambda media_type: (media_type.order, media_type.name)))


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
