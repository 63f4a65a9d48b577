#!/usr/bin/env bash
# Makes .venv what requirements.lock says, with this project installed in it as editable.
# What was installed is remembered as a digest, so a call with nothing changed runs no uv at all.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh

PYTHON=.venv/bin/python
STAMP=.venv/graft-installed

# The checkout's place counts too: scripts in .venv name it.
wanted() {
  {
    printf '%s\n' "$stack" "$PWD" "$(readlink -f "$PYTHON")"
    cat .venv/pyvenv.cfg pyproject.toml requirements.lock
  } 2>/dev/null | sha256sum
}

is_installed() { [ -x "$PYTHON" ] && [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$(wanted)" ]; }

# pyenv's shims may refuse although the version is there, so its versions are searched directly.
extend_path() {
  local root folder
  root=${PYENV_ROOT:-$HOME/.pyenv}
  for folder in "$root"/versions/3.1[0-3]*/bin; do
    [ -d "$folder" ] && PATH="$PATH:$folder"
  done
  export PATH
}

# Some self-built interpreters lack modules for want of headers; TFX needs these.
is_complete() { "$1" -c 'import bz2, ctypes, lzma, sqlite3, ssl' 2>/dev/null; }

find_python() {
  local version found
  for version in $pythons; do
    found=$("$uv" python find --system --no-project --no-python-downloads "$version" 2>/dev/null) || continue
    is_complete "$found" || continue
    printf '%s\n' "$found"
    return 0
  done
  return 1
}

fetch_python() {
  local version=${pythons%% *}
  say "no Python ${pythons// /, } on this machine; uv fetches its own Python $version"
  retry "$uv" python install --quiet "$version" >&2 ||
    fail "Expected Python ${pythons// /, } on this machine or from uv. Received: none." \
      "Install python${version} (with your system's packages or pyenv) and call make again."
  "$uv" python find --system --no-project --no-python-downloads "$version"
}

# Hard links do not cross file systems; asking for copies there avoids a warning on every install.
choose_link_mode() {
  local cache
  cache=$("$uv" cache dir)
  mkdir -p "$cache"
  if [ -z "${UV_LINK_MODE:-}" ] && [ "$(stat -c %d "$cache")" != "$(stat -c %d .)" ]; then
    export UV_LINK_MODE=copy
  fi
}

make_environment() {
  local python
  python=$(find_python) || python=$(fetch_python)
  # Without a stamp an install was cut short, and nobody knows which packages are whole.
  if [ ! -f "$STAMP" ] || [ "$(readlink -f "$PYTHON")" != "$(readlink -f "$python")" ]; then
    rm -rf .venv
    "$uv" venv --quiet --no-project --python "$python" .venv
  fi
  rm -f "$STAMP"
  say "installing requirements.lock for $("$PYTHON" --version) into .venv"
  retry "$uv" pip sync --quiet --python "$PYTHON" --require-hashes requirements.lock ||
    fail "Expected to install requirements.lock. Received: five failures, above." \
      "Check the network and free disk space (about 4 GB), and call make again."
  "$uv" pip install --quiet --python "$PYTHON" --no-deps --no-build-isolation --offline --editable .
}

choose_stack
say "$stack stack (Python ${pythons// /, }): $reason"
is_installed && exit 0

# Another environment's settings must not turn the install away from .venv.
unset VIRTUAL_ENV CONDA_PREFIX UV_PYTHON UV_SYSTEM_PYTHON UV_TARGET UV_PREFIX UV_CONSTRAINT UV_OVERRIDE UV_NO_BINARY

mkdir -p .tools
if command -v flock >/dev/null; then
  exec 9>.tools/install.lock
  flock 9
  is_installed && exit 0
fi
uv=$(scripts/uv.sh)
extend_path
choose_link_mode
make_environment
wanted >"$STAMP.new"
mv "$STAMP.new" "$STAMP"
say "installed in ${SECONDS} s"
