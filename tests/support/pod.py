"""Runs a process in a file system root of its own, as a pod would: Linux's namespaces, no engine.

What is installed is there, read-only; `/tmp`, `/mnt` and the launcher's folders are the pod's own.
"""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

OWN = ("tmp", "mnt", "minio", "gcs", "s3")
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
REPOSITORY = Path(__file__).resolve().parents[2]

# Binds all of the root but what is the pod's own into a new root, and changes into it.
SCRIPT = r"""
set -eu
root=$1; own=$2; pod=$3; shift 3
mount -t tmpfs tmpfs "$root"
for entry in /*; do
  name=${entry#/}
  case " $own " in *" $name "*) continue ;; esac
  if [ -L "$entry" ]; then cp -P "$entry" "$root/"
  elif [ -d "$entry" ]; then
    mkdir "$root/$name"
    mount --rbind "$entry" "$root/$name"
    case $name in
      dev|proc|sys) ;;
      *) mount -o remount,bind,ro "$root/$name" 2>/dev/null || : ;;
    esac
  fi
done
for name in $own; do mkdir "$root/$name"; mount --bind "$pod/$name" "$root/$name"; done
while [ "$1" != -- ]; do
  mkdir -p "$root$2"; mount --bind "$1" "$root$2"
  [ "$3" = rw ] || mount -o remount,bind,ro "$root$2" 2>/dev/null || :
  shift 3
done
shift
exec chroot "$root" "$@"
"""


def can_run_pods() -> bool:
    """Says whether this machine lets its user make a root of its own."""
    if not all(shutil.which(tool, path=PATH) for tool in ("unshare", "chroot")):
        return False
    tried = subprocess.run(
        [*_unshare(), "sh", "-c", "mount -t tmpfs tmpfs /mnt"], capture_output=True, check=False
    )
    return tried.returncode == 0


def run_pod(
    folder: Path,
    command: Sequence[str],
    mounts: Mapping[str, Path],
    environment: Mapping[str, str],
) -> tuple[int, str]:
    """Runs a command in a root of its own; returns its exit status and what it printed.

    Args:
        folder: the pod's own folders, seen from outside: `tmp`, `minio` and so on.
        command: `python` in it is this interpreter.
        mounts: folders by where the pod sees them.
        environment: all of the process's but PATH and HOME.
    """
    for name in (*OWN, "root"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    binds = [(str(source), place, "rw") for place, source in mounts.items()]
    for needed in {str(REPOSITORY), sys.prefix, sys.base_prefix}:
        if Path(needed).parts[1] in OWN:
            binds.insert(0, (needed, needed, "ro"))
    python = [sys.executable if part == "python" else part for part in command[:1]]
    variables = {
        "PATH": PATH,
        "HOME": "/tmp",
        **environment,
    }
    ran = subprocess.run(
        [
            *_unshare(),
            "sh",
            "-c",
            SCRIPT,
            "pod",
            str(folder / "root"),
            " ".join(OWN),
            str(folder),
            *(part for bind in binds for part in bind),
            "--",
            *python,
            *command[1:],
        ],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    return ran.returncode, ran.stdout


@functools.cache
def _unshare() -> list[str]:
    """Returns the command that gives mounts of its own.

    In a changed root, as `scripts/modern_root.sh` makes it, propagation cannot be set; there it is
    private already.
    """
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    private = ["unshare", "--mount", "--propagation", "private", *user]
    tried = subprocess.run([*private, "true"], capture_output=True, check=False)
    unchanged = ["unshare", "--mount", "--propagation", "unchanged", *user]
    return unchanged if tried.returncode else private
