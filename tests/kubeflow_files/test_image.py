"""The image's files: pinned, without build tools or rights, and from nothing but what it needs."""

import re
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from components.errors import GraftError, InputError
from pipeline.cli import main
from pipeline.kubeflow import building

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "kubeflow" / "Dockerfile").read_text()
BASE = "debian:trixie-slim@sha256:" + "0" * 64
LOCKS = ["kubeflow/image/requirements.lock", "kubeflow/image/requirements-cuda.lock"]


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, lines that go on joined."""
    joined = re.sub(r"\\\n\s*", " ", DOCKERFILE)
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    start = max(number for number, (name, _) in enumerate(found) if name == "FROM")
    return found[start:]


def allowed() -> list[str]:
    """What .dockerignore lets through."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    return [line[1:].rstrip("/") for line in lines if line.startswith("!")]


def test_both_stages_are_of_the_base_that_the_builder_gives() -> None:
    froms = [text.split()[0] for name, text in instructions() if name == "FROM"]
    assert froms == ["${BASE}", "${BASE}"]
    assert ("ARG", "BASE") in instructions()  # without a default that could move


def test_it_runs_as_a_user_without_rights_in_the_end() -> None:
    assert [text for name, text in last_stage() if name == "USER"] == ["65532:65532"]
    assert last_stage().index(("USER", "65532:65532")) > last_stage().index(
        ("WORKDIR", "/opt/graft")
    )


def test_every_step_is_a_script_of_ours_that_can_be_run() -> None:
    for name, text in instructions():
        if name == "RUN":
            script = Path(text.split()[0]).name
            path = ROOT / "kubeflow" / "image" / script
            assert path.stat().st_mode & 0o111, script


def test_all_that_is_copied_is_let_through() -> None:
    sources = [
        text.split()[0]
        for name, text in instructions()
        if name == "COPY" and not text.startswith("--from")
    ]
    assert sources == [".", "kubeflow/image/finish.sh"]
    assert "kubeflow/image" in allowed()


def test_what_is_let_through_is_there_and_holds_no_data() -> None:
    for path in allowed():
        assert (ROOT / path).exists(), path
    assert set(allowed()).isdisjoint({"demo", "runs", "served", ".git", "tests", "configs"})


def test_the_last_stage_installs_no_build_tools() -> None:
    finish = (ROOT / "kubeflow" / "image" / "finish.sh").read_text()
    (installed,) = re.findall(r"install -y --no-install-recommends (.*)", finish)
    assert installed.split() == ["python3", "ca-certificates"]


def test_there_is_no_health_check_and_there_are_labels() -> None:
    names = [name for name, _ in instructions()]
    assert "HEALTHCHECK" not in names
    (labels,) = [text for name, text in last_stage() if name == "LABEL"]
    for name in ("title", "licenses", "revision", "base.name"):
        assert f"org.opencontainers.image.{name}=" in labels


def test_nothing_but_the_base_is_fetched_from_an_image_registry() -> None:
    assert not re.search(r"^#\s*syntax=", DOCKERFILE, re.M)  # would fetch a frontend by its tag
    copied_from = re.findall(r"--from=(\S+)", DOCKERFILE)
    assert copied_from == ["build"]


def test_the_last_stage_changes_no_file_that_it_copied_as_that_would_store_it_twice() -> None:
    finish = (ROOT / "kubeflow" / "image" / "finish.sh").read_text()
    commands = [line for line in finish.splitlines() if not line.startswith("#")]
    assert [line for line in commands if "/opt/graft" in line] == []
    runs = [text for name, text in last_stage() if name == "RUN"]
    assert [text for text in runs if "/opt" in text] == []


def test_another_accelerator_is_refused_before_anything_is_installed() -> None:
    script = ROOT / "kubeflow" / "image" / "build.sh"
    refused = subprocess.run([script, "rocm"], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "Expected ACCELERATOR to be cpu or cuda. Received: ACCELERATOR=rocm." in refused.stderr


@pytest.mark.parametrize("lock", LOCKS)
def test_the_images_locks_have_hashes_and_the_versions_of_the_tested_lock(lock: str) -> None:
    pinned = dict(re.findall(r"^([a-z0-9._-]+)(?:\[[a-z,-]+\])?==([^ ;\\]+)", read(lock), re.M))
    assert read(lock).count("--hash=sha256:") >= len(pinned) > 150
    tested = set(re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", read("requirements.lock"), re.M))
    differing = {
        name
        for name, version in pinned.items()
        if (name, version) not in tested and not name.startswith("nvidia-")
    }
    assert differing == set()


def test_nothing_that_only_development_needs_is_in_the_image() -> None:
    for lock in LOCKS:
        assert not re.search(r"^(pytest|ruff|mypy|kubernetes-validate)==", read(lock), re.M)


def test_the_gpu_variant_has_nvidias_libraries_and_the_other_one_none() -> None:
    plain, cuda = map(read, LOCKS)
    assert "nvidia-cudnn" in cuda
    assert "nvidia-" not in plain


def read(path: str) -> str:
    return (ROOT / path).read_text()


def test_the_line_that_builds_it_is_exact() -> None:
    command = building.build_command("reg.example/graft:1", BASE, "cuda", "podman", "abc")
    assert command == [
        "podman", "build", "--platform", "linux/amd64", "--file", "kubeflow/Dockerfile",
        "--build-arg", f"BASE={BASE}",
        "--build-arg", "ACCELERATOR=cuda",
        "--build-arg", "REVISION=abc",
        "--tag", "reg.example/graft:1", ".",
    ]  # fmt: skip


def test_the_command_prints_build_push_and_digest() -> None:
    asked = ["kubeflow", "image", "--tag", "reg.example/graft:1", "--base", BASE]
    build, push, digest = CliRunner().invoke(main, asked).stdout.splitlines()
    assert build.startswith("docker build --platform linux/amd64 --file kubeflow/Dockerfile")
    assert push == "docker push reg.example/graft:1"
    assert digest == "docker inspect --format '{{index .RepoDigests 0}}' reg.example/graft:1"


@pytest.mark.parametrize("base", ["debian:trixie-slim", "debian@sha256:12", ""])
def test_a_base_without_a_digest_is_told_with_how_to_find_it(base: str) -> None:
    with pytest.raises(InputError, match="docker pull debian:trixie-slim"):
        building.build_command("graft:1", base)


def test_an_engine_that_is_not_here_is_told() -> None:
    with pytest.raises(InputError, match="Expected the container engine no-engine"):
        building.build(["no-engine", "build"])


def test_without_a_checkout_there_is_nothing_to_build(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Clone the repository"):
        building.build(["docker", "build"], tmp_path)


def test_buildah_keeps_layers_and_its_digest_is_asked_of_skopeo() -> None:
    command = building.build_command("reg.example/graft:1", BASE, engine="buildah")
    assert command[:3] == ["buildah", "build", "--layers"]
    assert building.lines(command, "reg.example/graft:1")[2] == (
        "skopeo inspect --format '{{.Name}}@{{.Digest}}' docker://reg.example/graft:1"
    )


def test_lines_are_not_printed_either_where_there_is_no_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "DOCKERFILE", str(tmp_path / "Dockerfile"))
    asked = ["kubeflow", "image", "--tag", "graft:1", "--base", BASE]
    answer = CliRunner().invoke(main, asked)
    assert answer.exit_code != 0
    assert answer.stdout == ""


def test_the_revision_tells_of_changes_that_no_commit_has(tmp_path: Path) -> None:
    assert building.revision(tmp_path) == "unknown"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    (tmp_path / "file").write_text("one")
    for step in (["init", "--quiet"], ["add", "file"], ["commit", "--quiet", "-m", "one"]):
        subprocess.run([*git, *step], check=True)
    clean = building.revision(tmp_path)
    (tmp_path / "file").write_text("two")
    assert re.fullmatch("[0-9a-f]{40}", clean)
    assert building.revision(tmp_path) == f"{clean}-dirty"


def test_a_build_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tmp_path / "docker"
    engine.write_text('#!/bin/sh\necho "$PWD $*" >> "$0.log"\nexit 7\n')
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(GraftError, match="exit status 7"):
        building.build(building.build_command("graft:1", BASE))
    assert (tmp_path / "docker.log").read_text().startswith(f"{ROOT} build --platform")


def test_scripts_of_the_image_are_valid_shell() -> None:
    for script in ("kubeflow/image/build.sh", "kubeflow/image/finish.sh", "scripts/image_root.sh"):
        subprocess.run(["bash", "-n", str(ROOT / script)], check=True)
