"""What is told of a `.keras` file before Keras is asked, on archives made by hand."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from components.errors import InputError
from components.trainer.base_file import BaseFile, check_fits, inspect_base

REAL = Path(__file__).parents[4] / "shared" / "data" / "mobilenet_v1_pw12.keras"


def layer(kind: str, module: str | None = "keras.layers", **config: Any) -> dict[str, Any]:
    """Returns a layer as Keras serializes it."""
    config = {"name": kind.lower(), **config}
    return {"module": module, "class_name": kind, "config": config, "registered_name": None}


def image_input(*shape: int | None, name: str = "photo") -> dict[str, Any]:
    return layer("InputLayer", batch_shape=[None, *shape], name=name)


def functional(*layers: dict[str, Any], inputs: Any = None, name: str = "tiny") -> dict[str, Any]:
    config = {"name": name, "layers": list(layers), "input_layers": inputs or ["photo", 0, 0]}
    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "registered_name": "Functional",
        "config": config,
    }


def sequential(*layers: dict[str, Any], **config: Any) -> dict[str, Any]:
    config = {"name": "row", "layers": list(layers), **config}
    return {"module": "keras", "class_name": "Sequential", "config": config}


def save(path: Path, model: Any, *, weights: bool = True) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", model if isinstance(model, str) else json.dumps(model))
        if weights:
            archive.writestr("model.weights.h5", b"weights" * 500)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        inspect_base(path)
    return str(caught.value)


def test_functional_model_tells_its_input_and_name(tmp_path: Path) -> None:
    path = save(tmp_path / "base.keras", functional(image_input(96, 96, 3), layer("Conv2D")))
    assert inspect_base(path) == BaseFile(path, (96, 96, 3), False)


def test_open_height_and_width_are_none(tmp_path: Path) -> None:
    path = save(tmp_path / "base.keras", functional(image_input(None, None, 3)))
    assert inspect_base(path).input_shape == (None, None, 3)


@pytest.mark.parametrize("inputs", [["photo", 0, 0], [["photo", 0, 0]], {"photo": ["photo", 0, 0]}])
def test_one_input_may_be_alone_in_a_list_or_in_a_dictionary(tmp_path: Path, inputs: Any) -> None:
    path = save(tmp_path / "base.keras", functional(image_input(8, 8, 3), inputs=inputs))
    assert inspect_base(path).input_shape == (8, 8, 3)


def test_sequential_model_tells_the_shape_of_its_input_layer(tmp_path: Path) -> None:
    path = save(tmp_path / "base.keras", sequential(image_input(8, 8, 3), layer("Conv2D")))
    assert inspect_base(path).input_shape == (8, 8, 3)


def test_sequential_model_without_input_layer_tells_what_it_was_built_for(tmp_path: Path) -> None:
    built = sequential(layer("Conv2D"), build_input_shape=[None, 16, 16, 3])
    assert inspect_base(save(tmp_path / "a.keras", built)).input_shape == (16, 16, 3)
    nested = sequential(functional(image_input(24, 24, 3)), layer("Dense"))
    assert inspect_base(save(tmp_path / "b.keras", nested)).input_shape == (24, 24, 3)


def test_sequential_model_that_was_never_built_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "base.keras", sequential(layer("Conv2D")))
    assert "with no known inputs" in refusal(path)


@pytest.mark.parametrize("scaling", ["Rescaling", "Normalization"])
def test_scaling_near_the_input_is_seen_also_in_a_nested_model(
    tmp_path: Path, scaling: str
) -> None:
    inner = functional(image_input(8, 8, 3), layer("ZeroPadding2D"), layer(scaling))
    path = save(tmp_path / "base.keras", functional(image_input(8, 8, 3), inner))
    assert inspect_base(path).scales_input


def test_scaling_deep_in_the_model_is_not_taken_for_the_inputs(tmp_path: Path) -> None:
    layers = [layer("Conv2D") for _ in range(4)]
    model = functional(image_input(8, 8, 3), *layers, layer("Rescaling"))
    assert not inspect_base(save(tmp_path / "base.keras", model)).scales_input


def test_missing_file_is_named(tmp_path: Path) -> None:
    message = refusal(tmp_path / "none.keras")
    assert f"Received: {tmp_path / 'none.keras'}, which does not exist." in message


@pytest.mark.parametrize("name", ["base.h5", "base.hdf5", "base.pb", "base.KERAS", "base"])
def test_other_formats_are_refused_with_the_conversion(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x89HDF")
    message = refusal(tmp_path / name)
    assert message.startswith(f"Expected a .keras file. Received: {tmp_path / name}.")
    assert 'keras.saving.load_model, save it by model.save("base.keras")' in message


def test_a_folder_is_refused_with_the_keys_that_take_one(tmp_path: Path) -> None:
    message = refusal(tmp_path)
    assert f"Expected a .keras file. Received: the folder {tmp_path}." in message
    assert "base.saved_model" in message
    assert "base.preset" in message


@pytest.mark.parametrize(
    ("content", "received"),
    [
        (b"", "an empty file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "no zip archive"),
    ],
)
def test_file_that_is_no_zip_is_refused(tmp_path: Path, content: bytes, received: str) -> None:
    path = tmp_path / "base.keras"
    path.write_bytes(content)
    assert f"{path}, {received}." in refusal(path)


@pytest.mark.parametrize("kept", [0.2, 0.6, 0.99])
def test_truncated_archive_is_refused(tmp_path: Path, kept: float) -> None:
    path = save(tmp_path / "base.keras", functional(image_input(8, 8, 3)))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    assert f"{path}, an archive that is truncated or damaged." in refusal(path)


def test_damaged_description_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "base.keras", functional(image_input(8, 8, 3)))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"Functional", b"Funktional", 1))
    assert "an archive that is truncated or damaged" in refusal(path)


def test_archive_without_description_or_weights_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("readme.txt", "no model")
    assert "an archive without config.json" in refusal(tmp_path / "a.keras")
    path = save(tmp_path / "b.keras", functional(image_input(8, 8, 3)), weights=False)
    assert "an archive without weights" in refusal(path)


@pytest.mark.parametrize("text", ["{", "[]", '{"config": null}', "[" * 100_000])
def test_description_of_no_model_is_refused(tmp_path: Path, text: str) -> None:
    assert "a config.json that" in refusal(save(tmp_path / "base.keras", text))


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_lambda_layer_is_refused_at_any_depth(tmp_path: Path, depth: int) -> None:
    model = functional(image_input(8, 8, 3), layer("Lambda", name="scale"))
    for _ in range(depth):
        model = functional(image_input(8, 8, 3), model)
    message = refusal(save(tmp_path / "base.keras", model))
    assert "with a Lambda layer (scale), whose code would run" in message


def test_lambda_inside_a_wrapper_or_as_activation_is_refused(tmp_path: Path) -> None:
    wrapped = layer("TimeDistributed", layer=layer("Lambda"))
    activated = layer("Dense", activation={"class_name": "__lambda__", "config": {"value": "4wE="}})
    for name, part in (("a", wrapped), ("b", activated)):
        path = save(tmp_path / f"{name}.keras", functional(image_input(8, 8, 3), part))
        assert "with a Lambda layer" in refusal(path)


@pytest.mark.parametrize(
    ("module", "registered", "shown"),
    [
        ("my_models.blocks", None, "my_models.blocks>Block"),
        (None, "lab>Block", "lab>Block"),
        ("keras.layers", "lab>Block", "lab>Block"),
        ("keras_hub.layers", None, "keras_hub.layers>Block"),
        (None, None, "unknown>Block"),
    ],
)
def test_custom_class_is_refused_by_name(
    tmp_path: Path, module: str | None, registered: str | None, shown: str
) -> None:
    part = {**layer("Block", module), "registered_name": registered}
    message = refusal(save(tmp_path / "base.keras", functional(image_input(8, 8, 3), part)))
    assert f"with the custom class {shown} (block)" in message


@pytest.mark.parametrize("function", ["lab>softer", "softer"])
def test_custom_function_is_refused_by_name(tmp_path: Path, function: str) -> None:
    # As Keras 3.12 writes activation=softer, registered under "lab" and not registered.
    activation = {"module": "builtins", "class_name": "function", "config": function}
    model = functional(image_input(8, 8, 3), layer("Conv2D", activation=activation))
    message = refusal(save(tmp_path / "base.keras", model))
    assert f"with the custom function {function} (" in message


def test_keras_activation_written_as_a_function_is_taken(tmp_path: Path) -> None:
    activation = {"module": "builtins", "class_name": "function", "config": "relu6"}
    model = functional(image_input(8, 8, 3), layer("Conv2D", activation=activation))
    assert inspect_base(save(tmp_path / "base.keras", model)).input_shape == (8, 8, 3)


def test_what_the_model_was_compiled_with_does_not_count(tmp_path: Path) -> None:
    model = functional(image_input(8, 8, 3))
    model["compile_config"] = {"loss": layer("MyLoss", "my_models")}
    assert inspect_base(save(tmp_path / "base.keras", model)).input_shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("shape", "shown"),
    [
        ((8, 8, 1), "(None, 8, 8, 1)"),
        ((8, 8, None), "(None, 8, 8, None)"),
        ((3, 8, 8), "(None, 3, 8, 8)"),
        ((784,), "(None, 784)"),
        ((4, 8, 8, 3), "(None, 4, 8, 8, 3)"),
    ],
)
def test_input_that_is_not_one_rgb_image_is_refused(
    tmp_path: Path, shape: tuple[int | None, ...], shown: str
) -> None:
    path = save(tmp_path / "base.keras", functional(image_input(*shape)))
    assert f"with an input of shape {shown}." in refusal(path)


def test_more_than_one_input_is_refused(tmp_path: Path) -> None:
    inputs = [image_input(8, 8, 3, name="left"), image_input(8, 8, 3, name="right")]
    model = functional(*inputs, inputs=[["left", 0, 0], ["right", 0, 0]])
    assert "with 2 inputs." in refusal(save(tmp_path / "base.keras", model))


def test_fixed_batch_is_refused(tmp_path: Path) -> None:
    fixed = layer("InputLayer", batch_shape=[1, 8, 8, 3], name="photo")
    message = refusal(save(tmp_path / "base.keras", functional(fixed)))
    assert "with a fixed batch of 1 in its input (1, 8, 8, 3)." in message


@pytest.mark.parametrize("shape", [(224, 224, 3), (None, None, 3), (None, 224, 3)])
def test_base_takes_its_fixed_size_or_any(shape: tuple[int | None, int | None, int]) -> None:
    check_fits(BaseFile(Path("base.keras"), shape), 224)


@pytest.mark.parametrize("shape", [(224, 224, 3), (224, None, 3), (None, 224, 3)])
def test_other_size_is_refused_with_both_sizes(shape: tuple[int | None, int | None, int]) -> None:
    with pytest.raises(InputError) as caught:
        check_fits(BaseFile(Path("base.keras"), shape), 128)
    assert str(caught.value) == (
        "Expected image.size to be the base's fixed input of 224 pixels. Received: image.size=128 "
        "with base.path=base.keras. Write image.size: 224, or leave image.size out."
    )


def test_base_that_is_not_square_is_refused() -> None:
    with pytest.raises(InputError, match="Received: base.keras with the fixed input 224x192 pixel"):
        check_fits(BaseFile(Path("base.keras"), (224, 192, 3)), 224)


@pytest.mark.skipif(not REAL.exists(), reason="../shared/data is not here")
def test_real_base_is_read() -> None:
    expected = BaseFile(REAL, (224, 224, 3), False)
    assert inspect_base(REAL) == expected


def test_inspection_imports_no_keras() -> None:
    code = (
        "import sys, components.bases, components.trainer.base_file; "
        "print(sorted({'keras', 'tensorflow', 'tfx'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
