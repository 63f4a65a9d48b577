"""The parts of ingestion that no whole run shows."""

import hashlib

from components.image_example_gen import ingestion
from components.image_example_gen.examine import Limits
from components.image_example_gen.known_files import KnownFiles
from components.image_example_gen.reencoded import Reencoded

LIMITS = Limits(100_000, 1)


def test_a_worker_that_is_killed_has_kept_what_it_found(
    tmp_path, image, pillow, listed, monkeypatch
):
    monkeypatch.setattr(ingestion, "KEPT_SECONDS", 0.0)
    monkeypatch.setattr(ingestion, "decode_with_tensorflow", pillow)
    contents = [image(seed=number, kind="WEBP") for number in range(3)]
    (tmp_path / "cat").mkdir()
    candidates = []
    for number, content in enumerate(contents):
        path = tmp_path / "cat" / f"{number}.webp"
        path.write_bytes(content)
        candidates.append(listed(path))
    cache = str(tmp_path / "cache")
    results = ingestion.Examine(LIMITS, cache).process(candidates)
    first = next(results)  # it never gets to the end of the batch
    sha256 = hashlib.sha256(contents[0]).hexdigest()
    assert KnownFiles(cache).examined([sha256], LIMITS) == {sha256: first.verdict}
    assert Reencoded(cache).read(sha256) is not None
