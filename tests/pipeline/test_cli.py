"""The `graft` command as a user types it: what is printed where, and the exit status."""

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from components.errors import GraftError, InputError
from pipeline.cli import main

COMMANDS = ("bases", "check", "compare", "embed", "explain", "history", "init", "predict", "run")
HEAVY = ("tensorflow", "tfx", "keras", "apache_beam", "numpy", "pydantic")


def graft(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def error(result: Result) -> dict[str, Any]:
    """Returns what --json prints on standard output for an error."""
    told: dict[str, Any] = json.loads(result.stdout)
    assert set(told) == {"error", "exit_status"}
    assert told["exit_status"] == result.exit_code
    assert result.stderr == f"Error: {told['error']}\n"
    return told


@pytest.fixture
def photos(tmp_path: Path, write_photos: Callable[..., Path]) -> Path:
    return write_photos(tmp_path / "photos", daisy=30, rose=30)


@pytest.fixture
def config(tmp_path: Path, photos: Path) -> Path:
    """A configuration that needs no base file and no network to be loaded."""
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "name: tiny\n"
        "data:\n"
        "  source: photos\n"
        "base: {name: MobileNetV2, weights: none}\n"
        "image: {size: 32}\n"
        "push: {directory: served}\n"
    )
    return path


# --- the command as a whole -----------------------------------------------------------------------


def test_help_answers_in_under_half_a_second() -> None:
    def answer() -> float:
        started = time.perf_counter()
        told = subprocess.run(
            [sys.executable, "-m", "pipeline.cli", "--help"], capture_output=True, check=True
        )
        assert b"transfer learning" in told.stdout
        return time.perf_counter() - started

    # The best of several: other processes may hold the machine's cores.
    assert min(answer() for _ in range(5)) < 0.5


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    result = graft(command, "--help")
    assert result.exit_code == 0
    assert "--json" in result.stdout
    assert command in graft("--help").stdout


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom click.testing import CliRunner\nfrom pipeline.cli import main\n"
        f"for command in {COMMANDS}:\n    CliRunner().invoke(main, [command, '--help'])\n"
        f"print([name for name in {HEAVY} if name in sys.modules])\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    assert told.stdout.strip() == "[]"


def test_the_version_is_told() -> None:
    from importlib.metadata import version

    assert graft("--version").stdout == f"graft, version {version('graft-tfx')}\n"


@pytest.mark.parametrize(
    "arguments", [("train",), ("run",), ("check", "a.yaml", "--unknown"), ("predict", "a.yaml")]
)
def test_a_wrong_command_line_ends_with_two(arguments: tuple[str, ...]) -> None:
    result = graft(*arguments)
    assert result.exit_code == 2
    assert "Error: " in result.stderr
    assert result.stdout == ""


def test_keras_2_is_never_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    graft("history", tmp_path / "none.yaml")
    assert "TF_USE_LEGACY_KERAS" not in os.environ


def test_a_reader_that_goes_away_is_no_failure(photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline.cli", "init", str(photos)]
    with subprocess.Popen(
        [*command, "--output", str(tmp_path / "new.yaml")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as told:
        assert told.stdout and told.stderr
        told.stdout.close()  # long before anything is printed
        assert told.stderr.read() == b""
    assert (tmp_path / "new.yaml").is_file()


# --- the configuration ----------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["check", "run", "explain", "history", "predict"])
def test_a_missing_configuration_ends_with_two(command: str, tmp_path: Path) -> None:
    images = [tmp_path / "a.png"] if command == "predict" else []
    result = graft(command, tmp_path / "none.yaml", *images)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert "none.yaml" in result.stderr
    assert result.stdout == ""


def test_an_unknown_key_is_told_with_the_nearest_and_the_line(config: Path) -> None:
    config.write_text(config.read_text() + "train: {epoch: 3}\n")
    result = graft("check", config)
    assert result.exit_code == 2
    assert "tiny.yaml, line 7" in result.stderr
    assert "train.epoch=3. Did you mean train.epochs?" in result.stderr


def test_set_overrides_and_its_mistakes_are_told(config: Path) -> None:
    result = graft("history", config, "--set", "train.epochs=many", "--json")
    told = error(result)
    assert result.exit_code == 2
    assert "--set train.epochs" in told["error"]
    assert "many" in told["error"]


def test_a_set_without_a_value_ends_with_two(config: Path) -> None:
    assert graft("check", config, "--set", "train.epochs").exit_code == 2


# --- init -----------------------------------------------------------------------------------------


def test_init_writes_a_configuration_that_check_takes(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = graft("init", photos, "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert set(told) == {"config"}
    checked = graft("check", told["config"], "--json")
    assert checked.exit_code == 0, checked.stderr
    assert json.loads(checked.stdout)["classes"] == {"daisy": 30, "rose": 30}


def test_init_says_where_it_wrote_and_what_comes_next(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "mine.yaml"
    result = graft("init", photos, "--output", output)
    assert (
        result.stdout == f"Wrote {output}. Next: graft check {output}, then graft run {output}.\n"
    )


def test_init_never_overwrites(photos: Path, config: Path) -> None:
    before = config.read_text()
    result = graft("init", photos, "--output", config, "--json")
    assert result.exit_code == 2
    assert "never overwritten" in error(result)["error"]
    assert config.read_text() == before


def test_init_of_a_missing_folder_ends_with_two(tmp_path: Path) -> None:
    result = graft("init", tmp_path / "gone")
    assert result.exit_code == 2
    assert "gone" in result.stderr


# --- check ----------------------------------------------------------------------------------------


def test_check_of_good_data_passes_and_counts(config: Path) -> None:
    result = graft("check", config, "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert set(told) == {
        "name",
        "source",
        "kind",
        "page",
        "passed",
        "checks",
        "reasons",
        "images",
        "classes",
        "splits",
        "groups",
        "sizes",
        "formats",
        "reencoded",
        "refused",
        "duplicates",
        "conflicts",
        "leaks",
        "label_twins",
        "warnings",
    }
    assert told["passed"] is True
    assert told["images"] == {"accepted": 60, "refused": 0, "ignored": 0, "reasons": {}}
    assert told["classes"] == {"daisy": 30, "rose": 30}
    assert set(told["splits"]) == {"train", "validation"}
    assert sum(sum(split.values()) for split in told["splits"].values()) == 60
    assert told["refused"] == told["duplicates"] == told["conflicts"] == told["leaks"] == []


def test_check_of_refused_data_ends_with_three_and_names_every_file(
    config: Path, photos: Path
) -> None:
    for number in range(5):
        (photos / "rose" / f"bad{number}.jpg").write_bytes(b"no image %d" % number)
    result = graft("check", config, "--json")
    assert result.exit_code == 3
    told = json.loads(result.stdout)
    assert told["passed"] is False
    assert told["images"] == {
        "accepted": 60,
        "refused": 5,
        "ignored": 0,
        "reasons": {"not_an_image": 5},
    }
    assert [one["path"] for one in told["refused"]] == [f"rose/bad{n}.jpg" for n in range(5)]
    assert set(told["refused"][0]) == {"path", "reason", "detail"}
    assert "5 of 65 images were refused (7.7%; at most 5.0% may be)" in told["reasons"][0]
    allowed = graft("check", config, "--set", "data.max_refused=0.1")
    assert allowed.exit_code == 0
    assert "The data gate would pass." in allowed.stdout


def test_check_finds_copies_within_a_class_and_between_classes(config: Path, photos: Path) -> None:
    first = (photos / "daisy" / "00.png").read_bytes()
    (photos / "daisy" / "copy.png").write_bytes(first)
    (photos / "daisy" / "other.png").write_bytes((photos / "rose" / "00.png").read_bytes())
    told = json.loads(graft("check", config, "--json").stdout)
    assert told["duplicates"] == [["daisy/00.png", "daisy/copy.png"]]
    assert told["conflicts"] == [["daisy/other.png", "rose/00.png"]]
    assert told["images"]["reasons"] == {"label_conflict": 2}


def test_check_prints_text_and_names_the_page_it_wrote(config: Path, photos: Path) -> None:
    (photos / "rose" / "[bold]x.jpg").write_bytes(b"no image")
    result = graft("check", config)
    assert result.exit_code == 0, result.stderr
    assert "60 accepted, 1 refused (not_an_image 1)" in result.stdout
    assert "  rose/[bold]x.jpg: " in result.stdout
    page = config.parent / "runs/tiny/reports/check/index.html"
    assert result.stdout.endswith(f"Contact sheet\n  {page}\n")
    assert "rose/<wbr>[bold]x.jpg" in page.read_text()


@pytest.mark.parametrize("asked", [True, False])
def test_verify_content_reaches_the_check(
    config: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    from pipeline import check

    given: list[bool] = []

    def refuse(_: Any, verify_content: bool) -> Any:
        given.append(verify_content)
        raise InputError("seen")

    monkeypatch.setattr(check, "check_data", refuse)
    assert graft("check", config, *(["--verify-content"] if asked else [])).exit_code == 2
    assert given == [asked]


@pytest.mark.parametrize("asked", [True, False])
def test_a_run_forgets_stamps_before_it_starts_only_if_it_is_asked_to(
    config: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    from pipeline import check, local

    called: list[str] = []
    monkeypatch.setattr(check, "forget_stamps", lambda loaded: called.append(loaded.name))

    def run(*_: Any) -> Any:
        called.append("run")
        return outcome("pushed")

    monkeypatch.setattr(local, "run", run)
    assert graft("run", config, *(["--verify-content"] if asked else [])).exit_code == 0
    assert called == [*(["tiny"] if asked else []), "run"]


# --- bad input meets a run before TFX is imported -------------------------------------------------


def empty(photos: Path) -> None:
    for path in sorted(photos.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def keep_one_class(photos: Path) -> None:
    for path in (photos / "rose").iterdir():
        path.unlink()
    (photos / "rose").rmdir()


def keep_one_image(photos: Path) -> None:
    for path in sorted((photos / "rose").iterdir())[1:]:
        path.unlink()


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (empty, "which is empty. Put one folder of images per class into it"),
        (keep_one_class, "Expected at least two class folders"),
        (keep_one_image, "with 'rose' (1)"),
    ],
)
def test_photos_that_cannot_be_trained_on_end_with_two(
    config: Path, photos: Path, command: str, spoil: Callable[[Path], None], words: str
) -> None:
    spoil(photos)
    result = graft(command, config, "--json")
    assert result.exit_code == 2
    assert words in error(result)["error"]


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_source_that_is_not_there_ends_with_two(config: Path, command: str) -> None:
    result = graft(command, config, "--set", "data.source=gone")
    assert result.exit_code == 2
    assert "data.source" in result.stderr and "gone" in result.stderr


@pytest.mark.parametrize("key", ["push.directory", "runtime.root"])
def test_an_output_that_cannot_be_written_ends_with_two_and_names_the_key(
    config: Path, tmp_path: Path, key: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    result = graft("run", config, "--set", f"{key}={tmp_path / 'file' / 'below'}", "--json")
    assert result.exit_code == 2
    assert f"Received: {key}={tmp_path / 'file'}" in error(result)["error"]
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_full_disk_is_told_before_the_run(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil
    from types import SimpleNamespace

    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    result = graft("run", config, "--json")
    assert result.exit_code == 2
    assert "free space for a run. Received: runtime.root=" in error(result)["error"]


# --- run: what its outcome does to the exit status ------------------------------------------------


def outcome(name: str) -> dict[str, Any]:
    return {
        "run_id": "run-1",
        "outcome": name,
        "refused_by": "model" if name == "refused" else None,
        "reason": "Because.",
        "model_version": "7",
        "metrics": {"accuracy": 0.5, "example_count": 10.0},
        "accuracy_by_label": {"daisy": 0.5},
        "images": {"accepted": 60, "refused": 0, "ignored": 0, "reasons": {}},
        "classes": {"daisy": 30, "rose": 30},
        "served": None,
        "quarantine": None,
        "report": None,
        "log": "run.log",
        "seconds": 1.0,
    }


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Makes a run end as it is told, without TFX."""
    from pipeline import local

    def set_end(end: Any) -> None:
        def run(*_: Any) -> Any:
            if isinstance(end, BaseException):
                raise end
            return end

        monkeypatch.setattr(local, "run", run)

    return set_end


@pytest.mark.parametrize(("name", "status"), [("pushed", 0), ("unchanged", 0), ("refused", 3)])
def test_the_outcome_of_a_run_is_its_exit_status(
    config: Path, ends: Callable[[Any], None], name: str, status: int
) -> None:
    ends(outcome(name))
    result = graft("run", config, "--json")
    assert result.exit_code == status
    assert json.loads(result.stdout) == outcome(name)
    assert graft("run", config).exit_code == status


@pytest.mark.parametrize(("raised", "status"), [(GraftError("failed"), 1), (InputError("no"), 2)])
def test_an_error_of_ours_is_one_message_without_a_traceback(
    config: Path, ends: Callable[[Any], None], raised: GraftError, status: int
) -> None:
    ends(raised)
    result = graft("run", config)
    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr == f"Error: {raised}\n"


def test_an_interrupted_run_says_that_it_goes_on_later(
    config: Path, ends: Callable[[Any], None]
) -> None:
    ends(KeyboardInterrupt())
    result = graft("run", config)
    assert result.exit_code == 130
    assert (result.stdout, result.stderr) == (
        "",
        "Stopped. The next run goes on where this one stopped.\n",
    )
    assert json.loads(graft("run", config, "--json").stdout) == {
        "error": "stopped; the next run goes on where this one stopped",
        "exit_status": 130,
    }


# --- looking back ---------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["history", "explain"])
def test_before_any_run_there_is_nothing_to_look_back_on(config: Path, command: str) -> None:
    result = graft(command, config, "--json")
    assert result.exit_code == 2
    assert "Call graft run." in error(result)["error"]


def test_before_any_run_there_is_no_model_to_ask(config: Path, photos: Path) -> None:
    result = graft("predict", config, photos, "--json")
    assert result.exit_code == 2
    assert "Expected a served model." in error(result)["error"]


def test_looking_back_does_not_need_the_photos(config: Path, photos: Path, metadata: Any) -> None:
    metadata.record("run-1", "Trainer")
    photos.rename(photos.with_name("archived"))
    assert graft("history", config).exit_code == 0
    assert graft("explain", config).exit_code == 0


def test_history_lists_runs(config: Path, metadata: Any) -> None:
    metadata.record("run-1", "Trainer")
    told = json.loads(graft("history", config, "--json").stdout)
    assert set(told) == {"runs", "rollbacks", "served"}
    assert [(run["run_id"], run["outcome"]) for run in told["runs"]] == [("run-1", "interrupted")]
    assert "run-1" in graft("history", config).stdout


def test_explain_tells_of_the_last_run_or_of_the_one_that_is_asked_for(
    config: Path, metadata: Any
) -> None:
    metadata.record("run-1", "Trainer")
    metadata.record("run-2", "Trainer", "CACHED")
    last = json.loads(graft("explain", config, "--json").stdout)
    assert (last["run_id"], [one["state"] for one in last["stages"]]) == ("run-2", ["cached"])
    assert set(last["stages"][0]) == {"stage", "state", "reasons", "seconds"}
    first = json.loads(graft("explain", config, "--run", "run-1", "--json").stdout)
    assert first["stages"][0]["reasons"] == ["first run"]
    unknown = graft("explain", config, "--run", "run-3", "--json")
    assert unknown.exit_code == 2
    assert "The newest are: run-1, run-2." in error(unknown)["error"]


# --- predict --------------------------------------------------------------------------------------


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets every file be a daisy, but for those that are called bad."""
    from pipeline import predict

    def answer(directory: Path, files: list[Path], client: Any, signing_key: Any) -> Any:
        for file in files:
            bad = file.stem == "bad"
            yield {
                "path": str(file),
                "label": None if bad else "daisy",
                "score": None if bad else 0.75,
                "labels": None if bad else ["daisy", "rose"],
                "scores": None if bad else [0.75, 0.25],
                "error": "not an image" if bad else None,
            }

    monkeypatch.setattr(predict, "predict", answer)


def test_predict_prints_a_row_a_file(config: Path, tmp_path: Path, answered: None) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    for name in ("a.png", "bad.png"):
        (folder / name).touch()
    result = graft("predict", config, folder, "--json")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert (set(told), told["output"]) == ({"predictions", "output"}, None)
    assert [row["label"] for row in told["predictions"]] == ["daisy", None]
    assert "daisy" in graft("predict", config, folder).stdout


def test_predict_writes_a_table(config: Path, tmp_path: Path, answered: None) -> None:
    image, output = tmp_path / "a.png", tmp_path / "out.csv"
    image.touch()
    result = graft("predict", config, image, "--output", output)
    assert result.stdout == f"Wrote 1 rows (0 without a label) to {output}.\n"
    with open(output, newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"path": str(image), "label": "daisy", "score": "0.75", "error": ""}
        ]


def test_predict_refuses_an_output_that_it_cannot_write_before_it_asks_the_model(
    config: Path, tmp_path: Path
) -> None:
    image = tmp_path / "a.png"
    image.touch()
    result = graft("predict", config, image, "--output", tmp_path / "out.xlsx", "--json")
    assert result.exit_code == 2
    assert ".csv or .jsonl" in error(result)["error"]


def test_predict_of_a_file_that_is_not_there_ends_with_two(config: Path, tmp_path: Path) -> None:
    result = graft("predict", config, tmp_path / "gone.png", "--json")
    assert result.exit_code == 2
    assert "gone.png, which does not exist" in error(result)["error"]
