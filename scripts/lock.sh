#!/usr/bin/env bash
# Makes requirements.lock again from pyproject.toml: one file with hashes for both stacks; and from
# both the two of the container image, which leave out what only development needs.
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

# lock_image FILE INPUT…: what the image installs, at the versions of requirements.lock.
lock_image() {
  local file=$1
  shift
  retry "$uv" pip compile pyproject.toml "$@" --extra kubeflow --extra heif --extra keras-hub \
    --python-version 3.13 --python-platform x86_64-manylinux_2_39 --constraint requirements.lock \
    --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate \
    --custom-compile-command "make lock" --quiet --output-file "$file" ||
    fail "Expected $file to resolve. Received: five failures, above. It is as it was."
  say "$file is fresh"
}

lock_image kubeflow/image/requirements.lock
lock_image kubeflow/image/requirements-cuda.lock kubeflow/image/cuda.in
