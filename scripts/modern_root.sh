#!/usr/bin/env bash
# Runs a command on a copy of this repository where the modern stack can load: here, when this
# machine can, else in a Debian 13 root that is made once, outside the work tree, and reused.
# Usage: scripts/modern_root.sh COMMAND…      GRAFT_MODERN_ROOT=DIR puts the root elsewhere.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh

PACKAGES=python3,python3-venv,python3-dev,g++,make,git,ca-certificates
ROOT=${GRAFT_MODERN_ROOT:-${XDG_CACHE_HOME:-$HOME/.cache}/graft/trixie}
INSIDE=/graft/repository   # tests look for shared data at ../shared/data
WORK=$ROOT$INSIDE

. scripts/debian_root.sh

[ $# -gt 0 ] || fail "Expected a command to run on the modern stack. Received: none. Try: $0 make test"

if at_least "$(glibc_version)" "$MODERN_GLIBC"; then
  say "this machine has glibc $(glibc_version): the modern stack runs here, no Debian root is needed"
  exec "$@"
fi

# Replaces the copy but for its environment; the copy is a repository of its own, as tests ask git.
copy_repository() {
  mkdir -p "$WORK"
  find "$WORK" -mindepth 1 -maxdepth 1 ! -name .venv ! -name .tools -exec rm -rf {} +
  git -c safe.directory='*' ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
    tar --create --null --files-from=- | tar --extract --no-same-owner --directory "$WORK"
  git -C "$WORK" init --quiet
  git -C "$WORK" add --all
}

require_host
take_turn
make_root
copy_settings
copy_repository
say "in the Debian 13 root $ROOT: $*"
enter "$@"
