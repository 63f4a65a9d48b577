"""One run of a pipeline at a time."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from components.errors import GraftError
from pipeline.lock import is_locked, run_lock

HOLD = """
import sys, time
from pathlib import Path
from pipeline.lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "run.lock"


def test_a_second_run_is_told_who_holds_the_lock(path: Path) -> None:
    with run_lock(path):
        with pytest.raises(GraftError) as caught, run_lock(path):
            pass
        assert f"{path} is held by process {os.getpid()} since " in str(caught.value)
        assert caught.value.exit_status == 1
        assert is_locked(path)


def test_the_lock_is_free_after_a_run_and_after_one_that_failed(path: Path) -> None:
    with pytest.raises(KeyError), run_lock(path):
        raise KeyError
    assert not is_locked(path)
    with run_lock(path):
        assert path.read_text().count("process") == 1


def test_a_lock_file_that_its_holder_removed_keeps_the_next_from_nothing(path: Path) -> None:
    with run_lock(path, "batch"):
        path.unlink()
        with (
            run_lock(path, "batch"),
            pytest.raises(GraftError, match="Expected no other batch"),
            run_lock(path, "batch"),
        ):
            pass


def test_a_lock_that_was_never_taken_is_free(path: Path) -> None:
    assert not is_locked(path)
    assert not path.exists()


def test_looking_at_the_lock_does_not_take_it(path: Path) -> None:
    with run_lock(path):
        pass
    assert not is_locked(path)
    with run_lock(path):
        assert is_locked(path)


def test_pipelines_do_not_lock_one_another(path: Path) -> None:
    with run_lock(path), run_lock(path.with_name("other.lock")):
        assert is_locked(path)


def test_the_lock_of_a_killed_run_is_free(path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(GraftError, match=f"held by process {other.pid} since"), run_lock(path):
            pass
        other.send_signal(signal.SIGKILL)
    with run_lock(path):
        assert str(os.getpid()) in path.read_text()
