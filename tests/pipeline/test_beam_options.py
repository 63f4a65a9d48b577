"""Beam's flags, and where the pipeline's placeholders find them."""

import os
from collections.abc import Iterator

import pytest

from components.errors import InputError
from pipeline.beam_options import LOCAL_RUNNER, SLOTS, VARIABLE, build_flags, export_flags


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Puts the variables back as they were."""
    for slot in range(SLOTS):
        monkeypatch.setenv(VARIABLE.format(slot), "--before=1")
    yield


def exported() -> list[str]:
    return [os.environ[VARIABLE.format(slot)] for slot in range(SLOTS)]


def test_this_machine_runs_in_one_process_and_builds_no_package() -> None:
    assert build_flags(()) == [
        "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner",
        "--direct_running_mode=in_memory",
        "--direct_num_workers=1",
        "--sdk_container_image=none",
    ]


def test_the_users_flags_come_last_so_that_they_win() -> None:
    flags = build_flags(("--direct_num_workers=2",))
    assert flags == [*LOCAL_RUNNER, "--direct_num_workers=2"]


def test_as_many_flags_as_there_are_places_are_taken() -> None:
    assert len(build_flags(["--a=1"] * (SLOTS - len(LOCAL_RUNNER)))) == SLOTS


def test_one_flag_too_many_is_refused_with_the_number_that_may_be() -> None:
    with pytest.raises(InputError, match=r"at most 20 runtime\.beam_args\. Received: 21"):
        build_flags(["--a=1"] * 21)


def test_spare_places_repeat_the_first_flag(environment: None) -> None:
    export_flags(["--runner=x", "--b=2"])
    assert exported() == ["--runner=x", "--b=2", *["--runner=x"] * (SLOTS - 2)]


def test_flags_of_an_earlier_run_do_not_stay(environment: None) -> None:
    export_flags(["--runner=x", "--b=2", "--c=3"])
    export_flags(["--runner=x"])
    assert exported() == ["--runner=x"] * SLOTS
