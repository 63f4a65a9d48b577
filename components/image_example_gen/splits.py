"""Which split an image belongs to, decided by its content or its group alone.

Counting or shuffling would move images between splits whenever one is added; a hash never does,
and identical content always lands on one side. What the source itself has split stays so.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping

from components.errors import InputError
from components.features import SPLITS, TRAIN
from components.image_example_gen.listing import Candidate

HASH_BYTES = 8


def check_shares(shares: Mapping[str, float]) -> dict[str, float]:
    """Returns the shares in the order of `features.SPLITS`, as floats.

    Args:
        shares: share of each split by name; each in (0, 1], in sum 1 to 1e-6.

    Raises:
        InputError: if a name is unknown, a share is out of range or the sum is not 1.
    """
    unknown = sorted(set(shares) - set(SPLITS))
    if unknown:
        raise InputError(
            f"Expected splits named {', '.join(SPLITS)}. Received: {', '.join(unknown)}. "
            "Rename them in data.splits."
        )
    ordered = {name: float(shares[name]) for name in SPLITS if name in shares}
    if not all(0 < share <= 1 for share in ordered.values()):
        raise InputError(
            f"Expected shares above 0 and at most 1. Received: data.splits={ordered}. "
            "Leave out a split that is not wanted."
        )
    total = math.fsum(ordered.values())
    if not math.isclose(total, 1.0, abs_tol=1e-6):
        raise InputError(
            f"Expected shares that sum to 1. Received: data.splits={ordered}, sum {total:g}. "
            "Change one of them."
        )
    return ordered


def split_of(split_key: str, shares: Mapping[str, float], salt: str = "") -> str:
    """Returns the name of the split that a key falls into.

    The first 8 bytes of SHA-256(salt + key), as a fraction of 2^64, are looked up in the shares
    laid end to end in the order train, validation, test.

    Args:
        split_key: what decides the split: the SHA-256 of the image's content, in hexadecimal.
        shares: share of each split by name, summing to 1, as `check_shares` returns them.
        salt: text put before the key; another salt gives another, independent split.
    """
    digest = hashlib.sha256((salt + split_key).encode()).digest()
    fraction = int.from_bytes(digest[:HASH_BYTES], "big") / 2 ** (8 * HASH_BYTES)
    names = [name for name in SPLITS if name in shares]
    bound = 0.0
    for name in names:
        bound += shares[name]
        if fraction < bound:
            return name
    # The shares' sum may fall short of 1 by a rounding error; what lies beyond is the last split's.
    return names[-1]


class Dealer:
    """Deals images into splits: by what the source says, else by group, else by content.

    Args:
        shares: share of each split by name, as `check_shares` returns them, train among them.
        salt: text mixed into the hash; another salt deals anew.
        predefined: names of the splits that the source gives. What it gives no split is dealt by
            `shares` all the same: were they to depend on what is given, one more image with a split
            of its own would move others.
    """

    def __init__(self, shares: Mapping[str, float], salt: str, predefined: Iterable[str] = ()):
        self._salt = salt
        self._shares = {name: shares[name] for name in SPLITS if name in shares}
        self._predefined = _in_order(predefined)
        self._splits = _in_order({TRAIN, *shares, *self._predefined})

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of all splits, dealt and predefined, in the order of `features.SPLITS`."""
        return self._splits

    @property
    def predefined(self) -> tuple[str, ...]:
        """The names of the splits that the source gives, in the order of `features.SPLITS`."""
        return self._predefined

    @property
    def shares(self) -> dict[str, float]:
        """The share of each split among the images that are dealt, summing to 1."""
        return dict(self._shares)

    def split_of(self, candidate: Candidate, sha256: str) -> str:
        """Returns the name of an image's split.

        Args:
            candidate: the image's file; its own split wins.
            sha256: digest of its content, 64 hexadecimal digits.
        """
        if candidate.split is not None:
            return candidate.split
        return split_of(self.split_key(candidate, sha256), self._shares, self._salt)

    def split_key(self, candidate: Candidate, sha256: str) -> str:
        """Returns what decides the split of an image that is dealt, 64 hexadecimal digits.

        Args:
            candidate: the image's file; a group's name decides for all images of the group.
            sha256: digest of its content, which decides where there is no group.
        """
        if candidate.group is None:
            return sha256
        # A lone surrogate, which a name in JSON may hold, has no UTF-8 otherwise.
        name = f"group:{candidate.group}".encode("utf-8", "surrogatepass")
        return hashlib.sha256(name).hexdigest()


def _in_order(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(frozenset(names), key=SPLITS.index))
