"""What pods cannot reach is told before anything is compiled."""

from pathlib import Path
from typing import Any

import pytest

from components.errors import InputError
from pipeline.config import Config
from pipeline.kubeflow.placement import POD_FOLDER, notes, place

IMAGE = "graft@sha256:" + "0" * 64
LEAST: dict[str, Any] = {
    "name": "flowers",
    "data": {"source": "/mnt/photos/flowers"},
    "base": {"name": "VGG16"},
    "push": {"directory": "/mnt/serving/flowers"},
    "runtime": {"root": "/mnt/cache/graft"},
    "kubeflow": {
        "volumes": [
            {"claim": "photos", "path": "/mnt/photos"},
            {"claim": "serving", "path": "/mnt/serving"},
            {"claim": "cache", "path": "/mnt/cache"},
        ]
    },
}


def config(**sections: Any) -> Config:
    return Config.model_validate({**LEAST, **sections})


def fault(given: Config) -> str:
    with pytest.raises(InputError) as error:
        place(given)
    return str(error.value)


def test_a_configuration_whose_paths_are_on_volumes_stays_as_it_is() -> None:
    given = config()
    assert place(given) == given
    assert notes(given, IMAGE) == []


def test_without_a_volume_for_it_the_cache_is_the_pods_own_and_that_is_told() -> None:
    given = config(runtime={"root": "/home/me/runs"})
    (note,) = notes(given, IMAGE)
    assert place(given).cache == Path(POD_FOLDER, "flowers", "cache")
    assert "runtime.root is on none of kubeflow.volumes" in note


@pytest.mark.parametrize(
    ("key", "sections"),
    [
        ("data.source=/home/me/flowers", {"data": {"source": "/home/me/flowers"}}),
        ("push.directory=/mnt/servings/x", {"push": {"directory": "/mnt/servings/x"}}),
        (
            "push.signing_key=/home/me/key.pem",
            {"push": {"directory": "/mnt/serving/x", "signing_key": "/home/me/key.pem"}},
        ),
        (
            "base.path=/home/me/base.keras",
            {"base": {"path": "/home/me/base.keras", "preprocessing": "none"}},
        ),
        ("base.saved_model=/home/me/sm", {"base": {"saved_model": "/home/me/sm"}}),
        ("base.preset=/home/me/preset", {"base": {"preset": "/home/me/preset"}}),
        (
            "base.weights=/home/me/w.weights.h5",
            {"base": {"name": "VGG16", "weights": "/home/me/w.weights.h5"}},
        ),
    ],
)
def test_a_path_that_pods_do_not_share_is_told(key: str, sections: dict[str, Any]) -> None:
    text = fault(config(**sections))
    assert f"Received: {key}." in text
    assert "/mnt/photos (photos)" in text


def test_a_base_may_lie_in_the_image() -> None:
    base = {"path": "/opt/graft/bases/base.keras", "preprocessing": "none"}
    place(config(base=base))


def test_photos_may_lie_in_a_bucket_that_tensorflow_reads() -> None:
    place(config(data={"source": "gs://bucket/flowers"}))
    assert "data.source=s3://bucket/flowers" in fault(
        config(data={"source": "s3://bucket/flowers"})
    )


def test_without_any_volume_the_example_says_how_to_give_one() -> None:
    text = fault(config(kubeflow={}))
    assert "of which there are none" in text
    assert "kubeflow.volumes: [{claim: NAME, path: /mnt/photos}]" in text


def test_two_claims_at_one_path_are_told() -> None:
    volumes = [*LEAST["kubeflow"]["volumes"], {"claim": "other", "path": "/mnt/photos"}]
    assert "path=/mnt/photos twice" in fault(config(kubeflow={"volumes": volumes}))


def test_one_claim_at_two_paths_is_told() -> None:
    volumes = [*LEAST["kubeflow"]["volumes"], {"claim": "photos", "path": "/mnt/more"}]
    assert "claim=photos twice" in fault(config(kubeflow={"volumes": volumes}))


@pytest.mark.parametrize("path", ["/opt/graft", "/opt", "/usr/share/x", "/minio"])
def test_a_path_that_hides_what_pods_need_is_told(path: str) -> None:
    volumes = [*LEAST["kubeflow"]["volumes"], {"claim": "other", "path": path}]
    assert f"path={path}, which hides" in fault(config(kubeflow={"volumes": volumes}))


def test_a_name_that_ends_in_a_dash_is_told() -> None:
    assert "name=flowers-" in fault(config(name="flowers-"))


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = fault(config(data={"source": "/a"}, push={"directory": "/b"}))
    assert len(text.splitlines()) == 2


def test_that_the_infra_validator_is_left_out_is_told() -> None:
    push = {"directory": "/mnt/serving/flowers", "infra_validator": "docker"}
    (note,) = notes(config(push=push), IMAGE)
    assert "push.infra_validator=docker is left out" in note


def test_an_image_that_may_change_is_told() -> None:
    (note,) = notes(config(), "graft:latest")
    assert "graft:latest has no digest" in note
