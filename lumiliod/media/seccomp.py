"""A filter of system calls, written by hand: what decoding never needs is refused by the kernel.

No library is needed: the filter is a classic BPF program (seccomp(2), linux/seccomp.h, linux/bpf_common.h). The numbers
are those of arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of Linux 6.1. Other machines
than these two have no filter.
"""

import ctypes
import errno
import os
import platform
import socket
import struct
import sys

_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""AUDIT_ARCH of linux/audit.h; the column of SYSCALLS."""

# x86_64, aarch64
SYSCALLS: dict[str, tuple[int | None, int | None]] = {
    # other programs and processes; threads are clone with CLONE_THREAD
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "process_madvise": (440, 440),
    "process_mrelease": (448, 448), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "kcmp": (312, 272),
    "pidfd_send_signal": (424, 424), "kill": (62, 129), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "setpriority": (141, 140), "ioprio_set": (251, 30), "migrate_pages": (256, 238),
    "move_pages": (279, 239), "sched_setscheduler": (144, 119), "sched_setparam": (142, 118),
    "sched_setattr": (314, 274), "sched_setaffinity": (203, 122), "setpgid": (109, 154), "setsid": (112, 157),
    # the network and other ways to talk
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195),
    "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187), "semget": (64, 190),
    "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192), "mq_open": (240, 180), "mq_unlink": (241, 181),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # writing by name, and what landlock does not look at; open is looked at below
    "creat": (85, None), "truncate": (76, 45), "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "setxattr": (188, 5),
    "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15),
    "fremovexattr": (199, 16), "utime": (132, None), "utimes": (235, None), "futimesat": (261, None),
    "utimensat": (280, 88), "mknod": (133, None), "mknodat": (259, 33), "mkdir": (83, None), "mkdirat": (258, 34),
    "rmdir": (84, None), "unlink": (87, None), "unlinkat": (263, 35), "rename": (82, None), "renameat": (264, 38),
    "renameat2": (316, 276), "link": (86, None), "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "inotify_init": (253, None),
    "inotify_init1": (294, 26), "fanotify_init": (300, 262), "fanotify_mark": (301, 263), "sync": (162, 81),
    "syncfs": (306, 267),
    # the machine and other views of it
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "move_mount": (429, 429),
    "open_tree": (428, 428), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "swapon": (167, 224), "swapoff": (168, 225),
    "unshare": (272, 97), "setns": (308, 268), "personality": (135, 92), "setuid": (105, 146), "setgid": (106, 144),
    "setreuid": (113, 145), "setregid": (114, 143), "setresuid": (117, 147), "setresgid": (119, 149),
    "setfsuid": (122, 151), "setfsgid": (123, 152), "setgroups": (116, 159), "capset": (126, 91),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "acct": (163, 89), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "syslog": (103, 116), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "clock_adjtime": (305, 266), "adjtimex": (159, 171), "sethostname": (170, 161), "setdomainname": (171, 162),
    "vhangup": (153, 58), "ioperm": (173, None), "iopl": (172, None), "modify_ldt": (154, None), "sysfs": (139, None),
    "lookup_dcookie": (212, 18), "nfsservctl": (180, 42),
    # known for their holes
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "memfd_secret": (447, 447),
}  # fmt: skip
"""Refused whatever they are given."""

_LAST = 450
"""The last call known here (set_mempolicy_home_node); what a later kernel has more is unknown to this program, too."""
_X32 = 0x40000000
# refused by what they are given: number on x86_64 and aarch64
_OPEN, _OPENAT, _OPENAT2, _CLONE, _CLONE3 = (2, None), (257, 56), (437, 437), (56, 220), (435, 435)
_TGKILL, _PRLIMIT64, _FCNTL, _IOCTL = (234, 131), (302, 261), (72, 25), (16, 29)
_OF_DRIVERS = frozenset({"socket", "bind", "listen", "unlink", "unlinkat"})
"""CUDA (seen: 580.159) does not begin where it cannot listen on a local socket and hear that no file is in the way."""
_AF_UNIX, _SEQPACKET = 1, (5, 5 | socket.SOCK_CLOEXEC)
_WRITING, _CHANGING = os.O_WRONLY | os.O_RDWR, os.O_CREAT | os.O_TRUNC
_CLONE_THREAD = 0x10000  # linux/sched.h
_OWNERS_OF_SIGNALS = (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX
_TERMINALS = (0x5412, 0x541C, 0x8901, 0x8902)  # TIOCSTI, TIOCLINUX, FIOSETOWN, SIOCSPGRP

_LOAD, _EQUAL, _ABOVE, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ,JGT,JSET|K, BPF_RET
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # struct seccomp_data
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_PR_GET_SECCOMP = 21


class _Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def is_offered() -> bool:
    """Tell whether there is a filter for this machine, and a kernel that takes one."""
    if platform.machine() not in _MACHINES or sys.maxsize < 1 << 32:
        return False
    # a pointer to nothing is a bad address to a kernel that knows filters
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, None, 0, 0)
    return ctypes.get_errno() == errno.EFAULT


def number(name: str) -> int | None:
    """Return the number of a call on this machine, None where it is not known here."""
    machine = _MACHINES.get(platform.machine())
    return SYSCALLS[name][machine[1]] if machine else None


def enforce(*, opens_devices: bool = False, becomes_program: bool = False) -> None:
    """Filter this thread's calls from now on, and those of all it starts; it must have no new privileges.

    With ``opens_devices`` what is there may be opened to write: landlock has to say what, and lets nothing be
    unlinked; and there are local sockets, of a kind that sends nothing unless connected, which none can be. With
    ``becomes_program`` the process may become another program, which is under the filter, too.

    Raises:
        OSError: the kernel does not take the filter.
    """
    code = program(platform.machine(), os.getpid(), opens_devices=opens_devices, becomes_program=becomes_program)
    libc = ctypes.CDLL(None, use_errno=True)
    given = _Program(len(code) // 8, code)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(given), 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def program(machine: str, pid: int, *, opens_devices: bool = False, becomes_program: bool = False) -> bytes:
    """Return the filter as ``struct sock_filter`` after ``struct sock_filter``, for the process ``pid``."""
    arch, column = _MACHINES[machine]
    refused, unknown = _ERRNO | errno.EPERM, _ERRNO | errno.ENOSYS
    code = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
        (_ABOVE, 0, 1, _LAST),  # x32, whose numbers begin at 0x40000000, among them
        (_RETURN, 0, 0, unknown),
    ]
    for name, numbers in SYSCALLS.items():
        if (becomes_program and name == "execve") or (opens_devices and name in _OF_DRIVERS):
            continue
        code += _when(numbers[column], [(_RETURN, 0, 0, refused)])
    # their arguments are in memory, where no filter sees them; the C library goes back to the older ones
    for numbers in (_OPENAT2, _CLONE3):
        code += _when(numbers[column], [(_RETURN, 0, 0, unknown)])
    allow, refuse = (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, refused)
    if opens_devices:
        # the oldest landlock lets a file be cut off that is opened to read only, or in the mode of both bits, which
        # asks for no right at all
        opening = [
            (_ANY_BIT, 0, 2, os.O_WRONLY),
            (_ANY_BIT, 0, 4, os.O_RDWR),
            refuse,
            (_ANY_BIT, 2, 0, os.O_RDWR),
            (_ANY_BIT, 0, 1, _CHANGING),
            refuse,
            allow,
        ]
    else:
        opening = [(_ANY_BIT, 0, 1, _WRITING | _CHANGING), refuse, allow]
    for numbers, position in ((_OPEN, 1), (_OPENAT, 2)):
        code += _when(numbers[column], [_argument(position), *opening])
    if opens_devices:
        is_local = [_argument(0), (_EQUAL, 1, 0, _AF_UNIX), refuse]
        kinds = [line for kind in _SEQPACKET for line in ((_EQUAL, 0, 1, kind), allow)]
        code += _when(SYSCALLS["socket"][column], [*is_local, _argument(1), *kinds, refuse])
    code += _when(_CLONE[column], [_argument(0), (_ANY_BIT, 1, 0, _CLONE_THREAD), refuse, allow])
    code += _when(_TGKILL[column], [_argument(0), (_EQUAL, 1, 0, pid), refuse, allow])
    code += _when(_PRLIMIT64[column], [_argument(0), (_EQUAL, 1, 0, 0), refuse, allow])
    for numbers, commands in ((_FCNTL, _OWNERS_OF_SIGNALS), (_IOCTL, _TERMINALS)):
        asked = [line for command in commands for line in ((_EQUAL, 0, 1, command), refuse)]
        code += _when(numbers[column], [_argument(1), *asked, allow])
    code.append(allow)
    return b"".join(struct.pack("=HBBI", *line) for line in code)


def _when(number: int | None, lines: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Return ``lines``, passed over unless the call is ``number``; they must return."""
    return [(_EQUAL, 0, len(lines), number), *lines] if number is not None else []


def _argument(position: int) -> tuple[int, int, int, int]:
    """Return the load of an argument's lower half, all that the calls looked at here take notice of."""
    return _LOAD, 0, 0, _ARGUMENTS + 8 * position
