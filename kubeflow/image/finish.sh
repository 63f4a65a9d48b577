#!/usr/bin/env bash
# The image's last stage: Python without build tools, and a user without rights.
# Usage, as root in Debian 13, after /opt/graft was copied here: finish.sh
set -euo pipefail

USER_ID=65532

apt-get -q update
DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends python3 ca-certificates
rm -rf /var/lib/apt/lists/* /var/cache/apt/*

/usr/sbin/useradd --system --uid "$USER_ID" --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin graft
# The launcher makes folders below these, as the image's user; where it mounts volumes they hide them.
for folder in /minio /gcs /s3 /mnt; do
  mkdir -p "$folder"
  chown "$USER_ID:$USER_ID" "$folder"
done
