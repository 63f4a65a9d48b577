"""Features of the frozen base, computed once an image and kept on disk for every later head.

With a frozen base one forward pass an image is enough for all epochs, and what is keyed by an
image's content serves every run, head and trial that the image is part of.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.errors import GraftError
from components.trainer.feature_segments import (
    DTYPES,
    FLOAT16,
    FLOAT32,
    KEY,
    DamagedError,
    Scratch,
    Segment,
    gather,
    row_bytes,
    to_binary,
    to_digits,
)
from components.trainer.feature_space import NoRoomError, Space

FOLDER = "features"  # in the pipeline's cache
PART_ROWS = 4096  # a killed extraction loses less than a part
PART_BYTES = 64 << 20
PART_SECONDS = 60.0
ROUNDS = 3  # extractions whose rows may vanish or turn out damaged before nothing is kept
TOLERANCE = 1e-3  # of a vector's length; a batch's size and order change sums by less
# Half the distance of neighbouring float16 numbers: relative, and absolute for the smallest.
FLOAT16_RELATIVE, FLOAT16_ABSOLUTE = 2.0**-11, 2.0**-25

Extract = Callable[[frozenset[bytes]], Iterator[tuple[np.ndarray, np.ndarray]]]

LOG = logging.getLogger(__name__)


class Rows:
    """Features of images in the order in which their keys were given, repeats included.

    They lie in files that stay open, so that they can be read after another process has removed
    them from the cache.

    Args:
        segments: where the vectors lie.
        source: int [images], the number of each image's segment.
        row: int [images], its row there.
        width: length of one vector.
    """

    def __init__(
        self, segments: Sequence[Segment], source: np.ndarray, row: np.ndarray, width: int
    ):
        self.width = width
        self._segments, self._source, self._row = segments, source, row

    def __len__(self) -> int:
        return len(self._source)

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """Returns the features of some images.

        Args:
            indices: int [n], numbers of images from 0 to `len(self) - 1`.

        Returns:
            float32 [n, width], a copy.
        """
        indices = np.asarray(indices, np.int64)
        out = np.empty((len(indices), self.width), np.float32)
        return gather(self._segments, self._source[indices], self._row[indices], out)


@dataclass(frozen=True)
class Collected:
    """Features of all images asked for.

    Attributes:
        vectors: one row for each key, in the order of the keys.
        reused: distinct images whose features were kept from before.
        computed: distinct images whose features were computed now.
        notes: what the user should be told, a sentence or two each.
    """

    vectors: Rows
    reused: int
    computed: int
    notes: tuple[str, ...]


def collect(
    cache: Path,
    space: str,
    keys: np.ndarray,
    width: int,
    extract: Extract,
    dtype: str = FLOAT32,
    limit: int = 10_000_000_000,
    verified: int = 8,
    tolerance: float = TOLERANCE,
    evicts: bool = True,
) -> Collected:
    """Returns the features of images, computing those that are not kept yet.

    Processes may call this with one cache at the same time. Where the cache cannot be used, the
    features are computed without it and a note says why.

    Args:
        cache: the folder of all features; made if missing.
        space: a name for all that features depend on besides the image, such as a digest.
        keys: S64 [images], the hexadecimal SHA-256 of each image; may repeat.
        width: length of one vector.
        extract: yields (vectors float32 [batch, width], keys S64 [batch]) of the images whose keys
            it is given, in any order, perhaps with repeats.
        dtype: how rows are kept, `"float32"` or `"float16"`. Default: `"float32"`.
        limit: bytes that the whole cache may take. Default: 10 GB.
        verified: reused rows that are computed again and compared; 0 where the same image gives
            another vector each time. Default: 8.
        tolerance: distance from a reused row to the one computed again, as a share of their
            length, from which on the cache is not trusted. Default: 0.001.
        evicts: whether what was used longest ago makes room for what is computed now; else this is
            kept only where there is room. Default: True.

    Raises:
        GraftError: `extract` gives nothing for an image, or features that are no finite numbers.
        ValueError: `dtype` is not known, or `extract` yields arrays of another shape.
    """
    if dtype not in DTYPES:
        raise ValueError(f"Expected dtype to be one of {', '.join(DTYPES)}. Received: {dtype}.")
    wanted, image = np.unique(to_binary(keys), return_inverse=True)
    place = Space(Path(cache), space, dtype, width, limit, wanted, evicts)
    collection = _Collection(place, wanted, width, dtype, tolerance)
    collection.run(extract, verified)
    computed = int(collection.is_computed.sum())
    rows = Rows(collection.segments, collection.source[image], collection.row[image], width)
    return Collected(rows, len(wanted) - computed, computed, tuple(collection.notes))


class _Collection:
    """The state of one call: which image lies where, and what is told to the user."""

    def __init__(self, space: Space, wanted: np.ndarray, width: int, dtype: str, tolerance: float):
        self.segments: list[Segment] = []
        self.source = np.full(len(wanted), -1, np.int32)
        self.row = np.zeros(len(wanted), np.int64)
        self.is_computed = np.zeros(len(wanted), bool)
        self.notes: list[str] = []
        self._space, self._wanted, self._width = space, wanted, width
        self._dtype, self._tolerance = dtype, tolerance
        self._scratch = Scratch()
        self._reads = self._writes = True  # the space

    @property
    def is_missing(self) -> np.ndarray:
        """Which images have no place yet, bool [images]."""
        return self.source < 0

    def run(self, extract: Extract, verified: int) -> None:
        """Finds or computes every image."""
        self._space.touch()
        for rounds_left in reversed(range(ROUNDS)):
            try:
                self._find()
                self._obey_limit()
                self._complete(extract, self._choose(verified))
                break
            except DamagedError as error:
                self._throw_away(str(error), is_last=rounds_left == 1)
        self._space.touch()

    def _find(self) -> None:
        """Looks for the images that have no place yet, and checks the rows that it finds."""
        found = self._scratch.take()
        if self._reads and self.is_missing.any():
            try:
                found += self._space.open_new()
            except OSError as error:
                self._reads = False
                self._keep_nothing(f"cannot be read: {error.strerror or error}")
        for segment in found:
            missing = np.flatnonzero(self.is_missing)
            at, is_here = _places(segment.keys, self._wanted[missing])
            here, rows = missing[is_here], at[is_here]
            if not len(here):
                continue
            # Rows of this call were written a moment ago; reading them back would prove little.
            segment.check(rows[~self.is_computed[here]])
            self.source[here], self.row[here] = len(self.segments), rows
            self.segments.append(segment)

    def _obey_limit(self) -> None:
        needed = len(self._wanted) * row_bytes(self._width, self._dtype)
        if needed > self._space.limit:
            self._exceed(needed)
            if self._space.evicts:
                self._reads = False
                with suppress(OSError):
                    self._space.remove()  # what was found stays open
        self._space.make_room(0)

    def _choose(self, verified: int) -> np.ndarray:
        """Returns which reused images are computed again, evenly spread, bool [images]."""
        reused = np.flatnonzero(~self.is_missing)
        chosen = np.zeros(len(self._wanted), bool)
        if len(reused) and verified:
            spread = np.linspace(0, len(reused) - 1, min(verified, len(reused)))
            chosen[reused[spread.astype(np.int64)]] = True
        return chosen

    def _complete(self, extract: Extract, sample: np.ndarray) -> None:
        while self.is_missing.any() or sample.any():
            self._compute(extract, sample)
            sample = np.zeros_like(sample)
            self._find()
            if self.is_missing.any():
                self._keep_nothing("is emptied by another process at the same time")

    def _compute(self, extract: Extract, sample: np.ndarray) -> None:
        """Computes what is missing, a part at a time, and compares the sample."""
        asked = _Asked(self._wanted, self.is_missing | sample, self._width)
        parts = _Parts(int(self.is_missing.sum()), self._width, self._keep)
        self.is_computed |= self.is_missing
        for vectors, keys in extract(asked.keys):
            at, rows = asked.take(vectors, keys)
            is_sample = sample[at]
            self._compare(at[is_sample], rows[is_sample])
            parts.add(self._wanted[at[~is_sample]], rows[~is_sample])
        parts.flush()
        asked.finish()

    def _compare(self, images: np.ndarray, computed: np.ndarray) -> None:
        kept = np.empty_like(computed)
        gather(self.segments, self.source[images], self.row[images], kept)
        distance = np.linalg.norm(kept.astype(np.float64) - computed, axis=1)
        length = np.linalg.norm(computed.astype(np.float64), axis=1)
        allowed = self._tolerance * length
        if self._dtype == FLOAT16:
            allowed += FLOAT16_RELATIVE * length + FLOAT16_ABSOLUTE * self._width**0.5
        if (distance > allowed).any():
            worst = np.argmax(distance - allowed)
            raise DamagedError(
                f"a vector of length {np.linalg.norm(kept[worst]):.4g} was kept, and computed "
                f"again it has length {length[worst]:.4g} and is {distance[worst]:.4g} away"
            )

    def _keep(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        """Keeps computed rows in the space, or else only for this run."""
        dtype = self._dtype
        if dtype == FLOAT16 and not fits_float16(vectors):
            dtype = FLOAT32
            self._note("Some features do not fit float16. They are kept as float32.")
        with np.errstate(over="ignore", under="ignore"):
            stored = vectors.astype(DTYPES[dtype])
        if self._writes:
            try:
                self._space.add(dtype, keys, stored)
                return
            except NoRoomError as error:
                self._exceed(error.needed)
            except OSError as error:
                self._keep_nothing(f"cannot be written: {error.strerror or error}")
        self._scratch.add(keys, stored)

    def _throw_away(self, reason: str, is_last: bool) -> None:
        """Forgets and removes everything kept in the space."""
        text = f"The kept features in {self._space.folder} were thrown away: {reason}."
        LOG.warning(text)
        self._note(f"{text} They are computed again.")
        self.segments, self._scratch = [], Scratch()
        self.source[:] = -1
        try:
            self._space.remove()
        except OSError as error:
            is_last = True
            self._keep_nothing(f"cannot be emptied: {error.strerror or error}")
        if is_last:
            self._reads = False
            self._keep_nothing("does not give back what is written")

    def _exceed(self, needed: int) -> None:
        self._writes = False
        self._note(
            f"Features are not kept for the next run: {needed:,} bytes are needed, and "
            f"train.cache_limit is {self._space.limit:,}. Raise train.cache_limit to keep them."
        )

    def _keep_nothing(self, reason: str) -> None:
        if self._writes:
            self._note(
                f"The features computed now are not kept, as {self._space.cache} {reason}. The "
                "next run computes them again."
            )
        self._writes = False

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


class _Asked:
    """The images that an extraction is asked for, each of which is taken once.

    Args:
        wanted: S32 [images], ascending.
        pending: bool [images], those that are asked for.
        width: length of one vector.
    """

    def __init__(self, wanted: np.ndarray, pending: np.ndarray, width: int):
        self.keys = frozenset(to_digits(wanted[pending]))
        self._wanted, self._pending, self._width = wanted, pending, width
        self._taken = self._not_finite = 0

    def take(self, vectors: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns numbers and vectors of the images in a batch that were still to come."""
        vectors = np.asarray(vectors, np.float32)
        if vectors.shape != (len(keys), self._width):
            raise ValueError(
                f"Expected vectors of shape ({len(keys)}, {self._width}). Received: "
                f"{vectors.shape}."
            )
        at, is_known = _places(self._wanted, to_binary(keys))
        rows = np.flatnonzero(is_known & self._pending[at])
        images, first = np.unique(at[rows], return_index=True)
        vectors = vectors[rows[first]]
        self._pending[images] = False
        is_finite = np.isfinite(vectors).all(axis=1)
        self._taken += len(images)
        self._not_finite += int((~is_finite).sum())
        # Not at once, so that a number says how bad it is; not in the end, as that may be hours.
        if self._taken >= PART_ROWS:
            self._check_finite()
        return images[is_finite], vectors[is_finite]

    def finish(self) -> None:
        """Raises a `GraftError` where images are missing or not finite."""
        self._check_finite()
        if self._pending.any():
            missing = to_digits(self._wanted[self._pending])
            raise GraftError(
                f"Expected features of all images. Received: none for {len(missing)} of the "
                f"{len(self.keys)} to compute, such as the image with SHA-256 "
                f"{missing[0].decode()}. Its example is gone or cannot be read: delete the "
                "examples of this run and run again."
            )

    def _check_finite(self) -> None:
        if self._not_finite:
            raise GraftError(
                f"Expected features that are finite numbers. Received: NaN or infinity for "
                f"{self._not_finite} of {self._taken} images. Check base.weights and "
                "base.preprocessing, or write train.precision: float32."
            )


class _Parts:
    """Collects computed rows until they are worth a segment.

    Args:
        rows: how many will come.
        width: length of one vector.
        keep: is called with (keys S32 [rows], ascending; vectors float32 [rows, width]).
    """

    def __init__(self, rows: int, width: int, keep: Callable[[np.ndarray, np.ndarray], None]):
        most = min(PART_ROWS, PART_BYTES // row_bytes(width, FLOAT32), rows)
        self._keys = np.empty(max(1, most), KEY)
        self._vectors = np.empty((len(self._keys), width), np.float32)
        self._filled, self._since, self._keep = 0, time.monotonic(), keep

    def add(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        """Takes rows, none of them twice."""
        while len(keys):
            end = min(self._filled + len(keys), len(self._keys))
            count = end - self._filled
            self._keys[self._filled : end] = keys[:count]
            self._vectors[self._filled : end] = vectors[:count]
            keys, vectors, self._filled = keys[count:], vectors[count:], end
            if end == len(self._keys) or time.monotonic() - self._since > PART_SECONDS:
                self.flush()

    def flush(self) -> None:
        """Hands over what has come since the last time."""
        if self._filled:
            order = np.argsort(self._keys[: self._filled])
            self._keep(self._keys[order], self._vectors[order])
        self._filled, self._since = 0, time.monotonic()


def fits_float16(vectors: np.ndarray) -> bool:
    """Says whether no number overflows in float16, and no vector becomes all zeros."""
    with np.errstate(over="ignore", under="ignore"):
        half = vectors.astype(np.float16)
    is_lost = (vectors != 0).any(axis=1) & (half == 0).all(axis=1)
    return bool(np.isfinite(half).all() and not is_lost.any())


def _places(keys: np.ndarray, sought: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns where each key stands in ascending keys, and whether it does."""
    if not len(keys):
        return np.zeros(len(sought), np.int64), np.zeros(len(sought), bool)
    at = np.minimum(np.searchsorted(keys, sought), len(keys) - 1)
    return at, keys[at] == sought
