"""Which encoder of H.264 works on this machine: that of a graphics card, or libx264, which always does.

What libav has in the package PyAV (18.1): NVENC, which needs the driver's libraries only, and Quick Sync, whose runtime
wants a display of VA-API, for which this libav was not built; VA-API itself is missing.
"""

import ctypes
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from glob import glob

SOFTWARE = "libx264"
DEVICES: Mapping[str, tuple[str, ...]] = {
    "h264_nvenc": ("/dev/nvidiactl", "/dev/nvidia[0-9]*", "/dev/nvidia-uvm"),
    "h264_qsv": ("/dev/dri/renderD*",),
}
"""The hardware encoders that libav has, the best first, and patterns of what each needs; the first must be there."""
DRIVER_LIBRARIES: Mapping[str, tuple[str, ...]] = {
    "h264_nvenc": ("libcuda.so.1", "libnvidia-encode.so.1"),
    "h264_qsv": ("libmfx-gen.so.1.2",),
}
READABLE = (
    "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/proc/driver/nvidia", "/proc/devices", "/proc/cpuinfo",
    "/proc/meminfo", "/proc/modules", "/proc/self", "/sys/bus/pci", "/sys/class/drm", "/sys/dev/char", "/sys/devices",
)  # fmt: skip
"""What drivers look at, none of it of persons."""
WRITABLE = ("/proc/self/task",)
"""CUDA (seen: 580.159) does not begin where it cannot write the names of its threads, in ``comm`` of each.

What else lies there is its own, too: one that a film took over can have the kernel's out-of-memory killer spare it."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """How an encoder of libav is asked for what every browser plays, at the same quality."""

    pix_fmt: str = "yuv420p"
    options: Mapping[str, str] = field(default_factory=dict[str, str])


ENCODERS: Mapping[str, Encoder] = {
    SOFTWARE: Encoder(options={"preset": "veryfast", "crf": "23", "profile": "high", "forced-idr": "1"}),
    "h264_nvenc": Encoder(options={"preset": "p4", "rc": "vbr", "cq": "25", "profile": "high", "forced-idr": "1"}),
    "h264_qsv": Encoder("nv12", {"preset": "veryfast", "global_quality": "25", "profile": "high", "forced_idr": "1"}),
}


def candidates(wanted: str) -> tuple[str, ...]:
    """Return the hardware encoders to be tried: what a person names, or those whose devices are there."""
    if wanted == "software":
        return ()
    if wanted != "auto":
        return (wanted,)
    return tuple(name for name, patterns in DEVICES.items() if glob(patterns[0]))


def devices(names: Iterable[str]) -> tuple[str, ...]:
    """Return the devices of these encoders that are there."""
    return tuple(sorted(path for name in names for pattern in DEVICES.get(name, ()) for path in glob(pattern)))


def load_drivers(names: Iterable[str]) -> None:
    """Load the libraries of drivers while they can be found."""
    for name in names:
        for library in DRIVER_LIBRARIES.get(name, ()):
            with suppress(OSError):
                ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
