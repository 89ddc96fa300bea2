"""Memory that is searched where it is."""

import ctypes

_memmem = getattr(ctypes.CDLL(None), "memmem", None)
if _memmem is not None:
    _memmem.restype = ctypes.c_void_p
    _memmem.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t)


def find(view: memoryview, wanted: bytes) -> int:
    """Return where ``wanted`` begins in a writable view, -1 when it is not there.

    memmem(3): a view has no search of its own, and a copy that has one costs as much as the search.
    """
    if _memmem is None:
        return bytes(view).find(wanted)
    if not view:
        return 0 if not wanted else -1
    begin = ctypes.addressof(ctypes.c_char.from_buffer(view))
    at = _memmem(begin, len(view), wanted, len(wanted))
    return -1 if at is None else int(at) - begin
