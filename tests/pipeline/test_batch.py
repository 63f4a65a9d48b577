"""Batch prediction on Beam over a small served model: order, refusals, formats, going on."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

tf = pytest.importorskip("tensorflow")
pytest.importorskip("apache_beam")

from components.errors import GraftError, InputError  # noqa: E402
from pipeline import batch  # noqa: E402
from pipeline import config as configuration  # noqa: E402

from .test_predict import save_model  # noqa: E402

pytestmark = pytest.mark.e2e
RED, BLUE = (220, 0, 30), (30, 0, 220)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, encode: Callable[..., bytes]) -> Path:
    """A served model, and photos of which every fifth is none."""
    folder = tmp_path_factory.mktemp("batch")
    save_model(folder / "served" / "7")
    (folder / "photos" / "more").mkdir(parents=True)
    for number in range(25):
        place = folder / "photos" / ("more" if number > 19 else "") / f"{number:02d}.png"
        colour = RED if number % 2 else BLUE
        pixels = np.full((4, 4, 3), colour, np.uint8)
        place.write_bytes(b"no image" if number % 5 == 0 else encode(pixels))
    (folder / "tiny.yaml").write_text(
        "name: tiny\ndata: {source: photos}\nbase: {name: MobileNetV2, weights: null}\n"
        "push: {directory: served}\n"
    )
    return folder


@pytest.fixture
def config(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(batch, "CHUNK", 4)
    return configuration.load(folder / "tiny.yaml", (), check_inputs=False)


def check_rows(rows: list[dict[str, Any]]) -> None:
    """Every photo has its row, in order, and every fifth its reason."""
    assert [Path(row["path"]).stem for row in rows] == [f"{number:02d}" for number in range(25)]
    for number, row in enumerate(rows):
        if number % 5 == 0:
            assert not row["label"] and row["error"].startswith("not_an_image")
        else:
            assert row["label"] == ("red" if number % 2 else "blue") and not row["error"]


def read(output: Path) -> list[dict[str, Any]]:
    if output.suffix == ".csv":
        with open(output, newline="") as file:
            return list(csv.DictReader(file))
    if output.suffix == ".parquet":
        import pyarrow.parquet as pq

        return pq.read_table(output).to_pylist()
    return [json.loads(line) for line in output.read_text().splitlines()]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_every_photo_has_its_row_in_order(
    config: Any, folder: Path, tmp_path: Path, suffix: str
) -> None:
    output = tmp_path / f"out{suffix}"
    told = batch.predict_all(config, str(folder / "photos"), output)
    assert told == {"rows": 25, "refused": 5, "resumed": 0, "output": str(output)}
    check_rows(read(output))
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


def test_a_second_call_with_the_same_output_is_told_who_holds_it(
    config: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, inside = tmp_path / "out.csv", []
    join = batch._join

    def meanwhile(*arguments: Any) -> Any:
        with pytest.raises(GraftError) as caught:
            batch.predict_all(config, str(folder / "photos"), output)
        inside.append(str(caught.value))
        return join(*arguments)

    monkeypatch.setattr(batch, "_join", meanwhile)
    told = batch.predict_all(config, str(folder / "photos"), output)
    assert (told["rows"], told["refused"]) == (25, 5)
    assert inside[0].startswith("Expected no other graft batch with this output. Received: ")
    assert f"is held by process {os.getpid()} since " in inside[0]
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


def test_where_no_photo_could_be_read_the_rows_tell_why_and_the_status_is_3(
    folder: Path, tmp_path: Path
) -> None:
    from pipeline.cli import main

    source, output = tmp_path / "in", tmp_path / "out.jsonl"
    source.mkdir()
    (source / "a.png").write_bytes(b"no image")
    call = ["batch", str(folder / "tiny.yaml"), str(source), "--output", str(output)]
    done = CliRunner().invoke(main, call)
    assert done.exit_code == 3, done.output
    assert read(output)[0]["error"].startswith("not_an_image")


def test_a_table_gives_the_order(config: Any, folder: Path, tmp_path: Path) -> None:
    names = ["photos/03.png", "photos/02.png", "photos/missing.png", "photos/02.png"]
    table = folder / "list.csv"
    table.write_text("id,path\n" + "".join(f"{row},{name}\n" for row, name in enumerate(names)))
    batch.predict_all(config, str(table), tmp_path / "out.jsonl")
    rows = read(tmp_path / "out.jsonl")
    assert [row["label"] for row in rows] == ["red", "blue", None, "blue"]
    assert [Path(row["path"]).name for row in rows] == [Path(name).name for name in names]
    assert rows[2]["error"] == "cannot be read: No such file or directory"


def test_records_are_named_by_file_and_number(config: Any, folder: Path, tmp_path: Path) -> None:
    photos = sorted((folder / "photos").glob("0*.png"))
    for shard in range(2):
        with tf.io.TFRecordWriter(str(tmp_path / f"{shard}.tfrecord")) as writer:
            for photo in photos[shard::2]:
                example = tf.train.Example()
                values = example.features.feature["image/encoded"].bytes_list.value
                values.append(photo.read_bytes())
                writer.write(example.SerializeToString())
            writer.write(b"\xff\xff no example")
    batch.predict_all(config, str(tmp_path / "*.tfrecord"), tmp_path / "out.jsonl")
    rows = read(tmp_path / "out.jsonl")
    assert [Path(row["path"]).name for row in rows] == [
        f"{shard}.tfrecord#{row:05d}" for shard in range(2) for row in range(6)
    ]
    labels = [row["label"] for row in rows]
    assert labels == [None, *["blue"] * 4, None, "red", "red", None, "red", "red", None]
    assert rows[5]["error"] == "corrupt: It is no tf.train.Example."


def test_a_killed_run_goes_on_and_other_inputs_begin_anew(
    config: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("the earlier one")
    asked: list[int] = []
    genuine = batch.asking.ask_contents

    def stops(function: Any, outputs: Any, items: Any) -> Any:
        asked.append(1)
        if len(asked) == 4:
            raise RuntimeError("killed")
        return genuine(function, outputs, items)

    monkeypatch.setattr(batch.asking, "ask_contents", stops)
    with pytest.raises(RuntimeError, match="killed"):
        batch.predict_all(config, str(folder / "photos"), output)
    assert output.read_text() == "the earlier one"
    monkeypatch.setattr(batch.asking, "ask_contents", genuine)
    told = batch.predict_all(config, str(folder / "photos"), output)
    assert told["resumed"] == 3
    check_rows(read(output))
    asked.clear()
    monkeypatch.setattr(batch.asking, "ask_contents", stops)
    with pytest.raises(RuntimeError, match="killed"):
        batch.predict_all(config, str(folder / "photos"), output)
    monkeypatch.setattr(batch.asking, "ask_contents", genuine)
    other = batch.predict_all(config, str(folder / "photos/more"), output)
    assert (other["resumed"], other["rows"]) == (0, 5)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("nowhere", "Expected a folder, an image, a CSV file or TFRecord files.*nowhere, which"),
        ("*.tfrecord", "which matches no file"),
        ("empty", "Expected at least one image"),
        ("wrong.csv", "a column path. Received: .*with the columns file, id"),
    ],
)
def test_a_source_that_cannot_be_used_is_told(
    config: Any, tmp_path: Path, source: str, told: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "wrong.csv").write_text("file,id\na.png,1\n")
    with pytest.raises(InputError, match=told):
        batch.predict_all(config, str(tmp_path / source), tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(("source", "output"), [("l.csv", "l.csv"), ("in", "in/deep/o.csv")])
def test_an_output_in_the_source_is_refused_and_the_source_stays(
    config: Any, tmp_path: Path, source: str, output: str
) -> None:
    (tmp_path / "in/deep").mkdir(parents=True)
    (tmp_path / "l.csv").write_text("path\na.png\n")
    with pytest.raises(InputError, match="Expected --output outside of the source"):
        batch.predict_all(config, str(tmp_path / source), tmp_path / output)
    assert (tmp_path / "l.csv").read_text() == "path\na.png\n"


def test_the_command_tells_what_it_wrote(folder: Path, tmp_path: Path) -> None:
    from pipeline.cli import main

    arguments = ["batch", folder / "tiny.yaml", folder / "photos", "--output", tmp_path / "o.csv"]
    result = CliRunner().invoke(main, [str(one) for one in arguments])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"Wrote 25 rows (5 without a label) to {tmp_path / 'o.csv'}.\n"
    wrong = CliRunner().invoke(main, [str(one) for one in [*arguments[:-1], tmp_path / "o.xlsx"]])
    assert wrong.exit_code == 2
    assert "to end in .csv, .jsonl or .parquet" in wrong.stderr
