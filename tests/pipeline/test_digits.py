"""The embedded default's data: which digits, which pixels, whole or not at all."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn, which the extra `demo` brings")

from pipeline import digits


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trains for one epoch on the first images only."""
    pytest.importorskip("keras")
    images, labels = digits.load_digits()
    monkeypatch.setattr(digits, "load_digits", lambda: (images[:60], labels[:60]))
    monkeypatch.setattr(digits, "EPOCHS", 1)


def test_all_digits_are_there_black_on_white_and_enlarged() -> None:
    images, labels = digits.load_digits()
    assert (images.shape, images.dtype) == ((1797, 32, 32), np.uint8)
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert images[:, 0, 0].min() > 128  # corners are paper
    assert (images.min(), images.max()) == (0, 255)


def test_photos_are_of_the_digits_that_the_base_never_sees(tmp_path: Path) -> None:
    from PIL import Image

    images, labels = digits.load_digits()
    digits.write_photos(tmp_path, images[:30], labels[:30])
    found = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.png"))
    assert {path.parts[0] for path in found} == {"5", "6", "7", "8", "9"}
    assert len(found) == int(np.isin(labels[:30], range(5, 10)).sum())
    with Image.open(tmp_path / found[0]) as image:
        assert (image.mode, image.size) == ("L", (32, 32))
        number = int(found[0].stem)
        assert labels[number] == 5
        np.testing.assert_array_equal(np.asarray(image), images[number])
    assert not set(digits.BASE_DIGITS) & set(digits.GRAFTED_DIGITS)


def test_the_folder_holds_photos_a_trained_base_and_the_same_one_untrained(
    tmp_path: Path, quick: None
) -> None:
    from components.trainer.base_file import inspect_base

    folder = tmp_path / "demo" / "digits"
    digits.make_digits(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "base.keras",
        "photos",
        "random.keras",
    ]
    assert [path.name for path in folder.parent.iterdir()] == ["digits"]
    assert inspect_base(folder / "base.keras").input_shape == (32, 32, 3)

    import keras

    trained, untrained, again = (
        keras.saving.load_model(folder / "base.keras").get_weights(),
        keras.saving.load_model(folder / "random.keras").get_weights(),
        digits.build_base().get_weights(),
    )
    assert all(np.array_equal(one, other) for one, other in zip(untrained, again, strict=True))
    assert not np.array_equal(trained[0], untrained[0])


def test_what_is_there_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def must_not_load() -> Any:
        raise AssertionError("the folder was there")

    monkeypatch.setattr(digits, "load_digits", must_not_load)
    (tmp_path / "digits").mkdir()
    digits.make_digits(tmp_path / "digits")
    assert list((tmp_path / "digits").iterdir()) == []


def test_making_them_is_all_or_nothing(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(digits, "train_base", killed)
    with pytest.raises(KeyboardInterrupt):
        digits.make_digits(tmp_path / "demo" / "digits")
    assert list((tmp_path / "demo").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_line_and_status_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as ended:
        digits.main(tmp_path / "file" / "digits")
    assert ended.value.code == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(
        f"Error: Expected a folder that can be written. Received: {tmp_path}/file/digits ("
    )
