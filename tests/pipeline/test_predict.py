"""The served model asked about files, good ones and bad ones together."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.errors import InputError
from pipeline.predict import check_output, predict, write_rows


def save_model(folder: Path, labels: tuple[str, str] = ("blue", "red")) -> None:
    """Saves a model with the signature of ours that tells blue images from red ones."""
    import tensorflow as tf

    from components.transform.tolerant import map_images

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.labels = tf.Variable(list(labels))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        def classify(self, image_bytes: Any) -> dict[str, Any]:
            def share_of_red(content: Any) -> Any:
                image = tf.io.decode_image(content, channels=3, expand_animations=False)
                sums = tf.reduce_sum(tf.cast(image, tf.float32), axis=[0, 1])
                return sums[0] / (sums[0] + sums[2])

            red, decoded = map_images(image_bytes, share_of_red, (), 1)
            probabilities = tf.stack([1 - red, red], axis=1)
            best = tf.argmax(probabilities, axis=1)
            return {
                "label": tf.gather(self.labels, best),
                "score": tf.reduce_max(probabilities, axis=1),
                "labels": tf.gather(self.labels, tf.argsort(-probabilities)),
                "scores": -tf.sort(-probabilities),
                "decoded": decoded,
            }

    model = Model()
    tf.saved_model.save(model, str(folder), signatures={"serving_default": model.classify})


@pytest.fixture(scope="module")
def served_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("served")
    save_model(folder / "3", ("wrong", "wrong"))
    save_model(folder / "20")
    return folder


@pytest.fixture
def write(tmp_path: Path, encode: Callable[..., bytes]) -> Callable[..., Path]:
    """Writes an image of one colour, or other content, and returns its path."""

    def write_file(name: str, content: tuple[int, int, int] | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, tuple):
            content = encode(np.full((4, 5, 3), content))
        path.write_bytes(content)
        return path

    return write_file


def test_files_get_the_label_of_the_newest_version_in_their_order(
    served_folder: Path, write: Callable[..., Path]
) -> None:
    files = [write("b.png", (200, 0, 50)), write("a.png", (0, 0, 90))]
    assert list(predict(served_folder, files)) == [
        {
            "path": str(files[0]),
            "label": "red",
            "score": 0.8,
            "labels": ["red", "blue"],
            "scores": [0.8, 0.2],
            "error": None,
        },
        {
            "path": str(files[1]),
            "label": "blue",
            "score": 1.0,
            "labels": ["blue", "red"],
            "scores": [1.0, 0.0],
            "error": None,
        },
    ]


def test_a_bad_file_gets_its_row_with_the_reason_and_its_neighbours_their_labels(
    served_folder: Path, write: Callable[..., Path], encode: Callable[..., bytes]
) -> None:
    whole = encode(np.random.default_rng(0).integers(0, 256, (40, 40, 3)), "JPEG")
    files = [
        write("1.png", (9, 0, 0)),
        write("2.png", b"this is no image"),
        write("3.png", b""),
        write("4.png", (0, 0, 9)),
        write("5.jpg", whole[: len(whole) // 2]),
        write("6.png", (9, 0, 0)),
    ]
    files.insert(3, files[0].with_name("gone.png"))
    rows = list(predict(served_folder, files))
    assert [row["path"] for row in rows] == [str(file) for file in files]
    assert [row["label"] for row in rows] == ["red", None, None, None, "blue", None, "red"]
    assert [row["score"] is None for row in rows] == [row["label"] is None for row in rows]
    reasons = [row["error"] and row["error"].split(":")[0] for row in rows]
    assert reasons[1:3] == ["not_an_image", "empty"]
    assert reasons[5] == "truncated"
    assert "defined at" not in "".join(row["error"] or "" for row in rows)
    assert rows[3]["error"] == "cannot be read: No such file or directory"
    assert "\n" not in "".join(row["error"] or "" for row in rows)


@pytest.mark.parametrize("kind", ["WEBP", "TIFF"])
def test_a_file_that_ingestion_would_re_encode_is_re_encoded_and_classified(
    served_folder: Path, write: Callable[..., Path], encode: Callable[..., bytes], kind: str
) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    red = encode(np.full((4, 5, 3), (200, 0, 50)), kind, **options)
    files = [write("a.png", (0, 0, 9)), write("b", red), write("c", red[: len(red) // 2])]
    rows = list(predict(served_folder, files))
    assert [row["label"] for row in rows] == ["blue", "red", None]
    assert rows[1]["score"] == 0.8
    assert str(rows[2]["error"]).startswith(f"truncated: The {kind} ends after ")


def test_a_format_that_is_not_taken_is_told_in_the_words_of_ingestion(
    served_folder: Path, write: Callable[..., Path], encode: Callable[..., bytes]
) -> None:
    files = [write("a.ppm", encode(np.zeros((4, 5, 3)), "PPM")), write("b.png", (9, 0, 0))]
    rows = list(predict(served_folder, files))
    assert rows[0]["error"] == "unsupported: The content is PPM; convert it to JPEG or PNG."
    assert rows[1]["label"] == "red"


def test_more_files_than_a_batch_all_come_back(
    served_folder: Path, write: Callable[..., Path]
) -> None:
    colours = [(9, 0, 0) if number % 3 else (0, 0, 9) for number in range(70)]
    files = [write(f"{number}.png", colour) for number, colour in enumerate(colours)]
    files[40].write_bytes(b"bad")
    labels = [row["label"] for row in predict(served_folder, files)]
    expected: list[str | None] = ["red" if colour[0] else "blue" for colour in colours]
    expected[40] = None
    assert labels == expected


def test_a_pipe_is_not_waited_for(served_folder: Path, write: Callable[..., Path]) -> None:
    pipe = write("good.png", (9, 0, 0)).with_name("pipe")
    os.mkfifo(pipe)
    (row,) = predict(served_folder, [pipe])
    assert row["error"] == "cannot be read: Not a regular file"


def test_a_name_that_is_no_text_is_told_by_its_bytes(
    served_folder: Path, write: Callable[..., Path], tmp_path: Path
) -> None:
    file = write("good.png", (9, 0, 0))
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    file.rename(odd)
    (row,) = predict(served_folder, [odd])
    assert (row["path"], row["label"]) == (f"{tmp_path}/\\xff.png", "red")
    write_rows([row], tmp_path / "out.csv")
    assert "\\xff.png,red" in (tmp_path / "out.csv").read_text()


def test_without_a_served_model_it_is_told_what_to_call(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"served without a version\. Call graft run first"):
        list(predict(tmp_path / "served", []))


def test_a_version_that_cannot_be_loaded_is_told(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    pytest.importorskip("tensorflow")
    write("served/7/saved_model.pb", b"damaged")
    with pytest.raises(
        InputError, match=r"a model that Graft pushed\. Received: .*served/7, which"
    ):
        list(predict(tmp_path / "served", [write("a.png", (9, 0, 0))]))


def test_a_foreign_model_is_told_with_what_it_lacks(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    module = tf.Module()
    function = tf.function(
        lambda image_bytes: {"label": image_bytes},
        input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")],
    )
    tf.saved_model.save(
        module,
        str(tmp_path / "served" / "7"),
        signatures={"serving_default": function.get_concrete_function()},
    )
    with pytest.raises(
        InputError, match="served/7, without the outputs decoded, labels, score, scores"
    ):
        list(predict(tmp_path / "served", []))


ROWS = [
    {
        "path": "a, b.png",
        "label": 'grün "x"',
        "score": 0.75,
        "labels": ["grün", "rot"],
        "scores": [0.75, 0.25],
        "error": None,
    },
    {"path": "c.png", "label": None, "score": None, "labels": None, "scores": None, "error": "bad"},
]


def test_rows_become_csv(tmp_path: Path) -> None:
    write_rows(iter(ROWS), tmp_path / "out.csv")
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["path", "label", "score", "error"],
            ["a, b.png", 'grün "x"', "0.75", ""],
            ["c.png", "", "", "bad"],
        ]


def test_rows_become_json_lines(tmp_path: Path) -> None:
    write_rows(iter(ROWS), tmp_path / "out.jsonl")
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == ROWS


def test_another_suffix_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"to end in \.csv or \.jsonl"):
        write_rows(ROWS, tmp_path / "out.xlsx")
    assert list(tmp_path.iterdir()) == []


def test_an_output_in_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="in a folder that exists"):
        check_output(tmp_path / "gone" / "out.csv")


def test_a_folder_in_the_place_of_the_output_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(InputError, match=r"Received: .*out\.csv \(Is a directory\)"):
        check_output(tmp_path / "out.csv")


def test_an_output_in_a_folder_that_may_not_be_written_is_refused(locked: Path) -> None:
    locked.chmod(0o500)
    with pytest.raises(InputError, match=r"Received: .*out\.csv \(Permission denied\)"):
        check_output(locked / "out.csv")


def test_a_full_disk_is_told_before_the_model_is_asked(tmp_path: Path, file_limit: Any) -> None:
    with pytest.raises(InputError, match=r"out\.csv \(File too large\)"), file_limit(1_000):
        check_output(tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl"])
def test_a_disk_that_fills_up_in_the_end_leaves_the_earlier_file(
    tmp_path: Path, file_limit: Any, name: str
) -> None:
    (tmp_path / name).write_text("earlier")
    with pytest.raises(InputError, match=rf"{name} \(File too large\)"), file_limit(5_000):
        write_rows(ROWS * 500, tmp_path / name)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["earlier"]
