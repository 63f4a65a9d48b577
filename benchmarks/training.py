"""Measures whole runs against a plain Keras script, one bare pass, and a run's own first time.

    python benchmarks/training.py [--photos DIR] [--only PART …] [--memory] [--work DIR]
        [--results FILE.json]

PHOTOS is a folder of class folders; ../shared/data/flowers by default. Parts: first (a whole run
from nothing), one_pass, keras_script, again (nothing changed), other_head, tuner (100 trials),
new_photos (ten more), augment (0 and 4 kept copies, ten epochs at most), and with `--memory`,
memory (peak of a whole run at 1, 2 and 4 times the photos, at 128 pixels with a base of random
weights). Seconds are those of whole processes, measured from outside, one after the other.

Results stand in results/training.json; a part that is measured alone is put beside the others
there if photos and machine are the same. `--work` keeps the runs in a folder, so that a part that
needs the first run need not repeat it.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ingestion import copy_photos
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
PHOTOS = SHARED / "flowers"
BASE = SHARED / "mobilenet_v1_pw12.keras"
RESULTS = ROOT / "benchmarks" / "results" / "training.json"
EPOCHS = 10  # of the plain script, and of the runs with augmentation at most
TRIALS = 100
NEW = 10  # photos
TIMES = (1, 2, 4)
FINISHED = (0, 3)  # exit status: done, or refused by a gate, which is an end like another
SETTINGS = ("image.size=224", "evaluate.min_accuracy=0.3")
MEMORY_SETTINGS = (
    "base.weights=none",
    "image.size=128",
    "data.leakage=report",
    "evaluate.min_accuracy=0",
)

Record = dict[str, Any]


class PartError(RuntimeError):
    """A part could not be measured; the others are."""


@dataclass(frozen=True)
class Ratio:
    """A figure to reach: one part's number over another's.

    Args:
        over: part and key of the numerator.
        under: part and key of the denominator.
        at_most: the limit.
        goal: what is better still, None where it is the limit.
    """

    over: tuple[str, str]
    under: tuple[str, str]
    at_most: float
    goal: float | None = None


RATIOS = {
    "whole run / plain Keras script": Ratio(
        ("first", "seconds"), ("keras_script", "seconds"), 0.25, 0.20
    ),
    "whole run / one bare pass": Ratio(
        ("first", "seconds"), ("one_pass", "pass_seconds"), 2.0, 1.5
    ),
    "run with another head / first run": Ratio(
        ("other_head", "seconds"), ("first", "seconds"), 0.25
    ),
    f"run with {TRIALS} tuner trials / first run": Ratio(
        ("tuner", "seconds"), ("first", "seconds"), 1.0
    ),
    "peak memory at 4x / 1x": Ratio(("memory", "peak_mb_4x"), ("memory", "peak_mb_1x"), 1.2),
    "peak memory at 2x / 1x": Ratio(("memory", "peak_mb_2x"), ("memory", "peak_mb_1x"), 1.2),
}


def main() -> None:
    arguments = _parse()
    if not arguments.photos.is_dir() or not BASE.is_file():
        print(f"skipped: needs photos in {arguments.photos} and the base {BASE}")
        return
    names = arguments.only or [name for name in PARTS if name != "memory" or arguments.memory]
    with _work_folder(arguments.work) as work:
        results = load_results(arguments.photos, arguments.results)
        for name in names:
            results["parts"][name] = measure(name, arguments.photos.resolve(), work)
            print(json.dumps({name: results["parts"][name]}), flush=True)
            results["ratios"] = list(compare(results["parts"]))
            for line in results["ratios"]:
                print(f"  {line['ratio']:.3f}  {line['what']} ({line['wanted']})", flush=True)
            arguments.results.parent.mkdir(exist_ok=True)
            arguments.results.write_text(json.dumps(results, indent=1) + "\n")


def measure(name: str, photos: Path, work: Path) -> Record:
    """Returns what a part gave, or why it gave nothing."""
    begun = datetime.now(timezone.utc).isoformat(timespec="seconds")
    try:
        return {"begun": begun, **PARTS[name](photos, work)}
    except PartError as error:
        return {"begun": begun, "failed": str(error)}


def compare(parts: dict[str, Record]) -> Iterator[Record]:
    """Yields the ratios of which both numbers are there, each beside what is wanted of it."""
    for what, ratio in RATIOS.items():
        over, under = (parts.get(part, {}).get(key) for part, key in (ratio.over, ratio.under))
        if over and under:
            goal = "" if ratio.goal is None else f", goal {ratio.goal}"
            yield {
                "what": what,
                "ratio": round(over / under, 3),
                "wanted": f"at most {ratio.at_most}{goal}",
                "reached": over / under <= ratio.at_most,
            }
    ours, theirs = (parts.get(part, {}).get("accuracy") for part in ("first", "keras_script"))
    if ours and theirs:
        yield {
            "what": "accuracy of the whole run / of the script, each on its own validation photos",
            "ratio": round(ours / theirs, 3),
            "wanted": "at least 1",
            "reached": ours >= theirs,
        }


def first(photos: Path, work: Path) -> Record:
    """A whole run from nothing, in a folder of its own."""
    source = work / "photos"
    if source.exists():
        raise PartError(f"{work} holds a first run already; give an empty --work.")
    copy_photos(photos, source, range(1))
    graft("init", source, "--base", BASE, "--output", work / "photos.yaml")
    record = run(work)
    if record["outcome"] != "pushed":
        raise PartError(f"the first run was {record['outcome']}, not pushed")
    (work / "first.json").write_text(json.dumps(record))
    return {"photos": len(_list_files(source)), **record}


def one_pass(photos: Path, work: Path) -> Record:
    """One decode and one forward pass over every image, alone."""
    seconds, peak, told = call([sys.executable, ROOT / "benchmarks" / "one_pass.py"], photos)
    return {
        "seconds": seconds,
        "peak_mb": peak,
        "pass_seconds": told["seconds"],
        "images_per_second": told["images_per_second"],
    }


def keras_script(photos: Path, work: Path) -> Record:
    """What a user would write today."""
    script = [sys.executable, ROOT / "benchmarks" / "keras_script.py", "--epochs", EPOCHS]
    seconds, peak, told = call(script, photos)
    return {**told, "seconds": seconds, "peak_mb": peak}


def again(photos: Path, work: Path) -> Record:
    """A run with nothing changed, after one that found nothing changed but the served model."""
    _need_first(photos, work)
    run(work)
    return run(work)


def other_head(photos: Path, work: Path) -> Record:
    """A second run, with another head."""
    _need_first(photos, work)
    return run(work, "head.hidden=[64]")


def tuner(photos: Path, work: Path) -> Record:
    """A run that tries heads first."""
    _need_first(photos, work)
    record = run(work, f"tune.trials={TRIALS}")
    if "Tuner" not in record["stages"]:
        raise PartError(f"no stage Tuner among {', '.join(record['stages'])}")
    return {"tuner_seconds": record["stages"]["Tuner"][1], **record}


def new_photos(photos: Path, work: Path) -> Record:
    """A run after ten photos were added, which are turned so that they are new pictures."""
    _need_first(photos, work)
    source = work / "photos"
    files = _list_files(source)
    for number, file in enumerate(files[:: max(1, len(files) // NEW)][:NEW]):
        with Image.open(file) as image:
            turned = image.convert("RGB").rotate(90, expand=True)
        turned.save(file.with_name(f"new-{number}.jpg"), "JPEG", quality=95)
    time.sleep(3)  # until the files are old enough for their time stamps to be trusted
    return run(work)


def augment(photos: Path, work: Path) -> Record:
    """Runs of few epochs without augmentation, and with it for no and four kept copies."""
    _need_first(photos, work)
    epochs = f"train.epochs={EPOCHS}"
    record: Record = {"none": run(work, epochs)}
    for copies in (0, 4):
        settings = ("train.augment=light", f"train.augment_copies={copies}")
        record[f"light, {copies} copies"] = run(work, epochs, *settings)
    return record


def memory(photos: Path, work: Path) -> Record:
    """Peak memory of whole runs over ever more photos, each a picture of its own."""
    record: Record = {}
    for times in TIMES:
        with tempfile.TemporaryDirectory(dir=work) as folder:
            source = Path(folder, "photos")
            copy_photos(photos, source, range(times))
            graft("init", source, "--base", "MobileNetV2", "--output", Path(folder, "photos.yaml"))
            one = run(Path(folder), settings=MEMORY_SETTINGS)
        record |= {f"peak_mb_{times}x": one["peak_mb"], f"seconds_{times}x": one["seconds"]}
    return record


PARTS: dict[str, Callable[[Path, Path], Record]] = {
    "first": first,
    "one_pass": one_pass,
    "keras_script": keras_script,
    "again": again,
    "other_head": other_head,
    "tuner": tuner,
    "new_photos": new_photos,
    "augment": augment,
    "memory": memory,
}


def run(work: Path, *more: str, settings: tuple[str, ...] = SETTINGS) -> Record:
    """Calls `graft run` and returns what it took, what it came to and each stage's time."""
    config = work / "photos.yaml"
    overrides = [word for setting in (*settings, *more) for word in ("--set", setting)]
    seconds, peak, told = graft("run", config, *overrides, "--json")
    _, _, explained = graft("explain", config, "--json")
    return {
        "seconds": seconds,
        "peak_mb": peak,
        "outcome": told["outcome"],
        "accuracy": (told["metrics"] or {}).get("accuracy"),
        "stages": {
            stage["stage"]: [stage["state"], round(stage["seconds"], 1)]
            for stage in explained["stages"]
        },
    }


def graft(*arguments: Any) -> tuple[float, int, Record]:
    return call([sys.executable, "-m", "pipeline.cli", *arguments])


def call(command: list[Any], photos: Path | None = None) -> tuple[float, int, Record]:
    """Calls a command in a process of its own.

    Returns:
        Its seconds from outside, its peak memory in megabytes, and the JSON object that it printed
        last, empty where it printed none.

    Raises:
        PartError: it failed.
    """
    words = [*map(str, command), *(["--photos", str(photos)] if photos else [])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        begun = time.perf_counter()
        process = subprocess.Popen(words, env=environment, stdout=output, stderr=errors)
        # The usage of this one process; getrusage knows only that of all children together.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = round(time.perf_counter() - begun, 1)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        printed, failure = output.read().splitlines(), errors.read()
    if process.returncode not in FINISHED:
        raise PartError(f"exit status {process.returncode}: {failure.strip()[-1000:]}")
    told = json.loads(printed[-1]) if printed and printed[-1].startswith("{") else {}
    return seconds, round(usage.ru_maxrss / 1024), told


def load_results(photos: Path, file: Path) -> Record:
    """Returns earlier results of these photos on this machine, or none, with today's date."""
    setting = {"machine": describe_machine(), "photos": len(_list_files(photos))}
    parts: Record = {}
    if file.is_file():
        earlier = json.loads(file.read_text())
        if all(earlier.get(key) == value for key, value in setting.items()):
            parts = earlier["parts"]
    today = datetime.now(timezone.utc).date().isoformat()
    return {"date": today, **setting, "parts": parts, "ratios": []}


def describe_machine() -> Record:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    packages = ("tensorflow", "keras", "tfx", "apache-beam")
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(pages / 2**30),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def _need_first(photos: Path, work: Path) -> None:
    """Makes the first run where this part is called alone."""
    if not (work / "first.json").is_file():
        first(photos, work)


@contextmanager
def _work_folder(kept: Path | None) -> Iterator[Path]:
    """Gives the folder that is to be kept, or one that goes away."""
    with tempfile.TemporaryDirectory() as temporary:
        work = (kept or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        yield work


def _list_files(photos: Path) -> list[Path]:
    return sorted(path for path in photos.rglob("*") if path.is_file())


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART")
    parser.add_argument("--memory", action="store_true", help="peak memory too; the longest part")
    parser.add_argument("--work", type=Path, help="folder for the runs; by default a temporary one")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
