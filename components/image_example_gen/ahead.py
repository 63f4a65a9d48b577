"""Works ahead with threads while results are used in order, so that memory stays bounded.

Reading waits for the disk or the network and decoding leaves Python's lock, so a few threads help
although Beam's local runner has but one.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from components.image_example_gen.sources import THREADS

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_BYTES_AHEAD = 256 << 20


def map_ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    size_of: Callable[[Item], int],
    threads: int = THREADS,
    max_bytes: int = MAX_BYTES_AHEAD,
) -> Iterator[Result]:
    """Yields `function(item)` for every item, in the items' order.

    Args:
        function: is called in a thread.
        items: taken one by one, a few ahead of what is yielded.
        size_of: returns how many bytes an item's result will hold until it is yielded.
        threads: how many items are worked on at once, at least 1. Default: two a core, at most 8.
        max_bytes: how many bytes are worked on ahead; an item that alone has more waits until no
            other is under way. Default: 256 MiB.
    """
    waiting: deque[tuple[int, Future[Result]]] = deque()
    held = 0
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            size = size_of(item)
            while waiting and (held + size > max_bytes or len(waiting) >= 2 * threads):
                done, future = waiting.popleft()
                yield future.result()
                held -= done
            waiting.append((size, pool.submit(function, item)))
            held += size
        while waiting:
            yield waiting.popleft()[1].result()
