"""Which split an image belongs to, decided by its content alone.

Counting or shuffling would move images between splits whenever one is added; a hash never does,
and identical content always lands on one side.
"""

import hashlib
import math
from collections.abc import Mapping

from components.errors import InputError
from components.features import SPLITS

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
    if not math.isclose(sum(ordered.values()), 1.0, abs_tol=1e-6):
        raise InputError(
            f"Expected shares that sum to 1. Received: data.splits={ordered}, "
            f"sum {sum(ordered.values()):g}. Change one of them."
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
