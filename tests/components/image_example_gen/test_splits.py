import hashlib
import itertools
import math
from collections import Counter

import pytest

from components.errors import InputError
from components.image_example_gen.listing import Candidate, Place, predefined_splits
from components.image_example_gen.splits import Dealer, check_shares, split_of

SHARES = {"train": 0.7, "validation": 0.2, "test": 0.1}
TWO = {"train": 0.8, "validation": 0.2}
KEYS = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(2000)]


def candidate(path: str = "a/1", split: str | None = None, group: str | None = None) -> Candidate:
    return Candidate(path, "a", 1, Place(f"/{path}"), split=split, group=group)


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


@pytest.mark.parametrize("number", [50, 500, 5000, 50_000])
@pytest.mark.parametrize(
    "shares",
    [
        {"train": 0.5, "validation": 0.5},
        TWO,
        SHARES,
        {"train": 0.98, "validation": 0.01, "test": 0.01},
    ],
)
def test_shares_hold_within_four_standard_deviations_of_sampling(shares, number):
    # A binomial count leaves this range once in 15,000 times; the keys are fixed, so never here.
    keys = [hashlib.sha256(f"{number}:{index}".encode()).hexdigest() for index in range(number)]
    counts = Counter(split_of(key, shares, "salt") for key in keys)
    assert sum(counts.values()) == number
    for name, share in shares.items():
        deviation = math.sqrt(number * share * (1 - share))
        assert abs(counts[name] - number * share) <= 4 * deviation, name


@pytest.mark.parametrize(("first", "second"), [*itertools.combinations(("", "1", "2", "v2"), 2)])
def test_another_salt_gives_an_independent_split(first, second):
    joint = Counter((split_of(key, SHARES, first), split_of(key, SHARES, second)) for key in KEYS)
    for one, other in itertools.product(SHARES, SHARES):
        expected = SHARES[one] * SHARES[other]
        deviation = math.sqrt(len(KEYS) * expected * (1 - expected))
        assert abs(joint[one, other] - len(KEYS) * expected) <= 4 * deviation, (one, other)


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


def test_a_dealer_without_groups_or_given_splits_deals_by_content_as_split_of_does():
    dealer = Dealer(SHARES, "salt")
    assert dealer.splits == ("train", "validation", "test")
    assert dealer.predefined == ()
    assert dealer.shares == SHARES
    for key in KEYS[:200]:
        assert dealer.split_key(candidate(), key) == key
        assert dealer.split_of(candidate(), key) == split_of(key, SHARES, "salt")


def test_a_group_stays_together_whatever_its_images_hold():
    dealer = Dealer(TWO, "")
    for group in map(str, range(50)):
        splits = {dealer.split_of(candidate(group=group), key) for key in KEYS[:50]}
        assert len(splits) == 1


def test_groups_are_dealt_by_the_digest_of_their_name_in_the_shares_given():
    dealer = Dealer(TWO, "")
    key = hashlib.sha256(b"group:patient 7").hexdigest()
    assert dealer.split_key(candidate(group="patient 7"), KEYS[0]) == key
    assert dealer.split_of(candidate(group="patient 7"), KEYS[0]) == split_of(key, TWO)
    counts = Counter(dealer.split_of(candidate(group=str(n)), KEYS[0]) for n in range(2000))
    assert counts["validation"] == pytest.approx(400, abs=4 * math.sqrt(2000 * 0.2 * 0.8))


def test_images_of_an_empty_or_no_group_are_told_apart():
    dealer = Dealer(TWO, "")
    assert dealer.split_key(candidate(group=None), KEYS[0]) == KEYS[0]
    assert dealer.split_key(candidate(group=""), KEYS[0]) != KEYS[0]


def test_a_group_whose_name_is_no_valid_text_is_dealt_all_the_same():
    for name in ("caf\udce9", "\ud800"):
        assert len(Dealer(TWO, "").split_key(candidate(group=name), KEYS[0])) == 64


def test_splits_that_the_source_gives_are_kept():
    dealer = Dealer(TWO, "", {"train", "validation", "test"})
    assert dealer.splits == dealer.predefined == ("train", "validation", "test")
    for split in dealer.splits:
        given = candidate(split=split, group="g")
        assert {dealer.split_of(given, key) for key in KEYS[:100]} == {split}


@pytest.mark.parametrize(
    ("shares", "predefined", "splits"),
    [
        (TWO, {"test"}, ("train", "validation", "test")),
        (TWO, {"validation"}, ("train", "validation")),
        (TWO, {"train", "validation"}, ("train", "validation")),
        (SHARES, {"test"}, tuple(SHARES)),
        (SHARES, set(), tuple(SHARES)),
    ],
)
def test_what_has_no_split_is_dealt_by_the_shares_whatever_the_source_gives(
    shares, predefined, splits
):
    dealer = Dealer(shares, "", predefined)
    assert dealer.splits == splits
    assert dealer.shares == shares
    assert all(dealer.split_of(candidate(), key) == split_of(key, shares) for key in KEYS)


def test_an_image_with_a_split_of_its_own_moves_no_other():
    before, after = Dealer(SHARES, ""), Dealer(SHARES, "", {"test"})
    assert [before.split_of(candidate(), key) for key in KEYS] == [
        after.split_of(candidate(), key) for key in KEYS
    ]


def test_adding_or_removing_images_never_moves_others():
    def deal(listed):
        dealer = Dealer(SHARES, "s", predefined_splits(one for one, _ in listed))
        return {one.path: dealer.split_of(one, key) for one, key in listed}

    listed = [
        (candidate(f"a/{n}", group=f"g{n % 40}" if n % 2 else None), key)
        for n, key in enumerate(KEYS)
    ]
    whole = deal(listed)
    for some in (listed[::3], listed[500:], list(reversed(listed[:700])), listed[:1]):
        assert deal(some) == {one.path: whole[one.path] for one, _ in some}
