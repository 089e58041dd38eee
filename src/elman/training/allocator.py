"""The C library's allocator, told to keep large blocks: a training step frees and takes the same ones again and again.

glibc gives blocks of 32 MiB and more back to the kernel at once, and every step then pays for fresh, zeroed pages:
about a quarter of the time of an LSTM step of (T, B, H) = (128, 32, 512). `benchmarks/allocator.py` measures it.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_large_blocks() -> bool:
    """Ask glibc to serve every block from its heap and to keep up to 2 GiB there; True where it does.

    It changes the whole process, so programs call it and libraries do not. Elsewhere than on glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
