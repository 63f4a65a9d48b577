"""What libraries print goes into a file; what the user is told does not."""

import subprocess
import sys
from pathlib import Path

import pytest

SPEAK = """
import os, sys, subprocess
from pathlib import Path
from pipeline.noise import quiet

print("before")
try:
    with quiet(Path(sys.argv[1])) as screen:
        print("python out")
        print("python err", file=sys.stderr)
        os.write(1, b"library out\\n")
        os.write(2, b"library err\\n")
        subprocess.run(["echo", "child"])
        print("progress", file=screen, flush=True)
        if len(sys.argv) > 2:
            raise ValueError("failed")
except ValueError:
    print("caught", file=sys.stderr)
print("after")
print("after, too", file=sys.stderr)
"""


def speak(log: Path, *more: str) -> tuple[str, str]:
    told = subprocess.run(
        [sys.executable, "-c", SPEAK, str(log), *more], capture_output=True, check=True, text=True
    )
    return told.stdout, told.stderr


def test_everything_printed_meanwhile_is_in_the_log_and_progress_on_the_screen(
    tmp_path: Path,
) -> None:
    log = tmp_path / "logs" / "run.log"
    assert speak(log) == ("before\nafter\n", "progress\nafter, too\n")
    assert sorted(log.read_text().splitlines()) == [
        "child",
        "library err",
        "library out",
        "python err",
        "python out",
    ]


def test_a_failure_gives_the_streams_back(tmp_path: Path) -> None:
    out, err = speak(tmp_path / "run.log", "fail")
    assert (out, err) == ("before\nafter\n", "progress\ncaught\nafter, too\n")


def test_the_log_is_appended_to(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text("earlier\n")
    speak(log)
    assert log.read_text().startswith("earlier\n")


def test_no_descriptor_is_left_open(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from pipeline.noise import quiet

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    with quiet(tmp_path / "run.log"):
        pass
    assert descriptors() == before


FILL = """
import sys
from pathlib import Path
from pipeline.noise import quiet

try:
    with quiet(Path("/dev/full")) as screen:
        raise ValueError("the reason")
except ValueError as error:
    print(error)
"""


def test_a_log_that_no_longer_fits_does_not_hide_why_a_run_ended() -> None:
    script = FILL.replace("raise", "sys.stderr.write('no newline'); raise")
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (told.stdout, told.stderr) == ("the reason\n", "")
