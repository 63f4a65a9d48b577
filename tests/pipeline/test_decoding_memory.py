"""How much memory large images take where several threads decode."""

import json
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e  # takes hundreds of megabytes

ROOT = Path(__file__).resolve().parents[2]
SIDE = 5_000  # pixels, of RGBA 100 MB
# What a forked process reports as its ru_maxrss begins with its parent's; VmHWM is its own.
SCRIPT = """
import io, json, re, sys
import numpy as np
from PIL import Image
from components.image_example_gen.ahead import map_ahead
from components.image_example_gen.examine import Limits, Properties, examine
from components.thumbnails import Thumbnail, make_thumbnail

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) >> 10

def decode(content):
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))

def work(content):
    if sys.argv[2] == "thumbnail":
        return isinstance(make_thumbnail(content, 10**9), Thumbnail)
    return isinstance(examine(content, Limits(10**9, 1), decode), Properties)

content = open(sys.argv[1], "rb").read()
before = peak()
results = [work(content)]
one = peak()
results += map_ahead(work, [content] * 4, len, threads=4)
print(json.dumps([results, before, one, peak()]))
"""


def write_png(path: Path) -> None:
    """Writes a transparent PNG without ever holding its pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")
        )

    packer, row = zlib.compressobj(1), bytes(1 + 4 * SIDE)
    pixels = b"".join(packer.compress(row) for _ in range(SIDE)) + packer.flush()
    size = SIDE.to_bytes(4, "big")
    header = size + size + bytes([8, 6, 0, 0, 0])
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the peak there")
@pytest.mark.parametrize("work", ["examine", "thumbnail"])
def test_four_large_images_in_threads_take_little_more_memory_than_one(
    tmp_path: Path, work: str
) -> None:
    path = tmp_path / "large.png"
    write_png(path)
    command = [sys.executable, "-c", SCRIPT, str(path), work]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    results, before, one, four = json.loads(done.stdout)
    assert results == [True] * 5
    assert one - before > 100  # MiB: it was decoded in full
    assert four - one < (one - before) / 2
