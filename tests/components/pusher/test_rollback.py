"""Manifests that hold, signatures, rollbacks, versions that go, and labels for the server."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from components.digests import folder_digest
from components.errors import InputError
from components.pusher import served
from components.pusher.manifest import find_faults, find_serving_faults, list_files, read_manifest


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "served"


def push(directory: Path, weights: bytes, key: Path | None = None) -> served.Manifest:
    """Pushes a model of these weights."""
    model = directory.parent / "model"
    (model / "variables").mkdir(parents=True, exist_ok=True)
    (model / "assets").mkdir(exist_ok=True)
    (model / "saved_model.pb").write_bytes(b"graph")
    (model / "assets/labels").write_text("rose\ntulip\n")
    (model / "variables/variables.index").write_bytes(weights)
    return served.push(
        model, directory, folder_digest(model), f"uri of {weights!r}", "", {"run_id": "1"}, key
    )


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A private and a public key, made by the commands that the errors name."""
    folder = tmp_path_factory.mktemp("keys")
    private, public = folder / "key.pem", folder / "public.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    return private, public


def test_a_version_says_what_it_is_made_of_and_is_as_it_was_pushed(directory: Path) -> None:
    manifest = push(directory, b"one")
    folder = directory / str(manifest.version)
    assert read_manifest(folder) == manifest
    assert manifest.labels == ("rose", "tulip")
    assert set(manifest.files) == {
        "saved_model.pb",
        "assets/labels",
        "variables/variables.index",
    }
    assert find_faults(folder) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda f: _flip(f / "saved_model.pb"),
            "saved_model.pb was changed.",
        ),
        (lambda f: (f / "assets/labels").unlink(), "assets/labels is missing."),
        (lambda f: (f / "assets/more").write_text("x"), "assets/more was added."),
        (lambda f: (f / "graft.json").unlink(), "graft.json is missing."),
        (lambda f: (f / "graft.json").write_text("{"), "graft.json is damaged."),
        (lambda f: (f / "graft.json").write_text("[]"), "graft.json is damaged."),
    ],
)
def test_every_change_of_a_version_is_found(directory: Path, change, told: str) -> None:
    folder = directory / str(push(directory, b"one").version)
    change(folder)
    assert find_faults(folder) == [told]


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)


def test_a_signature_tells_who_pushed(directory: Path, keys: tuple[Path, Path]) -> None:
    private, public = keys
    folder = directory / str(push(directory, b"one", private).version)
    assert find_faults(folder, public) == []
    record = json.loads((folder / "graft.json").read_text())
    record["facts"]["run_id"] = "another"
    (folder / "graft.json").write_text(json.dumps(record))
    assert find_faults(folder) == []
    [fault] = find_faults(folder, public)
    assert fault.startswith("graft.json.sig does not fit graft.json")
    (folder / "graft.json.sig").unlink()
    assert find_faults(folder, public) == ["graft.json.sig is missing."]


def test_a_wrong_key_is_told_with_how_to_make_one(
    directory: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    private, public = keys
    other = tmp_path / "other.pem"
    other.write_text("no key")
    for key in (other, public, tmp_path / "missing.pem"):
        with pytest.raises(InputError, match=r"Ed25519 private key.*openssl genpkey"):
            push(directory, b"one", key)
    assert served.versions(directory) == []
    folder = directory / str(push(directory, b"one", private).version)
    with pytest.raises(InputError, match=r"Ed25519 public key.*openssl pkey"):
        find_faults(folder, private)


def test_a_rollback_serves_the_last_other_model_as_a_new_version(directory: Path) -> None:
    first, second = push(directory, b"one"), push(directory, b"two")
    begun = time.monotonic()
    back = served.roll_back(directory, None)
    assert time.monotonic() - begun < 1
    assert served.newest(directory) == back
    assert back.version > second.version
    assert (back.copy_of, back.model_uri) == (first.version, first.model_uri)
    assert back.withdrawn == (second.model_digest,)
    folder = directory / str(back.version)
    assert (folder / "variables/variables.index").read_bytes() == b"one"
    assert find_faults(folder) == []
    assert served.holds(directory, back, first.model_digest)
    assert len(served.versions(directory)) == 3


def test_rollbacks_go_further_back_and_forth_again(directory: Path) -> None:
    first, second, third = (push(directory, weights) for weights in (b"one", b"two", b"three"))
    assert served.roll_back(directory, None).origin == second.version
    # What was taken back already is no place to return to by itself.
    again = served.roll_back(directory, None)
    assert again.origin == first.version
    assert set(again.withdrawn) == {second.model_digest, third.model_digest}
    forth = served.roll_back(directory, third.version)
    assert forth.origin == third.version
    assert third.model_digest not in forth.withdrawn
    assert first.model_digest in forth.withdrawn


def test_what_others_changed_is_not_signed_by_a_rollback(
    directory: Path, keys: tuple[Path, Path]
) -> None:
    private, _ = keys
    first = push(directory, b"one", private)
    push(directory, b"two", private)
    folder = directory / str(first.version)
    (folder / "saved_model.pb").write_bytes(b"tampered")
    record = json.loads((folder / "graft.json").read_text())
    record["files"] = list_files(folder)
    (folder / "graft.json").write_text(json.dumps(record))
    assert find_faults(folder) == []
    with pytest.raises(InputError, match=r"graft\.json\.sig is missing or is not of push\.signing"):
        served.roll_back(directory, first.version, private)


def test_a_foreign_version_on_top_does_not_bring_back_what_was_withdrawn(directory: Path) -> None:
    push(directory, b"one")
    second = push(directory, b"two")
    served.roll_back(directory, None)
    foreign = directory / "1999999999"
    foreign.mkdir()
    (foreign / "saved_model.pb").write_bytes(b"foreign")
    assert served.withdrawn(directory) == (second.model_digest,)
    with pytest.raises(InputError, match="--to 1999999999, which is served"):
        served.roll_back(directory, 1999999999)


def test_what_was_withdrawn_stays_so_after_another_push(directory: Path) -> None:
    push(directory, b"one")
    second = push(directory, b"two")
    served.roll_back(directory, None)
    assert push(directory, b"three").withdrawn == (second.model_digest,)


def test_a_rollback_without_a_place_to_go_is_told(directory: Path) -> None:
    with pytest.raises(InputError, match=r"Expected a served model\. Received: no version in"):
        served.roll_back(directory, None)
    only = push(directory, b"one")
    with pytest.raises(InputError, match=f"earlier version of another model.*{only.version}"):
        served.roll_back(directory, None)
    push(directory, b"one")
    with pytest.raises(InputError, match="earlier version of another model"):
        served.roll_back(directory, None)
    with pytest.raises(InputError, match=rf"--to 7\. There are: {only.version}, "):
        served.roll_back(directory, 7)


def test_a_version_that_was_changed_is_not_served_again(directory: Path) -> None:
    first, second = push(directory, b"one"), push(directory, b"two")
    _flip(directory / str(first.version) / "variables/variables.index")
    with pytest.raises(InputError, match=r"as it was pushed\. Received: variables/var"):
        served.roll_back(directory, first.version)
    assert served.newest(directory) == second
    assert sorted(path.name for path in directory.iterdir()) == [
        str(first.version),
        str(second.version),
    ]


def test_the_last_versions_stay_and_those_of_others_too(directory: Path) -> None:
    pushed = [push(directory, weights).version for weights in (b"1", b"2", b"3", b"4")]
    foreign = directory / "7"
    foreign.mkdir()
    (foreign / "saved_model.pb").write_bytes(b"foreign")
    assert served.prune(directory, 2) == pushed[:2]
    assert served.versions(directory) == [7, *pushed[2:]]
    assert served.prune(directory, 2) == []


def test_copies_of_rollbacks_take_no_models_place(directory: Path) -> None:
    first, second = push(directory, b"one"), push(directory, b"two")
    origins = (first, second, first)
    back, forth, again = (served.roll_back(directory, origin.version) for origin in origins)
    # Of each model the newest stays, and what it was pushed as.
    assert served.prune(directory, 2) == [back.version]
    third = push(directory, b"three")
    assert served.prune(directory, 2) == [second.version, forth.version]
    assert served.versions(directory) == [first.version, again.version, third.version]


def test_a_version_is_asked_only_with_the_signature_that_is_wanted(
    directory: Path, keys: tuple[Path, Path]
) -> None:
    private, public = keys
    signed, unsigned = push(directory, b"one", private), push(directory, b"two")
    folders = [directory / str(one.version) for one in (signed, unsigned)]
    for key in keys:
        assert find_serving_faults(folders[0], key) == []
        [fault] = find_serving_faults(folders[1], key)
        assert fault == "graft.json.sig is missing or is not of push.signing_key."
    assert find_serving_faults(folders[1], None) == []
    (folders[0] / "graft.json").unlink()
    # Without a key it counts as one of others, which cannot be checked.
    assert find_serving_faults(folders[0], None) == []
    assert find_serving_faults(folders[0], public) == ["graft.json is missing."]
    with pytest.raises(InputError, match="Ed25519 private key"):
        find_serving_faults(folders[1], directory / "missing.pem")


def test_the_server_is_told_which_version_is_stable(directory: Path) -> None:
    first, second = push(directory, b"one"), push(directory, b"two")
    served.write_models_config(directory, "flowers")
    assert (directory / "models.config").read_text() == (
        "model_config_list {\n"
        "  config {\n"
        '    name: "flowers"\n'
        '    base_path: "/models/flowers"\n'
        '    model_platform: "tensorflow"\n'
        f"    model_version_policy {{ specific {{ versions: {first.version} "
        f"versions: {second.version} }} }}\n"
        f'    version_labels {{ key: "stable" value: {second.version} }}\n'
        f'    version_labels {{ key: "previous" value: {first.version} }}\n'
        "  }\n"
        "}\n"
    )
    parsed = parse_models_config((directory / "models.config").read_text())
    [model] = parsed.model_config_list.config
    assert dict(model.version_labels) == {"stable": second.version, "previous": first.version}
    assert list(model.model_version_policy.specific.versions) == [first.version, second.version]


def parse_models_config(text: str):
    """Reads it as TF Serving does."""
    config = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    from google.protobuf import text_format

    return text_format.Parse(text, config.ModelServerConfig())
