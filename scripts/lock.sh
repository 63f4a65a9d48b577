#!/usr/bin/env bash
# Makes requirements.lock again from pyproject.toml: one file with hashes for both stacks.
# Pins stay where they still fit; give --upgrade, or --upgrade-package NAME, to move them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh

# What this machine prefers must not decide what everyone installs.
unset UV_FIND_LINKS UV_CONSTRAINT UV_OVERRIDE UV_BUILD_CONSTRAINT UV_RESOLUTION UV_PRERELEASE \
  UV_EXCLUDE_NEWER UV_FORK_STRATEGY UV_NO_BINARY UV_ONLY_BINARY UV_PYTHON UV_SYSTEM_PYTHON VIRTUAL_ENV

uv=$(scripts/uv.sh --pinned)
retry "$uv" pip compile pyproject.toml --all-extras --universal --python-version 3.10 \
  --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
  --quiet --output-file requirements.lock "$@" ||
  fail "Expected pyproject.toml to resolve for both stacks. Received: five failures, above. requirements.lock is as it was."
say "requirements.lock is fresh"
