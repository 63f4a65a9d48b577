"""The repository's own promises: one lock for two stacks, no addresses, and a true package list."""

import os
import re
import subprocess
from pathlib import Path

import pytest

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"

# Written so that this file does not match them.
REGISTRY = r"pypi[.]org|pythonhoste[d]|repo1?[.]maven[.]|registry[.]npmjs|proxy[.]golan[g]"
ARCHIVE = r"deb[.]debian"
MACHINE = r"/far[m]/|(^|[^.\w])/wor[k]/|/roo[t]/"


def git(*arguments: str) -> str:
    # Whoever owns the checkout, it is read only.
    command = ["git", "-c", "safe.directory=*", *arguments]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"no git checkout here: {found.stderr.strip()}")
    return found.stdout


def locked_requirements() -> list[str]:
    """Each requirement with its marker and hashes on one line."""
    text = LOCK.read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]


def markers_of(requirement: str) -> list[str]:
    return [
        line.split(" ; ")[1].split(" --hash")[0]
        for line in locked_requirements()
        if line.split(" ; ")[0] == requirement
    ]


@pytest.mark.parametrize("requirement", ["tfx==1.16.0", "apache-beam==2.62.0"])
def test_the_lock_holds_the_compatible_stack_below_python_3_11(requirement: str):
    (marker,) = markers_of(requirement)
    assert "python_full_version < '3.11'" in marker


@pytest.mark.parametrize("requirement", ["tfx==1.21.0", "apache-beam==2.77.0"])
def test_the_lock_holds_the_modern_stack_from_python_3_11(requirement: str):
    (marker,) = markers_of(requirement)
    assert "python_full_version >= '3.11'" in marker


def test_the_lock_holds_no_other_version_of_tfx_or_beam():
    names = [line.split(" ")[0] for line in locked_requirements()]
    found = sorted(name for name in names if re.match(r"(tfx|apache-beam)==", name))
    assert found == ["apache-beam==2.62.0", "apache-beam==2.77.0", "tfx==1.16.0", "tfx==1.21.0"]


def test_every_locked_requirement_is_pinned_and_has_a_hash():
    lines = locked_requirements()
    assert len(lines) > 200
    pinned = re.compile(r"[\w.-]+==\S+ ; .+ --hash=sha256:[0-9a-f]{64}")
    assert [line[:60] for line in lines if not pinned.match(line)] == []


def test_the_lock_names_no_address():
    assert "://" not in LOCK.read_text()


def test_the_lock_says_how_it_is_made():
    assert "make lock" in "".join(LOCK.read_text().splitlines(keepends=True)[:3])


def test_the_lock_holds_every_direct_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(item for extra in extras for item in extra)]
    names = {re.split(r"[^\w.-]", item)[0].lower() for item in wanted}
    locked = {line.split("==")[0].lower() for line in locked_requirements()}
    assert names - locked == set()


def test_no_tracked_file_names_a_registry_or_a_path_of_a_machine():
    pattern = re.compile(f"{REGISTRY}|{ARCHIVE}|{MACHINE}", re.IGNORECASE)
    found = []
    for name in git("ls-files", "-z").split("\0")[:-1]:
        path = ROOT / name
        if not path.is_file() or name == "LICENSE":
            continue
        text = path.read_bytes().decode("utf-8", errors="replace")
        found += [
            f"{name}:{number}: {line.strip()[:80]}"
            for number, line in enumerate(text.splitlines(), start=1)
            if pattern.search(line)
        ]
    assert found == []


def test_no_source_file_is_ignored_by_git():
    folders = ["benchmarks", "components", "configs", "docs", "kubeflow", "pipeline", "schemas"]
    ignored = git(
        "ls-files", "--others", "--ignored", "--exclude-standard", "-z", "--", *folders, "tests"
    ).split("\0")[:-1]
    suffixes = {".py", ".yaml", ".pbtxt", ".json", ".md", ".html", ".css"}
    sources = [name for name in ignored if Path(name).suffix in suffixes]
    assert [name for name in sources if not is_output(name)] == []


def is_output(name: str) -> bool:
    """Whether a run of the configurations beside it wrote the file."""
    return bool(re.match(r"configs/(demo|runs|served)/", name))


def test_the_package_list_is_that_of_the_folders():
    found = ["schemas"]
    for top in ("components", "pipeline"):
        for folder, _, files in os.walk(ROOT / top):
            if "__init__.py" in files:
                found.append(".".join(Path(folder).relative_to(ROOT).parts))
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert listed == sorted(found)


def test_schemas_and_the_folders_that_only_hold_data_are_no_packages():
    data = ["schemas", "configs", "kubeflow", "docs"]
    assert [name for name in data if list((ROOT / name).rglob("__init__.py"))] == []


def test_tests_are_no_package():
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_no_document_has_a_gap_that_was_to_be_filled():
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    assert [path.name for path in documents if "@@" in path.read_text(encoding="utf-8")] == []
