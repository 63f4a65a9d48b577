#!/usr/bin/env bash
# The image's first stage: an environment in /opt/graft/venv with the locked packages and Graft.
# Usage, as root in Debian 13: build.sh cpu|cuda, in a folder with what .dockerignore lets through.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. scripts/lib.sh

accelerator=${1:-cpu}
case "$accelerator" in
  cpu) lock=kubeflow/image/requirements.lock ;;
  cuda) lock=kubeflow/image/requirements-cuda.lock ;;
  *) fail "Expected ACCELERATOR to be cpu or cuda. Received: ACCELERATOR=$accelerator." ;;
esac

VENV=/opt/graft/venv

codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-unknown}")
[ "$codename" = trixie ] ||
  fail "Expected Debian 13 (trixie), whose Python 3.13 the lock is for. Received: $codename." \
    "Give BASE=debian:trixie-slim@sha256:…."

# There is no compiler here: what has no wheel (kfp-server-api) is plain Python.
/usr/bin/python3 -c 'import ensurepip' 2>/dev/null ||
  apt_install python3 python3-venv ca-certificates
uv=$(scripts/uv.sh)
rm -rf "$VENV"
mkdir -p /opt/graft/bases
"$uv" venv --quiet --no-project --python /usr/bin/python3 "$VENV"
retry "$uv" pip sync --quiet --python "$VENV/bin/python" --require-hashes "$lock" ||
  fail "Expected to install $lock. Received: five failures, above."
# Setuptools is in the lock, so that building Graft's own wheel asks no registry.
"$uv" pip install --quiet --python "$VENV/bin/python" --no-deps --no-build-isolation --offline .

# Tests of packages, which nobody runs in a pod, are a tenth of its size. numpy.testing stays: it is
# imported by others.
find "$VENV/lib" -type d \( -name tests -o -name testdata \) -prune -exec rm -rf {} +
"$VENV/bin/python" -m compileall -q -j 0 "$VENV/lib" >/dev/null || :
# Here, not in the last stage: a change of mode there would store every file a second time.
chmod -R go-w /opt/graft
say "$(du -sh "$VENV" | cut -f 1) in $VENV"
