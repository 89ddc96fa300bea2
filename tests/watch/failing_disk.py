"""A file system that fails in the middle of its only folder: ``python failing_disk.py FOLDER`` mounts it there.

A line on standard output says that it is mounted; it stays until standard input is closed. What it speaks is
FUSE (linux/fuse.h), the least of it: the folder, two names in it, and EIO where a third would be.
"""

import ctypes
import errno
import os
import select
import stat
import struct
import sys

LOOKUP, FORGET, GETATTR, STATFS, INIT, OPENDIR, READDIR, RELEASEDIR, DESTROY = 1, 2, 3, 17, 26, 27, 28, 29, 38
SILENT = {FORGET, 36, 42}
HEAD = struct.Struct("<IIQQIIIHH")
ROOT_ID = 1


def attributes(node: int) -> bytes:
    mode = stat.S_IFDIR | 0o755 if node == ROOT_ID else stat.S_IFREG | 0o644
    return struct.pack("<6Q3I7I", node, 1, 1, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def answer(opcode: int, node: int, body: bytes) -> bytes | int:
    match opcode:
        case _ if opcode == INIT:
            return struct.pack("<4IHHIIHHI7I", 7, 31, 65536, 0, 8, 8, 65536, 1, 32, 0, 0, *[0] * 7)
        case _ if opcode == GETATTR:
            return struct.pack("<QII", 0, 0, 0) + attributes(node)
        case _ if opcode == LOOKUP:
            return struct.pack("<4Q2I", 2, 0, 0, 0, 0, 0) + attributes(2)
        case _ if opcode == OPENDIR:
            return struct.pack("<QII", 1, 0, 0)
        case _ if opcode == READDIR:
            offset = struct.unpack_from("<QQ", body)[1]
            if offset:
                return errno.EIO
            names = [b"one.jpg\0", b"two.jpg\0"]
            return b"".join(struct.pack("<QQII", 2, at + 1, 7, 8) + name for at, name in enumerate(names))
        case _ if opcode == STATFS:
            return bytes(80)
        case _ if opcode in {RELEASEDIR, DESTROY}:
            return b""
    return errno.ENOSYS


def main() -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={device},rootmode=40755,user_id=0,group_id=0,allow_other"
    folder = os.fsencode(sys.argv[1])
    if libc.mount(b"failing", folder, b"fuse", 0, options.encode()):
        raise OSError(ctypes.get_errno(), "mount")
    print("mounted", flush=True)
    while True:
        ready, _, _ = select.select([device, sys.stdin], [], [])
        if sys.stdin in ready:
            libc.umount2(folder, 2)
            return
        request = os.read(device, 1 << 20)
        _, opcode, unique, node, *_ = HEAD.unpack_from(request)
        if opcode in SILENT:
            continue
        said = answer(opcode, node, request[HEAD.size :])
        content = said if isinstance(said, bytes) else b""
        failed = 0 if isinstance(said, bytes) else -said
        os.write(device, struct.pack("<IiQ", 16 + len(content), failed, unique) + content)


if __name__ == "__main__":
    main()
