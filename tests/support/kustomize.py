"""Builds kustomizations as `kustomize build` does, as far as Graft's use it, and strictly.

What it does not know it refuses: a field, a kind of patch, a list whose merge has its own rule. A
test compares it with kustomize itself where that is installed.
"""

import base64
import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

FILE = "kustomization.yaml"
FIELDS = {
    "Kustomization": {"namespace", "resources", "components", "patches", "labels"},
    "Component": {"secretGenerator"},
}
VERSIONS = {
    "Kustomization": "kustomize.config.k8s.io/v1beta1",
    "Component": "kustomize.config.k8s.io/v1alpha1",
}
# Lists of a pod that are merged entry by entry, and what tells their entries apart.
MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
}
UNLISTED = {FILE, ".gitignore"}

Object = dict[str, Any]


class Wrong(Exception):
    """A kustomization that kustomize would refuse, or that is not used as it stands."""


def build(folder: Path) -> list[Object]:
    """Returns the objects of a kustomization, its patches, labels and namespace applied."""
    given = read(folder)
    objects: list[Object] = []
    for name in given.get("resources", ()):
        place = folder / name
        objects += build(place.resolve()) if place.is_dir() else documents(place)
    for name in given.get("components", ()):
        objects += secrets((folder / name).resolve())
    for patch in given.get("patches", ()):
        _patch(objects, patch, folder)
    for label in given.get("labels", ()):
        for one in objects:
            one["metadata"].setdefault("labels", {}).update(_only(label, {"pairs"})["pairs"])
    if "namespace" in given:
        _place(objects, given["namespace"])
    return objects


def secrets(folder: Path) -> list[Object]:
    """Returns the secrets that a component generates from files of variables."""
    made = []
    for given in read(folder)["secretGenerator"]:
        options = _only(given, {"name", "envs", "options"})["options"]
        if _only(options, {"disableNameSuffixHash", "labels"})["disableNameSuffixHash"] is not True:
            raise Wrong(f"{folder}: {given['name']} gets a name that no configuration knows")
        lines = [
            line
            for name in given["envs"]
            for line in (folder / name).read_text().splitlines()
            if line and not line.startswith("#")
        ]
        pairs = (line.split("=", 1) for line in lines)
        data = {key: base64.b64encode(value.encode()).decode() for key, value in pairs}
        meta = {"name": given["name"], "labels": dict(options["labels"])}
        made.append(
            {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": meta, "data": data}
        )
    return made


def read(folder: Path) -> Object:
    """Returns what a kustomization says; every field is known and every file of its is there."""
    given: Object = yaml.safe_load((folder / FILE).read_text())
    kind = given["kind"]
    if given["apiVersion"] != VERSIONS[kind]:
        raise Wrong(f"{folder}: {kind} of {given['apiVersion']}")
    unknown = given.keys() - FIELDS[kind] - {"apiVersion", "kind"}
    if unknown:
        raise Wrong(f"{folder}: unknown {', '.join(sorted(unknown))}")
    for name in files(given):
        if not (folder / name).exists():
            raise Wrong(f"{folder}: no {name}")
    return given


def files(given: Object) -> list[str]:
    """Returns the files and folders that a kustomization names."""
    names = [*given.get("resources", ()), *given.get("components", ())]
    return names + [patch["path"] for patch in given.get("patches", ())]


def check_files_used(folder: Path) -> None:
    """Raises `Wrong` where a file in the folder is named by nothing."""
    unused = {path.name for path in folder.iterdir()} - set(files(read(folder))) - UNLISTED
    if unused:
        raise Wrong(f"{folder}: {', '.join(sorted(unused))} is named nowhere")


def documents(path: Path) -> list[Object]:
    return [one for one in yaml.safe_load_all(path.read_text()) if one]


def _only(given: Object, known: set[str]) -> Object:
    if given.keys() - known:
        raise Wrong(f"unknown {', '.join(sorted(given.keys() - known))} in {given}")
    return given


def _place(objects: Iterable[Object], namespace: str) -> None:
    accounts = {one["metadata"]["name"] for one in objects if one["kind"] == "ServiceAccount"}
    for one in objects:
        one["metadata"]["namespace"] = namespace
        for subject in one.get("subjects", ()):
            if subject["kind"] == "ServiceAccount" and subject["name"] in accounts:
                subject["namespace"] = namespace


def _patch(objects: list[Object], given: Object, folder: Path) -> None:
    _only(given, {"path", "target"})
    target = _only(given.get("target", {}), {"kind", "name"})
    [patch] = documents(folder / given["path"])
    if isinstance(patch, dict):
        target = {"kind": patch["kind"], "name": patch["metadata"]["name"]}
    met = [
        one
        for one in objects
        if one["kind"] == target["kind"] and target.get("name") in (None, one["metadata"]["name"])
    ]
    if not met:
        raise Wrong(f"{folder}: {given['path']} patches {target}, which is not there")
    for one in met:
        if isinstance(patch, dict):
            _merge(one, patch)
        else:
            for operation in patch:
                _operate(one, operation)


def _merge(into: Object, patch: Object) -> None:
    """Applies a strategic merge patch."""
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        elif isinstance(value, list) and key in into:
            name = MERGE_KEYS.get(key)
            if name is None:
                raise Wrong(f"how {key} is merged is not known")
            entries = {one[name]: one for one in into[key]}
            for one in value:
                if one[name] not in entries:
                    raise Wrong(f"{key} has no {one[name]} to patch")
                _merge(entries[one[name]], one)
        else:
            into[key] = copy.deepcopy(value)


def _operate(into: Object, operation: Object) -> None:
    """Applies one operation of a JSON patch (RFC 6902)."""
    _only(operation, {"op", "path", "value"})
    *parents, last = operation["path"].removeprefix("/").split("/")
    for parent in parents:
        into = into[parent]
    if operation["op"] not in ("add", "replace"):
        raise Wrong(f"how {operation['op']} is done is not known")
    if operation["op"] == "replace" and last not in into:
        raise Wrong(f"{operation['path']} is not there to be replaced")
    into[last] = copy.deepcopy(operation["value"])
