"""Measures ingestion: images a second, peak memory at 1, 4 and 16 times the photos, ten new images.

    python benchmarks/ingestion.py [PHOTOS] [--times 1 4 16]

PHOTOS is a folder of class folders; ../shared/data/flowers by default. Every size is a process of
its own, so that its peak memory is its own. Copies are turned, mirrored and inverted, so that all
are pictures of their own; a second set of rows has copies that decode to the same pixels, the
worst case for the search for near-duplicates. `data.leakage=report` keeps them all.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT.parent / "shared" / "data" / "flowers"
RESULTS = ROOT / "benchmarks" / "results" / "ingestion.json"
NEW = 10
BEAM = (
    "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner",
    "--direct_running_mode=in_memory",
    "--direct_num_workers=1",
    "--sdk_container_image=none",
)


def main() -> None:
    arguments = _parse()
    if arguments.ingest:
        print(json.dumps(ingest(*arguments.ingest)))
        return
    if not arguments.photos.is_dir():
        print(f"skipped: needs photos in {arguments.photos}")
        return
    rows = [row for times in arguments.times for row in measure(arguments.photos, times)]
    rows += [measure_equal(arguments.photos, times) for times in arguments.times if 1 < times < 8]
    first = rows[0]
    for row in rows:
        row["memory_ratio"] = round(row["peak_mb"] / first["peak_mb"], 2)
        row["time_ratio"] = round(row["seconds"] / first["seconds"], 2)
        print(json.dumps(row))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


def measure(photos: Path, times: int) -> Iterator[dict[str, Any]]:
    """Yields what a first ingestion took and, for the photos once, one with ten new images."""
    with tempfile.TemporaryDirectory() as folder:
        source, work = Path(folder, "photos"), Path(folder, "work")
        copy_photos(photos, source, range(times))
        yield {"what": f"{times}x", **_ingest_apart(source, work)}
        if times == 1:
            yield {"what": "1x, nothing new", **_ingest_apart(source, work)}
            copy_photos(photos, source, range(1, 2), NEW)
            yield {"what": f"1x and {NEW} new", **_ingest_apart(source, work)}


def measure_equal(photos: Path, times: int) -> dict[str, Any]:
    """Returns what the ingestion of copies took that differ behind the image's end only."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "photos")
        for number in range(times):
            for file in _list_files(photos):
                target = source / file.parent.relative_to(photos) / f"{number:02d}-{file.name}"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read_bytes() + bytes([number]))
        return {"what": f"{times}x, equal pixels", **_ingest_apart(source, Path(folder, "work"))}


def copy_photos(photos: Path, source: Path, copies: range, at_most: int | None = None) -> None:
    """Writes copies of photos: of the 16, none looks like another."""
    for number in copies:
        for file in _list_files(photos)[:at_most]:
            target = source / file.parent.relative_to(photos) / f"{number:02d}-{file.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            if number == 0:
                shutil.copyfile(file, target)
                continue
            with Image.open(file) as image:
                copy = image.convert("RGB").rotate(90 * (number % 4), expand=True)
            copy = ImageOps.mirror(copy) if number // 4 % 2 else copy
            copy = ImageOps.invert(copy) if number // 8 else copy
            copy.save(target, "JPEG", quality=90)
    _let_stamps_age()


def ingest(source: str, work: str) -> dict[str, Any]:
    """Ingests a folder with TFX's local runner, in this process."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tfx.orchestration import metadata, pipeline
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner

    from components.image_example_gen.component import ImageExampleGen
    from components.image_example_gen.listing import SourceSettings

    example_gen = ImageExampleGen(
        settings=SourceSettings(source, cache=os.path.join(work, "cache")),
        splits={"train": 0.8, "validation": 0.2},
        salt="",
        max_pixels=100_000_000,
        min_size=1,
        leakage="report",
    )
    os.makedirs(work, exist_ok=True)
    path = os.path.join(work, "metadata.db")
    whole = pipeline.Pipeline(
        pipeline_name="ingestion",
        pipeline_root=os.path.join(work, "artifacts"),
        metadata_connection_config=metadata.sqlite_metadata_connection_config(path),
        components=[example_gen],
        enable_cache=True,
        beam_pipeline_args=list(BEAM),
    )
    idle = _peak_megabytes()
    started = time.perf_counter()
    LocalDagRunner().run(whole)
    seconds = time.perf_counter() - started
    images = sum(1 for path in Path(source).rglob("*") if path.is_file())
    return {
        "images": images,
        "seconds": round(seconds, 1),
        "images_per_second": round(images / seconds, 1),
        "idle_mb": round(idle),
        "peak_mb": round(_peak_megabytes()),
    }


def _ingest_apart(source: Path, work: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--ingest", str(source), str(work)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _list_files(photos: Path) -> list[Path]:
    return sorted(path for path in photos.rglob("*") if path.is_file())


def _let_stamps_age() -> None:
    """Waits until the files are old enough for their time stamps to be trusted."""
    time.sleep(3)


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, nargs="?", default=PHOTOS)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--ingest", nargs=2, metavar=("SOURCE", "WORK"), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
