"""Memory that waits between the kernels' passes."""

from __future__ import annotations

import os
import threading

from torch import Tensor


class Pool:
    """Memory between the passes: a large block that is returned to the system comes back as pages to be cleared, which
    is a tenth of a training step's time."""

    LEAST, MOST = 1 << 17, 1 << 30
    """Bytes of a block that waits for the next call, and of all of them."""

    def __init__(self) -> None:
        self.free: list[Tensor] = []
        self.lock = threading.Lock()

    def take(self, count: int, like: Tensor) -> Tensor:
        """At least `count` numbers of the type of `like`, of any value."""
        if 2 * count * like.itemsize < self.LEAST:  # none waits
            return like.new_empty(count)
        with self.lock:
            for k, block in enumerate(self.free):
                if block.dtype == like.dtype and count <= len(block) <= 2 * count:
                    return self.free.pop(k)
        return like.new_empty(count)

    def give(self, block: Tensor) -> None:
        """For a later call; the oldest go where there are too many."""
        if not self.LEAST <= block.nbytes <= self.MOST:
            return
        with self.lock:
            self.free.insert(0, block)
            while sum(b.nbytes for b in self.free) > self.MOST:
                self.free.pop()


POOL = Pool()
if hasattr(os, "register_at_fork"):  # another thread may have held the lock
    os.register_at_fork(after_in_child=POOL.__init__)  # type: ignore[misc]
