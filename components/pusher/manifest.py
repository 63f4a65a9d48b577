"""What a served version is, said in `graft.json` beside the model, and whether it is so."""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from components.digests import file_digest
from components.errors import InputError
from components.places import Place, files_below

MANIFEST = "graft.json"
SIGNATURE = "graft.json.sig"  # Ed25519, base64, of the manifest's bytes
HOW_TO = "Make one by: openssl genpkey -algorithm ed25519 -out key.pem"
HOW_TO_PUBLISH = "Make it by: openssl pkey -in key.pem -pubout -out public.pem"


@dataclass(frozen=True)
class Manifest:
    """What a served version is.

    Attributes:
        version: name of the version's folder.
        model_digest: `digests.folder_digest` of the SavedModel.
        model_uri: the Model artifact it was copied from.
        baseline_uri: the Model artifact it was compared with; empty where there was none.
        pushed_at: seconds since the epoch.
        files: SHA-256 of every file by its path, but for manifest and signature.
        labels: the classes in vocabulary order.
        facts: of what and how it was made: pipeline, run, data, base, code, metrics, packages.
        copy_of: the version that a rollback put here again; None after a push.
        withdrawn: digests of models that a rollback took away; they are not pushed again.
    """

    version: int
    model_digest: str
    model_uri: str
    baseline_uri: str
    pushed_at: float
    files: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    copy_of: int | None = None
    withdrawn: tuple[str, ...] = ()

    @property
    def origin(self) -> int:
        """The version under which this model was pushed."""
        return self.version if self.copy_of is None else self.copy_of


def is_signed_by(folder: Place, key: Path) -> bool:
    """Says whether a version's manifest carries the signature of a key.

    Args:
        folder: of the version.
        key: PEM file of the private key, or of the public one, which is enough to ask.

    Raises:
        InputError: the key cannot be used.
    """
    try:
        public_key = load_public_key(key)
    except InputError:
        public_key = load_signing_key(key).public_key()
    return not list(_signature_faults(folder, public_key))


def find_serving_faults(folder: Place, key: Path | None) -> list[str]:
    """Returns what keeps a version from being asked or served again, a sentence each.

    Args:
        folder: of the version.
        key: see `is_signed_by`; None to ask for no signature. Without one a version that has no
            manifest counts as one that something else pushed, which cannot be checked.

    Raises:
        InputError: the key cannot be used.
    """
    if key is None and not (folder / MANIFEST).is_file():
        return []
    faults = find_faults(folder)
    if key and not faults and not is_signed_by(folder, key):
        faults = [f"{SIGNATURE} is missing or is not of push.signing_key."]
    return faults


def list_files(folder: Place) -> dict[str, str]:
    """Returns the SHA-256 of every file below a version by its path, but for our own two."""
    found = files_below(folder)
    return {name: file_digest(path) for name, path in found.items() if not is_ours(name)}


def write_manifest(folder: Place, manifest: Manifest, signing_key: Path | None) -> None:
    """Writes the manifest of a version and, with a key, its signature.

    Args:
        folder: of the version.
        manifest: what to write.
        signing_key: PEM file of an Ed25519 private key; None to leave it unsigned.

    Raises:
        InputError: the key cannot be used.
    """
    content = (json.dumps(asdict(manifest), indent=1, ensure_ascii=False) + "\n").encode()
    signature = folder / SIGNATURE
    signature.unlink(missing_ok=True)
    (folder / MANIFEST).write_bytes(content)
    if signing_key:
        signed = load_signing_key(signing_key).sign(content)
        signature.write_text(base64.b64encode(signed).decode() + "\n")


def read_manifest(folder: Place) -> Manifest | None:
    """Returns the manifest of a version; None where it is missing, damaged or foreign."""
    try:
        record = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        known = {one.name for one in fields(Manifest)}
        given = {name: value for name, value in record.items() if name in known}
        for name in ("labels", "withdrawn"):
            given[name] = tuple(given.get(name, ()))
        # The folder's name counts: a version may have been copied by hand.
        if folder.name.isdecimal():
            given["version"] = int(folder.name)
        return Manifest(**given)
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def find_faults(folder: Place, public_key: Path | None = None) -> list[str]:
    """Compares a version with its manifest, file by file.

    Args:
        folder: of the version.
        public_key: PEM file; with it the manifest must carry a signature that fits.

    Returns:
        What is wrong, a sentence each; empty where nothing is.

    Raises:
        InputError: the key cannot be used.
    """
    if not (folder / MANIFEST).is_file():
        return [f"{MANIFEST} is missing."]
    manifest = read_manifest(folder)
    if manifest is None:
        return [f"{MANIFEST} is damaged."]
    faults = [] if manifest.files else [f"{MANIFEST} lists no files."]
    faults += _changed_files(folder, manifest)
    return (
        faults + list(_signature_faults(folder, load_public_key(public_key)))
        if public_key
        else faults
    )


def _changed_files(folder: Place, manifest: Manifest) -> Iterator[str]:
    found = list_files(folder)
    for name in sorted({*found, *manifest.files}):
        if name not in found:
            yield f"{name} is missing."
        elif name not in manifest.files:
            yield f"{name} was added."
        elif found[name] != manifest.files[name]:
            yield f"{name} was changed."


def _signature_faults(folder: Place, key: Any) -> Iterator[str]:
    from cryptography.exceptions import InvalidSignature

    try:
        signature = base64.b64decode((folder / SIGNATURE).read_text())
        key.verify(signature, (folder / MANIFEST).read_bytes())
    except OSError:
        yield f"{SIGNATURE} is missing."
    except (InvalidSignature, ValueError):
        yield f"{SIGNATURE} does not fit {MANIFEST} and the key."


def load_signing_key(path: Path) -> Any:
    """Returns an Ed25519 private key.

    Raises:
        InputError: the file cannot be read or holds none.
    """
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return _load_key(
        path,
        lambda content: load_pem_private_key(content, password=None),
        ed25519.Ed25519PrivateKey,
        "private key without a password",
        HOW_TO,
    )


def load_public_key(path: Path) -> Any:
    """Returns an Ed25519 public key.

    Raises:
        InputError: the file cannot be read or holds none.
    """
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    return _load_key(
        path, load_pem_public_key, ed25519.Ed25519PublicKey, "public key", HOW_TO_PUBLISH
    )


def _load_key(path: Path, load: Any, kind: type, what: str, mend: str) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        key = load(path.read_bytes())
        received = f"{path}, which is of another kind"
    except OSError as error:
        key, received = None, f"{path}, which cannot be read ({error.strerror})"
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key, received = None, f"{path}, which is none"
    if isinstance(key, kind):
        return key
    raise InputError(f"Expected the PEM file of an Ed25519 {what}. Received: {received}. {mend}.")


def is_ours(name: str) -> bool:
    """Says whether a file of a version is the manifest or its signature."""
    return name in (MANIFEST, SIGNATURE)
