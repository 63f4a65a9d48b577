"""The served model's features of photos, written in three formats, with bad files among them."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from components.errors import InputError
from pipeline import embed as embedding
from pipeline.embed import check_output, embed

WIDTH = 300
SUFFIXES = (".npy", ".csv", ".parquet")
STARTS = "The content starts with b'this is '."  # what is said of the bad file


def save_model(folder: Path, scale: float = 1 / 7, signature: str = "embed") -> None:
    """Saves a model whose features are the mean red, green and blue, scaled, a hundred times."""
    import tensorflow as tf

    from components.transform.tolerant import map_images

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = tf.Variable(scale)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        def embed(self, image_bytes: Any) -> dict[str, Any]:
            def mean(content: Any) -> Any:
                image = tf.io.decode_image(content, channels=3, expand_animations=False)
                return tf.reduce_mean(tf.cast(image, tf.float32), axis=[0, 1])

            means, decoded = map_images(image_bytes, mean, (3,), 1)
            embedding = tf.tile(means * self.scale, [1, WIDTH // 3])
            return {"embedding": embedding, "decoded": decoded}

    model = Model()
    tf.saved_model.save(model, str(folder), signatures={signature: model.embed})


@pytest.fixture(scope="module")
def served_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("served")
    save_model(folder / "3", scale=0.0)
    save_model(folder / "20")
    return folder


@pytest.fixture
def photos(tmp_path: Path, encode: Callable[..., bytes]) -> list[Path]:
    """Three batches of photos, no two of one colour, of which two cannot be read."""
    folder = tmp_path / "photos"
    folder.mkdir()
    files = [folder / f"{number:02d}.png" for number in range(70)]
    for number, file in enumerate(files):
        file.write_bytes(encode(np.full((2, 3, 3), (3 * number, number, 255 - number))))
    files[5].write_bytes(b"this is no image")
    files[69].write_bytes(b"")
    return files


def expected(files: list[Path]) -> np.ndarray:
    """Returns float32 [images, width]: what the signature itself gives, one file at a time."""
    rows = [
        np.tile(np.float32([3 * number, number, 255 - number]) * np.float32(1 / 7), WIDTH // 3)
        for number in (int(file.stem) for file in files)
    ]
    return np.stack(rows)


def read(output: Path) -> tuple[list[str], np.ndarray]:
    """Returns paths and vectors as the documentation says how to load them."""
    if output.suffix == ".npy":
        return json.loads(output.with_suffix(".paths.json").read_text()), np.load(output)
    if output.suffix == ".parquet":
        from pyarrow import parquet

        table = parquet.read_table(output)
        kind = table.schema.field("embedding").type
        assert (str(kind.value_type), kind.list_size) == ("float", WIDTH)
        return table["path"].to_pylist(), np.float32(table["embedding"].to_pylist())
    with open(output, encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["path", *(f"f{feature}" for feature in range(WIDTH))]
    return [row[0] for row in rows], np.float32(
        [[float(value) for value in row[1:]] for row in rows]
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_vectors_are_those_of_the_newest_version_beside_their_paths_in_order(
    served_folder: Path, photos: list[Path], tmp_path: Path, suffix: str
) -> None:
    files, output = photos[::-1], tmp_path / f"out{suffix}"
    result = embed(served_folder, files, output)
    good = [file for file in files if file not in (photos[5], photos[69])]
    paths, vectors = read(output)
    assert paths == [str(file) for file in good]
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, expected(good))
    beside = tmp_path / "out.paths.json" if suffix == ".npy" else None
    assert result == {
        "images": 68,
        "width": WIDTH,
        "output": str(output),
        "paths": str(beside) if beside else None,
        "refused": [
            {"path": str(photos[69]), "error": "empty: 0 bytes."},
            {"path": str(photos[5]), "error": f"not_an_image: {STARTS}"},
        ],
    }
    assert set(tmp_path.iterdir()) == {photos[0].parent, output} | ({beside} - {None})


def test_vectors_equal_those_of_the_signature_called_directly(
    served_folder: Path, photos: list[Path], tmp_path: Path
) -> None:
    import tensorflow as tf

    model = tf.saved_model.load(str(served_folder / "20"))
    contents = tf.constant([file.read_bytes() for file in photos[:5]])
    direct = model.signatures["embed"](image_bytes=contents)["embedding"].numpy()
    embed(served_folder, photos[:5], tmp_path / "out.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), direct)


def test_a_parquet_file_of_several_row_groups_is_one_table(
    served_folder: Path, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyarrow import parquet

    monkeypatch.setattr(embedding, "GROUP_BYTES", 20 * 4 * WIDTH)
    embed(served_folder, photos, tmp_path / "out.parquet")
    assert parquet.ParquetFile(tmp_path / "out.parquet").num_row_groups == 4
    paths, vectors = read(tmp_path / "out.parquet")
    assert paths == [str(file) for file in photos if file not in (photos[5], photos[69])]
    np.testing.assert_array_equal(vectors, expected([Path(path) for path in paths]))


def test_every_float32_read_back_from_csv_is_the_same(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, (3000,), np.uint64).astype(np.uint32)
    edges = np.float32([0.1, 1 / 3, 3.4028235e38, 1e-45, -0.0])
    vector = np.concatenate([edges, bits.view(np.float32)])
    vector = vector[np.isfinite(vector)]
    embedding.WRITERS[".csv"]([("a, b.png", vector)], tmp_path / "out.csv")
    with open(tmp_path / "out.csv", newline="") as file:
        _, (path, *values) = csv.reader(file)
    assert path == "a, b.png"
    back = np.float32([float(value) for value in values])
    np.testing.assert_array_equal(back.view(np.uint32), vector.view(np.uint32))


def test_a_name_that_is_no_text_is_told_by_its_bytes(
    served_folder: Path, photos: list[Path], tmp_path: Path
) -> None:
    odd = Path(str(tmp_path), b"\xff.png".decode(errors="surrogateescape"))
    photos[0].rename(odd)
    for suffix in SUFFIXES:
        embed(served_folder, [odd], tmp_path / f"out{suffix}")
        assert read(tmp_path / f"out{suffix}")[0] == [f"{tmp_path}/\\xff.png"]


def test_earlier_files_are_replaced_by_fewer_vectors(
    served_folder: Path, photos: list[Path], tmp_path: Path
) -> None:
    output = tmp_path / "out.npy"
    embed(served_folder, photos, output)
    embed(served_folder, photos[1:3], output)
    paths, vectors = read(output)
    assert paths == [str(file) for file in photos[1:3]]
    np.testing.assert_array_equal(vectors, expected(photos[1:3]))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_without_a_photo_that_can_be_read_the_earlier_file_stays(
    served_folder: Path, photos: list[Path], tmp_path: Path, suffix: str
) -> None:
    output = tmp_path / f"out{suffix}"
    output.write_text("earlier")
    with pytest.raises(
        InputError, match=r"Received: 2 without one; the first is .*05\.png \(not_an_image: "
    ):
        embed(served_folder, [photos[5], photos[69]], output)
    assert output.read_text() == "earlier"
    assert set(tmp_path.iterdir()) == {photos[0].parent, output}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_disk_that_fills_up_leaves_the_earlier_file(
    served_folder: Path, photos: list[Path], tmp_path: Path, file_limit: Any, suffix: str
) -> None:
    output = tmp_path / f"out{suffix}"
    output.write_text("earlier")
    with pytest.raises(InputError, match=rf"out\{suffix} \(.*File too large"), file_limit(4_096):
        embed(served_folder, photos, output)
    assert output.read_text() == "earlier"
    assert set(tmp_path.iterdir()) == {photos[0].parent, output}


def test_vectors_are_never_left_beside_the_paths_of_others(
    served_folder: Path, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, replaced = tmp_path / "out.npy", embedding.os.replace
    embed(served_folder, photos[:2], output)

    def stop_at_vectors(aside: Path, place: Path) -> None:
        if place == output:
            raise KeyboardInterrupt
        replaced(aside, place)

    monkeypatch.setattr(embedding.os, "replace", stop_at_vectors)
    with pytest.raises(KeyboardInterrupt):
        embed(served_folder, photos[2:4], output)
    assert not output.exists()


def test_without_a_served_model_it_is_told_what_to_call(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"served without a version\. Call graft run first"):
        embed(tmp_path / "served", [], tmp_path / "out.npy")


def test_a_model_without_the_signature_is_told_with_those_it_has(
    tmp_path: Path, photos: list[Path]
) -> None:
    pytest.importorskip("tensorflow")
    save_model(tmp_path / "served" / "7", signature="serving_default")
    with pytest.raises(
        InputError,
        match=r"the signature embed\. Received: .*served/7, which has serving_default\. Call graft",
    ):
        embed(tmp_path / "served", photos, tmp_path / "out.npy")


@pytest.mark.parametrize(
    ("key", "shape", "told"),
    [
        ("features", [2, 2], "7, without the outputs embedding"),
        ("embedding", [2, 2], r"7, whose embedding of one image has the shape \(2, 2\)"),
    ],
)
def test_a_foreign_signature_is_told_with_what_it_gives(
    tmp_path: Path, photos: list[Path], key: str, shape: list[int], told: str
) -> None:
    tf = pytest.importorskip("tensorflow")
    module = tf.Module()
    function = tf.function(
        lambda image_bytes: {
            key: tf.zeros([tf.size(image_bytes), *shape]),
            "decoded": tf.ones([tf.size(image_bytes)], tf.bool),
        },
        input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")],
    )
    signatures = {"embed": function.get_concrete_function()}
    tf.saved_model.save(module, str(tmp_path / "served" / "7"), signatures=signatures)
    with pytest.raises(InputError, match=told):
        embed(tmp_path / "served", photos[:1], tmp_path / "out.npy")


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"to end in \.npy, \.csv or \.parquet\. Received: .*xlsx"):
        check_output(tmp_path / "out.xlsx")


def test_an_output_in_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="in a folder that exists"):
        check_output(tmp_path / "gone" / "out.csv")


@pytest.mark.parametrize("name", ["out.npy", "out.paths.json"])
def test_a_folder_in_the_place_of_a_file_to_write_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=rf"{name} \(Is a directory\)"):
        check_output(tmp_path / "out.npy")


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def graft(tmp_path: Path, write_photos: Callable[..., Path]) -> Callable[..., Any]:
    """Calls `graft embed` with a configuration that serves from `served` beside it."""
    from pipeline.cli import main

    write_photos(tmp_path / "trained", daisy=1, rose=1)
    config = tmp_path / "tiny.yaml"
    config.write_text(
        "name: tiny\n"
        "data: {source: trained}\n"
        "base: {name: MobileNetV2, weights: none}\n"
        "image: {size: 32}\n"
        "push: {directory: served}\n"
    )

    def call(*arguments: Any) -> Any:
        return CliRunner().invoke(main, ["embed", str(config), *map(str, arguments)])

    return call


def test_the_command_tells_what_it_wrote_and_what_it_could_not_read(
    served_folder: Path, photos: list[Path], tmp_path: Path, graft: Callable[..., Any]
) -> None:
    (tmp_path / "served").symlink_to(served_folder)
    output = tmp_path / "out.npy"
    result = graft(photos[0].parent, "--output", output)
    assert result.exit_code == 0
    first, *rest = result.stdout.splitlines()
    assert first == (
        f"Wrote 68 vectors of 300 to {output}, their paths to {tmp_path / 'out.paths.json'}."
    )
    assert [word in "".join(rest) for word in ("05.png", "not_an_image", "69.png", "empty")] == [
        True
    ] * 4
    told = json.loads(graft(photos[0].parent, "--output", output, "--json").stdout)
    assert (told["images"], told["width"], told["output"]) == (68, 300, str(output))
    assert [one["path"] for one in told["refused"]] == [str(photos[5]), str(photos[69])]


def test_the_command_wants_an_output_that_it_can_write_and_photos_before_it_asks_the_model(
    photos: list[Path], tmp_path: Path, graft: Callable[..., Any]
) -> None:
    assert "Missing option '--output'" in graft(photos[0]).stderr
    for arguments, told in (
        ((photos[0], "--output", tmp_path / "out.xlsx"), ".npy, .csv or .parquet"),
        ((tmp_path / "gone.png", "--output", tmp_path / "out.csv"), "gone.png, which does not"),
        ((photos[0], "--output", tmp_path / "out.csv"), "without a version. Call graft run"),
    ):
        result = graft(*arguments, "--json")
        assert result.exit_code == 2
        assert told in json.loads(result.stdout)["error"]
