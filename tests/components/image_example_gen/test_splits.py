import hashlib

import pytest

from components.errors import InputError
from components.image_example_gen.splits import check_shares, split_of

SHARES = {"train": 0.7, "validation": 0.2, "test": 0.1}
KEYS = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(2000)]


def test_the_split_of_a_key_is_the_hash_s_first_eight_bytes_looked_up_in_the_shares():
    # SHA-256("a") = ca978112ca1bbdca…, 0.7914 of 2^64; SHA-256("c") = 2e7d2c03a9507ae2…, 0.1816.
    assert split_of("a", SHARES) == "validation"
    assert split_of("c", SHARES) == "train"
    # SHA-256("h") = aaa9402664f1a41f…, 0.6666; SHA-256("q") = 8e35c2cd3bf6641b…, 0.5555.
    assert split_of("h", {"train": 0.66, "validation": 0.34}) == "validation"
    assert split_of("h", {"train": 0.67, "validation": 0.33}) == "train"


def test_the_bounds_of_a_split_are_those_of_its_share():
    fraction = int.from_bytes(hashlib.sha256(b"a").digest()[:8], "big") / 2**64
    below, above = fraction - 1e-9, fraction + 1e-9
    assert split_of("a", {"train": below, "validation": 1 - below}) == "validation"
    assert split_of("a", {"train": above, "validation": 1 - above}) == "train"


def test_the_salt_stands_before_the_key():
    assert (
        split_of("bc", SHARES, salt="a") == split_of("abc", SHARES) == split_of("c", SHARES, "ab")
    )


def test_two_thousand_fixed_keys_fall_as_the_shares_say():
    counts = {name: 0 for name in SHARES}
    for key in KEYS:
        counts[split_of(key, SHARES)] += 1
    assert counts == {"train": 1397, "validation": 389, "test": 214}


def test_another_salt_gives_an_independent_split():
    moved = sum(split_of(key, SHARES, "1") != split_of(key, SHARES, "2") for key in KEYS)
    # Two independent draws differ with probability 1 - 0.7^2 - 0.2^2 - 0.1^2 = 0.46.
    assert moved / len(KEYS) == pytest.approx(0.46, abs=0.04)


def test_the_order_in_which_shares_are_written_moves_no_image():
    turned = dict(reversed(SHARES.items()))
    assert all(split_of(key, SHARES) == split_of(key, turned) for key in KEYS)


def test_a_sum_that_rounds_to_less_than_one_leaves_no_key_without_a_split():
    assert split_of("a", {"train": 0.5, "validation": 0.2}) == "validation"


def test_shares_come_back_in_the_order_of_the_data_flow():
    assert list(check_shares({"test": 0.1, "validation": 0.2, "train": 0.7})) == list(SHARES)


@pytest.mark.parametrize(
    ("shares", "received"),
    [
        ({"train": 0.8, "eval": 0.2}, "Received: eval"),
        ({"train": 0.8, "validation": 0.3}, "sum 1.1"),
        ({"train": 1.0, "validation": 0.0}, "above 0"),
        ({"train": 1.5, "validation": -0.5}, "above 0"),
        ({}, "sum 0"),
    ],
)
def test_shares_that_cannot_work_are_refused(shares, received):
    with pytest.raises(InputError, match=received):
        check_shares(shares)
