#!/usr/bin/env bash
# Prints the path of a uv that answers: the one on PATH if it is recent enough, else a pinned one
# that is brought into .tools/. With --pinned only the pinned one will do (the lock depends on it).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh

MINIMUM=0.8.0
PINNED=$(sed -n 's/^uv==\([0-9.]*\).*/\1/p' scripts/uv.txt)
TOOL="$PWD/.tools/uv-$PINNED"

# A host's wish to install elsewhere is about its own environments, not about ours.
unset PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV

# version_of UV: its version, or nothing when it does not answer (a pyenv shim fails so).
version_of() { "$1" --version 2>/dev/null | sed -n 's/^uv \([0-9][0-9.]*\).*/\1/p' || true; }

uv_on_path() {
  local candidate version
  while read -r candidate; do
    version=$(version_of "$candidate")
    [ -n "$version" ] || continue
    if [ "$1" = --pinned ]; then
      [ "$version" = "$PINNED" ] || continue
    else
      at_least "$version" "$MINIMUM" || continue
    fi
    printf '%s\n' "$candidate"
    return 0
  done < <(type -aP uv)
  return 1
}

working_python() {
  local candidate
  while read -r candidate; do
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null || continue
    printf '%s\n' "$candidate"
    return 0
  done < <(type -aP python3)
  return 1
}

pip_into() { "$@" --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r scripts/uv.txt; }

bring_uv() {
  local python
  python=$(working_python) ||
    fail "Expected a python3 of 3.8 or later, or uv $MINIMUM or later, on PATH. Received: neither answers." \
      "Install python3 with its venv module (Debian: apt-get install python3-venv), or uv."
  say "bringing uv $PINNED into .tools/"
  new="$TOOL.$$"
  trap 'rm -rf "$new"' EXIT
  if "$python" -c 'import ensurepip, venv' 2>/dev/null && "$python" -m venv "$new" >&2; then
    retry pip_into "$new/bin/python" -m pip install >&2 || fail_to_bring
  elif "$python" -m pip --version >/dev/null 2>&1; then
    rm -rf "$new"
    retry pip_into "$python" -m pip install --target "$new" >&2 || fail_to_bring
  else
    fail "Expected python3 with venv or pip, or uv $MINIMUM or later, on PATH. Received: $python with neither." \
      "Install one of them (Debian: apt-get install python3-venv)."
  fi
  rm -rf "$TOOL"
  mv "$new" "$TOOL"
}

fail_to_bring() {
  fail "Expected to install uv $PINNED from the package registry. Received: five failures, above." \
    "Check the network and pip's settings, or put uv $MINIMUM or later on PATH."
}

uv_on_path "${1:-}" && exit 0
[ -n "$(version_of "$TOOL/bin/uv")" ] || bring_uv
printf '%s\n' "$TOOL/bin/uv"
