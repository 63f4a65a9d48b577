"""The set-up scripts' decisions, with the host's answers replaced by small programs on PATH."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def program(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def bash(script: str, path: list[Path], **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "STACK"}
    environment |= {"PATH": os.pathsep.join([*map(str, path), os.environ["PATH"]]), **variables}
    command = ["bash", "-euc", script]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def chosen(tmp_path: Path, glibc: str, **variables: str) -> subprocess.CompletedProcess[str]:
    program(tmp_path, "getconf", f"echo 'glibc {glibc}'")
    program(tmp_path, "uname", 'case "$1" in -s) echo Linux;; -m) echo x86_64;; esac')
    script = '. scripts/lib.sh; choose_stack; echo "$stack: $pythons: $reason"'
    return bash(script, [tmp_path], **variables)


@pytest.mark.parametrize(
    ("glibc", "expected"),
    [
        ("2.17", "compatible: 3.10: glibc 2.17 is older than 2.39, which TFX 1.21 needs"),
        ("2.38", "compatible: 3.10: glibc 2.38 is older than 2.39, which TFX 1.21 needs"),
        ("2.39", "modern: 3.13 3.12 3.11: glibc 2.39 is 2.39 or later"),
        ("2.100", "modern: 3.13 3.12 3.11: glibc 2.100 is 2.39 or later"),
    ],
)
def test_the_stack_is_what_glibc_can_load(tmp_path: Path, glibc: str, expected: str):
    assert chosen(tmp_path, glibc).stdout.strip() == expected


def test_a_glibc_older_than_both_stacks_is_refused(tmp_path: Path):
    refused = chosen(tmp_path, "2.9")
    assert refused.returncode == 1
    assert "Expected Linux on x86_64 with glibc 2.17 or later" in refused.stderr
    assert "glibc=2.9" in refused.stderr


def test_a_given_stack_wins_over_what_glibc_says(tmp_path: Path):
    answer = chosen(tmp_path, "2.41", STACK="compatible")
    assert answer.stdout.strip() == "compatible: 3.10: STACK=compatible was given"
    assert answer.stderr == ""


def test_the_modern_stack_on_an_old_glibc_is_warned_about(tmp_path: Path):
    answer = chosen(tmp_path, "2.36", STACK="modern")
    assert answer.stdout.startswith("modern: ")
    assert "warning: glibc 2.36 is older than 2.39" in answer.stderr


def test_another_stack_is_refused_by_name(tmp_path: Path):
    refused = chosen(tmp_path, "2.36", STACK="newest")
    assert refused.returncode == 1
    assert "Expected STACK to be modern or compatible. Received: STACK=newest." in refused.stderr


def test_a_uv_that_does_not_answer_is_passed_over_for_the_next_on_the_path(tmp_path: Path):
    shim, old, good = (tmp_path / name for name in ("shim", "old", "good"))
    for folder in (shim, old, good):
        folder.mkdir()
    program(shim, "uv", "echo 'uv: command not found' >&2; exit 127")
    program(old, "uv", "echo 'uv 0.7.22'")
    program(good, "uv", "echo 'uv 0.8.0 (a build)'")
    answer = bash("scripts/uv.sh", [shim, old, good])
    assert answer.stdout.strip() == str(good / "uv")


def test_a_command_that_fails_twice_is_tried_a_third_time(tmp_path: Path):
    tries = tmp_path / "tries"
    program(tmp_path, "flaky", f"echo x >> {tries}; [ $(wc -l < {tries}) -ge 3 ]")
    answer = bash(". scripts/lib.sh; retry flaky", [tmp_path], GRAFT_RETRY_SECONDS="0")
    assert (answer.returncode, tries.read_text()) == (0, "x\n" * 3)


def test_a_command_that_always_fails_is_tried_five_times(tmp_path: Path):
    tries = tmp_path / "tries"
    program(tmp_path, "broken", f"echo x >> {tries}; exit 1")
    answer = bash(". scripts/lib.sh; retry broken", [tmp_path], GRAFT_RETRY_SECONDS="0")
    assert (answer.returncode, tries.read_text()) == (1, "x\n" * 5)


def test_a_second_call_on_the_modern_root_waits_until_the_first_one_has_ended(tmp_path: Path):
    programs = tmp_path / "programs"
    programs.mkdir()
    program(programs, "getconf", "echo 'glibc 2.36'")
    program(programs, "id", "echo 0")
    program(programs, "uv", "echo 'uv 99.0.0'")
    program(programs, "debootstrap", 'for root; do :; done; mkdir -p "$root/usr/local/bin"')
    # Runs the command itself, without mounts and in no other root.
    program(
        programs, "unshare", 'while [ "$1" != env ]; do [ $# -gt 1 ] || exit 0; shift; done; "$@"'
    )
    log = tmp_path / "log"
    command = f"scripts/modern_root.sh sh -c 'echo begun >> {log}; sleep 1; echo ended >> {log}'"
    variables = {"GRAFT_MODERN_ROOT": str(tmp_path / "root"), "HOME": str(tmp_path)}
    answer = bash(f"{command} & {command}; wait $!", [programs], **variables)
    assert answer.returncode == 0, answer.stderr
    assert log.read_text().splitlines() == ["begun", "ended"] * 2
    assert answer.stderr.count(f"waiting for another call that uses {tmp_path}/root") == 1
