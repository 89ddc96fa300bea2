"""The media room's door: identify, read metadata, draw thumbnails; all in supervised processes."""

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import msgspec
import trio

from lumiliod.domain.errors import LumilioError, Retryable
from lumiliod.domain.media import AssetType, Identified, Metadata, MotionVideo
from lumiliod.domain.streaming import FilmSurvey, Piece
from lumiliod.media import (
    capacity,
    confinement,
    encoders,
    exiftool,
    foreign_types,
    forkserver,
    motion,
    originals,
    sandbox,
)
from lumiliod.media.converter import Converter
from lumiliod.media.exif_values import Tag
from lumiliod.media.exiftool import ExifTool
from lumiliod.media.media_type import Converted, Inspected, Rendering
from lumiliod.media.metadata import merged, metadata_from_tags
from lumiliod.media.processes import stalled
from lumiliod.media.sandbox import Advance, Sandbox
from lumiliod.media.settings import MediaSettings
from lumiliod.media.wire import (
    Answer,
    Cut,
    Develop,
    Developed,
    Drawn,
    Inspect,
    Known,
    Locate,
    Located,
    Render,
    Request,
    Setup,
    Survey,
    Surveyed,
    Wrote,
)

THUMBNAIL_SIZES = (150, 300, 1024)
"""Long sides in pixels of the derivatives every asset has."""

VERSION_NAME = "web.mp4"
PHOTO_NAME = "photo.jpg"
MADE_BYTES_MAX = 128 << 20
"""Six seconds of a film at the highest rate take a thirtieth, a photo of 100 megapixels some 60 MiB."""
_PACKAGES = ("pillow", "simplejpeg", "opencv-python-headless", "rawpy", "pi-heif", "pillow-jxl-plugin", "av")
_DISK_THREADS = 32
"""How many may wait for disks that hang before those that do not have to."""


def builtin_types() -> tuple[str, ...]:
    """Return our own media types as ``module:attribute``; only worker processes import them."""
    return tuple(f"lumiliod.media.{name}:{name.title()}" for name in ("raw", "photo", "video", "audio"))


@asynccontextmanager
async def opened(
    settings: MediaSettings,
    media_types: Sequence[str] | None = None,
    report: Callable[[str | None], object] = lambda _: None,
) -> AsyncIterator["Media"]:
    """Hand out the media room; no worker and no exiftool outlives the block.

    Args:
        settings: limits and formats.
        media_types: what the workers load, as entry points name it; by default our own.
        report: told in one line why films are not encoded by the hardware that should, None when they are.
    """
    cores, memory_bytes = len(os.sched_getaffinity(0)), await trio.to_thread.run_sync(capacity.memory_bytes)
    workers, memory_limit_mb = capacity.planned(settings.workers, settings.memory_limit_mb, cores, memory_bytes)
    setup = Setup(
        media_types=tuple(builtin_types() if media_types is None else media_types),
        memory_limit_bytes=memory_limit_mb << 20,
        cpu_limit_s=int(settings.wall_limit_s) + 2,
        max_pixels=settings.max_pixels,
        thumbnail_format=settings.thumbnail_format,
        thumbnail_quality=settings.thumbnail_quality,
    )
    setup, broken = await foreign_types.without_broken(setup, builtin_types())
    writing = msgspec.structs.replace(setup, writes_files=True)
    limited = msgspec.structs.replace(writing, file_limit_bytes=MADE_BYTES_MAX)
    hardware = encoders.candidates(settings.video_encoder)
    exiftool_version = await exiftool.version(settings.exiftool)
    async with (
        forkserver.opened(setup.media_types) as forks,
        sandbox.opened(forks, setup, workers, settings.wall_limit_s) as box,
        sandbox.opened(forks, writing, settings.conversions, settings.wall_limit_s) as films,
        sandbox.opened(forks, limited, settings.conversions, settings.wall_limit_s) as streams,
        sandbox.opened(forks, limited, settings.developments, settings.wall_limit_s) as developing,
        sandbox.opened(
            forks, msgspec.structs.replace(writing, encoders=hardware), settings.conversions, settings.wall_limit_s
        ) as cards,
        exiftool.opened(settings.exiftool, workers, settings.wall_limit_s) as tool,
    ):
        is_named = settings.video_encoder != "auto"
        converter = Converter(films, cards, hardware, is_named=is_named, report=report)
        chosen = tool if exiftool_version else None
        yield Media(settings, box, converter, streams, developing, chosen, exiftool_version, broken)


class Media:
    """What the library asks of media files; made by :func:`opened`."""

    def __init__(
        self,
        settings: MediaSettings,
        box: Sandbox,
        converter: Converter,
        streams: Sandbox,
        developing: Sandbox,
        tool: ExifTool | None,
        exiftool_version: str | None,
        broken_types: Mapping[str, str],
    ) -> None:
        self._settings = settings
        self._sandbox = box
        self._converter = converter
        self._streams = streams
        self._developing = developing
        self._exiftool = tool
        self._exiftool_version = exiftool_version
        self._broken_types = broken_types
        self._disk = trio.CapacityLimiter(_DISK_THREADS)

    @property
    def tools(self) -> dict[str, str]:
        """Return the tools at work and their versions; what the libraries carry is known once a worker runs."""
        tools = {"exiftool": self._exiftool_version} if self._exiftool_version else {}
        for package in _PACKAGES:
            try:
                tools[package] = version(package)
            except PackageNotFoundError:
                continue
        if self._converter.encoder is not None:
            tools["encoder"] = self._converter.encoder
        return tools | self._sandbox.libraries | {"sandbox": self.protections}

    @property
    def degraded(self) -> str | None:
        """Return in one line what works worse than it should, or None."""
        return None if self._exiftool else "exiftool is missing: metadata is limited to what the decoders read"

    @property
    def left_out(self) -> str | None:
        """Return in one line which media types could not be loaded, or None."""
        return "; ".join(f"{name} is left out: {reason}" for name, reason in self._broken_types.items()) or None

    @property
    def protections(self) -> str:
        """Return what keeps a worker that a file took over from the rest of the machine."""
        return ", ".join(self._sandbox.protections) or "limits only"

    @property
    def unprotected(self) -> str | None:
        """Return in one line which protections this kernel lacks, or None."""
        return confinement.missing(self._sandbox.protections)

    @property
    def pids(self) -> tuple[int, ...]:
        """Return the ids of all processes this room has running, for supervision and for tests."""
        return (
            self._sandbox.pids
            + self._converter.pids
            + self._streams.pids
            + (self._exiftool.pids if self._exiftool else ())
        )

    async def identify(self, path: str) -> Identified:
        """Tell by content what a file is, without decoding its pixels.

        Raises:
            Permanent: ``empty``, ``unsupported``, ``corrupt`` (only zeros), ``unreadable``,
                ``timeout``, ``poison``.
            Refused: ``too_large``, more pixels than the limit.
            NotFound: the file is gone.
            Unavailable: the disk fails or stalls, or no worker can be started.
        """
        return (await self._inspect(path)).identified

    async def identify_together(self, paths: Sequence[str]) -> list[Identified | None]:
        """Tell by content what up to eight files are, in one go; None of those that are to be asked about alone.

        What a worker says against a file counts only then: one before it may be the cause.
        """
        async with AsyncExitStack() as stack:
            opened: list[int | LumilioError] | None = None
            with trio.move_on_after(self._settings.wall_limit_s):
                opening = originals.opened_all([os.fsencode(_absolute(path)) for path in paths], self._disk)
                opened = await stack.enter_async_context(opening)
            readable = [one for one in opened or () if isinstance(one, int)]
            told = iter(await self._sandbox.ask_of_all(*readable) or () if readable else ())
            answers = [next(told, None) if isinstance(one, int) else None for one in opened or paths]
        return [answer.inspected.identified if isinstance(answer, Known) else None for answer in answers]

    async def metadata(
        self, files: Sequence[tuple[str, Identified | str]], folders: Sequence[str] | None = None
    ) -> list[Metadata | LumilioError]:
        """Read what files say of themselves: exiftool's tags, the decoders' numbers.

        Args:
            files: paths, each with its identity or its MIME type. A photo's identity spares a second look at it.
            folders: of each file one above it, all that exiftool can read; by default its own. The more often these are
                others, the more often it is started.

        Returns:
            One result per file, in order; an error concerns its own file only.
        """
        await trio.lowlevel.checkpoint()
        problems = await trio.to_thread.run_sync(_problems, [path for path, _ in files], limiter=self._disk)
        results: list[Metadata | LumilioError] = [problem or Metadata() for problem in problems]
        readable = [position for position, problem in enumerate(problems) if problem is None]
        tag_sets: list[dict[str, Tag] | LumilioError] | None = None
        if self._exiftool:
            paths = [_absolute(files[position][0]) for position in readable]
            above = map(os.path.dirname, paths) if folders is None else [folders[position] for position in readable]
            tag_sets = await self._exiftool.read(list(zip(paths, above, strict=True)))
        for number, position in enumerate(readable):
            tags = tag_sets[number] if tag_sets is not None else None
            results[position] = tags if isinstance(tags, LumilioError) else await self._one(*files[position], tags)
        return results

    async def thumbnails(self, path: str, sizes: tuple[int, ...] = THUMBNAIL_SIZES) -> Rendering:
        """Draw a picture per size, in the format of the settings, and describe it.

        One decode; upright, sRGB, never enlarged. Photos, RAW, films (the poster at 10 %) and sounds (the cover, or
        their shape); of these the waveform, too.

        Raises:
            LumilioError: as :meth:`identify`; ``corrupt`` where the pixels cannot be decoded.
        """
        await trio.lowlevel.checkpoint()
        answer = await self._asked(Render(sizes), path)
        assert isinstance(answer, Drawn)
        return answer.rendering

    async def develop(self, path: str, into: str) -> Developed:
        """Write a photo in full size into the folder ``into``, as ``PHOTO_NAME``: JPEG, upright and sRGB.

        Of a RAW its sensor data, where they can be developed.

        Raises:
            LumilioError: as :meth:`web_version`; ``unsupported`` where there is no picture.
        """
        async with (
            originals.opened(os.fsencode(_absolute(path)), self._disk) as original,
            originals.made(os.path.join(into, "scratch.jpg"), self._disk) as scratch,
            originals.made(os.path.join(into, PHOTO_NAME), self._disk) as photo,
        ):
            answer = await self._developing.ask(Develop(), original, scratch, photo)
        assert isinstance(answer, Developed)
        return answer

    async def web_version(self, path: str, into: str, advance: Advance) -> Converted:
        """Write the version for the web of a film or a sound into the folder ``into``, as ``VERSION_NAME``.

        Args:
            path: the film, of which a strip is drawn, too, or the sound.
            into: a folder of this call's own; what is between lies there, too.
            advance: told the share that is done, 0 to 1.

        Returns:
            No version where every browser plays the original as it is; no strip of a film without a length.

        Raises:
            LumilioError: as :meth:`identify`; ``corrupt`` where nothing can be decoded, ``no_space`` where too little
                room is left.
        """
        async with (
            originals.opened(os.fsencode(_absolute(path)), self._disk) as original,
            originals.made(os.path.join(into, "scratch.mp4"), self._disk) as scratch,
            originals.made(os.path.join(into, VERSION_NAME), self._disk) as version,
        ):
            return await self._converter.convert(original, scratch, version, advance)

    async def film_survey(self, path: str) -> FilmSurvey:
        """Tell what must be known of a film to stream it. Raises as :meth:`web_version`."""
        answer = await self._asked(Survey(), path)
        assert isinstance(answer, Surveyed)
        return answer.survey

    async def film_piece(self, path: str, piece: Piece, into: str) -> str:
        """Write a piece of a film for streaming into the folder ``into``; return its path there.

        Raises as :meth:`web_version`.
        """
        written = os.path.join(into, "piece.mp4")
        async with (
            originals.opened(os.fsencode(_absolute(path)), self._disk) as original,
            originals.made(os.path.join(into, "scratch.mp4"), self._disk) as scratch,
            originals.made(written, self._disk) as version,
        ):
            answer = await self._streams.ask(Cut(piece), original, scratch, version)
        assert isinstance(answer, Wrote)
        return written

    async def _inspect(self, path: str) -> Inspected:
        answer = await self._asked(Inspect(), path)
        assert isinstance(answer, Known)
        return answer.inspected

    async def _asked(self, request: Request, path: str) -> Answer:
        """Return a worker's answer about a file.

        Raises:
            LumilioError: as the sandbox; ``stalled`` where the file cannot even be opened in time.
        """
        async with AsyncExitStack() as stack:
            original: int | None = None
            with trio.move_on_after(self._settings.wall_limit_s):
                opening = originals.opened(os.fsencode(_absolute(path)), self._disk)
                original = await stack.enter_async_context(opening)
            if original is not None:
                return await self._sandbox.ask(request, original)
        raise stalled(self._settings.wall_limit_s)

    async def _one(self, path: str, known: Identified | str, tags: dict[str, Tag] | None) -> Metadata | LumilioError:
        identified = known if isinstance(known, Identified) else None
        is_photo = (
            identified.type is AssetType.PHOTO if identified else str(known).startswith(("image/", "application/"))
        )
        inspected = None
        await trio.lowlevel.checkpoint()
        is_foreign = not tags or "File:FileType" not in tags  # to exiftool, or there is none
        if is_foreign or not is_photo:
            try:
                inspected = await self._inspect(path)
            except Retryable:
                raise
            except LumilioError as error:
                if tags is None:
                    return error
        told = tags if tags and not is_foreign else inspected.tags if inspected else {}
        metadata = metadata_from_tags(told, datetime.now(UTC))
        if tags is None:
            metadata = replace(metadata, tags={})
        metadata = merged(metadata, identified, inspected)
        from_end = motion.claims(tags) if tags and is_photo else None
        return metadata if from_end is None else replace(metadata, motion=await self._motion(path, from_end))

    async def _motion(self, path: str, from_end: tuple[int, ...]) -> MotionVideo | None:
        try:
            answer = await self._asked(Locate(from_end), path)
        except Retryable:
            raise
        except LumilioError:
            return None
        assert isinstance(answer, Located)
        return answer.motion


def _absolute(path: str) -> str:
    """Return ``path`` from the root, so that no leading dash, blank or hash is taken for something else."""
    return os.path.abspath(path)  # noqa: PTH100  # pathlib would fold what the caller means literally


def _problems(paths: Sequence[str]) -> list[LumilioError | None]:
    """Return why each file cannot be read at all, or None."""
    problems: list[LumilioError | None] = []
    for path in paths:
        try:
            os.close(originals.open_original(os.fsencode(path)))
            problems.append(None)
        except LumilioError as error:
            problems.append(error)
    return problems
