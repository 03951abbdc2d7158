"""Batches of model work on threads that run a little ahead, with results in order.

Keep all cores (or the GPU) busy without making a number depend on how many there are. Every batch runs on one core,
results come in the order of the batches, an interrupted consumer leaves no thread behind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import torch

Batch = TypeVar("Batch")
Result = TypeVar("Result")


def in_order(
    work: Callable[[Batch], Result], batches: Iterable[Batch], device: torch.device
) -> Generator[tuple[Batch, Result]]:
    """Results of the batches in their order, worked out by threads that run a little ahead.

    On CPU every batch runs on one core and several run at once: as fast as all cores on one batch when the
    machine is idle, many times faster when it is not (no waiting for the slowest core after every operation),
    and the bits of a vector can not depend on the number of cores. On a GPU one thread prepares the next
    batch. ``batches`` may be a generator: it is asked only a few batches ahead.
    """
    threads = torch.get_num_threads()
    on_cpu = device.type == "cpu"
    workers = threads if on_cpu else 1
    waiting: deque[tuple[Batch, Future[Result]]] = deque()
    limit = partial(torch.set_num_threads, 1) if on_cpu else None
    with ThreadPoolExecutor(workers, initializer=limit) as pool:
        try:
            for batch in batches:
                waiting.append((batch, pool.submit(work, batch)))
                if len(waiting) > workers:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)
