import threading
import time

import pytest

from components.image_example_gen.ahead import map_ahead


def test_results_come_in_the_order_of_the_items_however_long_each_takes():
    def slow_first(number: int) -> int:
        time.sleep(0.02 if number == 0 else 0)
        return number * number

    assert list(map_ahead(slow_first, range(20), lambda _: 1, threads=4)) == [
        number * number for number in range(20)
    ]


def test_no_more_bytes_than_allowed_are_worked_on_ahead():
    lock, held, most = threading.Lock(), 0, 0

    def hold(size: int) -> int:
        nonlocal held, most
        with lock:
            held += size
            most = max(most, held)
        time.sleep(0.001)
        return size

    sizes = [3, 4, 5, 20, 1, 9, 2, 2, 2, 2, 30, 1]
    for size in map_ahead(hold, sizes, lambda size: size, threads=8, max_bytes=10):
        with lock:
            held -= size
    assert 10 < most <= 30  # an item that has more than is allowed goes alone


def test_items_are_taken_only_a_few_ahead_of_the_results():
    taken = []
    results = map_ahead(str, (taken.append(n) or n for n in range(100)), lambda _: 1, threads=2)
    assert next(results) == "0"
    assert len(taken) <= 5


def test_what_a_call_raises_is_raised_where_its_result_is_due():
    results = map_ahead(lambda n: 1 // n, [1, 0], lambda _: 1)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
