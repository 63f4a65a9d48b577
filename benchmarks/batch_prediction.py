"""Measures batch prediction: photos a second and peak memory as the photos multiply.

    python benchmarks/batch_prediction.py CONFIG [--photos FOLDER]

CONFIG is of a pipeline that serves a model; `configs/digits.yaml` after `make run` shows the cost
of everything but the base. The photos are the same files under 1, 4 and 16 names; each size is
answered by a process of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results" / "batch_prediction.json"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
TIMES = (1, 4, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--photos", type=Path, default=DATA / "flowers")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder), arguments.config, arguments.photos)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(measured, indent=1) + "\n")
    print(json.dumps(measured, indent=1))


def measure(folder: Path, config: Path, photos: Path) -> list[dict[str, Any]]:
    """Returns rows, seconds and peak memory of each size."""
    files = sorted(path for path in photos.rglob("*") if path.is_file())
    measured = []
    for times in TIMES:
        source = folder / f"times{times}"
        for copy in range(times):
            place = source / f"copy{copy:02d}"
            place.mkdir(parents=True)
            for number, file in enumerate(files):
                os.symlink(file.resolve(), place / f"{number:06d}{file.suffix}")
        measured.append(answer(config, source, folder / f"{times}.csv"))
    return measured


def answer(config: Path, source: Path, output: Path) -> dict[str, Any]:
    """Returns rows, seconds and the most memory of one call, in MB of 10^6 bytes."""
    command = [sys.executable, "-m", "pipeline.cli", "batch", str(config), str(source)]
    begun = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--output", str(output), "--json"], stdout=subprocess.PIPE, text=True
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    assert process.stdout is not None and status == 0
    told = json.loads(process.stdout.read())
    process.stdout.close()
    return {
        "rows": told["rows"],
        "refused": told["refused"],
        "seconds": round(seconds, 1),
        "rows_a_second": round(told["rows"] / seconds),
        # Kibibytes on Linux.
        "peak_mb": round(usage.ru_maxrss * 1024 / 1e6),
    }


if __name__ == "__main__":
    main()
