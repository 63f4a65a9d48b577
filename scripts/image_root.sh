#!/usr/bin/env bash
# Builds the container image's root file system by the Dockerfile's own scripts, without an engine,
# and runs a command in it as the image's user, with its code read-only and only /tmp to write to.
# Usage: scripts/image_root.sh COMMAND…      GRAFT_IMAGE_ROOT=DIR puts the root elsewhere,
# ACCELERATOR=cuda makes the GPU variant beside it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh

CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/graft
ACCELERATOR=${ACCELERATOR:-cpu}
IMAGE=${GRAFT_IMAGE_ROOT:-$CACHE/image}
[ "$ACCELERATOR" = cpu ] || IMAGE=$IMAGE-$ACCELERATOR
BUILD=$IMAGE.build
USER_ID=65532
PACKAGES=ca-certificates   # before this machine's own certificates are copied in
ROOT=$IMAGE.base
INSIDE=/src

. scripts/debian_root.sh

[ $# -gt 0 ] || fail "Expected a command to run in the image's root. Received: none. Try: $0 graft --help"

# What the Dockerfile's COPY would see, by .dockerignore.
context() {
  sed -n 's/^!//p' .dockerignore | xargs git -c safe.directory='*' ls-files -z --cached --others --exclude-standard
}

wanted() {
  {
    cat scripts/image_root.sh scripts/debian_root.sh kubeflow/Dockerfile .dockerignore
    context | xargs -0 sha256sum
  } | sha256sum
}

# in_root ROOT COMMAND…: as root, in a stage under construction.
in_root() {
  local root=$1
  shift
  (ROOT=$root && enter "$@")
}

# Packages that the modern stack's root has fetched need not be fetched again.
share_cache() {
  local known=$CACHE/trixie/graft/home/.cache/uv
  mkdir -p "$BUILD/graft/home/.cache"
  [ ! -d "$known" ] || cp -al "$known" "$BUILD/graft/home/.cache/uv" 2>/dev/null || :
}

build_image() {
  remove_root "$BUILD"
  remove_root "$IMAGE"
  cp -a "$ROOT" "$BUILD"
  cp -a "$ROOT" "$IMAGE"
  rm -f "$IMAGE/graft-root" "$IMAGE/usr/local/bin/uv"
  rm -rf "$IMAGE/graft"
  mkdir -p "$BUILD$INSIDE"
  context | tar --create --null --files-from=- | tar --extract --no-same-owner --directory "$BUILD$INSIDE"
  share_cache
  say "stage 1 of 2: kubeflow/image/build.sh $ACCELERATOR"
  in_root "$BUILD" kubeflow/image/build.sh "$ACCELERATOR" >&2
  say "stage 2 of 2: kubeflow/image/finish.sh"
  cp -a "$BUILD/opt/graft" "$IMAGE/opt/graft"
  mkdir -p "$IMAGE$INSIDE"
  cp kubeflow/image/finish.sh "$IMAGE/tmp/finish.sh"
  in_root "$IMAGE" /tmp/finish.sh >&2
  rm -rf "$IMAGE/tmp/finish.sh" "${IMAGE:?}$INSIDE" "$IMAGE/graft"
  remove_root "$BUILD"
  say "the image's root takes $(du -sh "$IMAGE" | cut -f 1), of which $(du -sh "$IMAGE/opt/graft" | cut -f 1) are /opt/graft"
}

# As the kubelet would: the environment of the Dockerfile, another user, a root that stays as it is
# but for the launcher's folders, which older backends mount nothing on.
run_in_image() {
  local variables
  mapfile -t variables < <(sed -n '/^ENV /,/[^\\]$/p' kubeflow/Dockerfile | sed 's/^ENV//; s/\\$//; s/^ *//; s/ *$//')
  # shellcheck disable=SC2016  # expanded by the inner shell
  exec unshare --mount --propagation private bash -euc '
    root=$1 user=$2; shift 2
    mount --bind "$root" "$root"
    mount --rbind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
    for folder in minio gcs s3; do mount --bind "$root/$folder" "$root/$folder"; done
    mount -o remount,bind,ro "$root"
    exec chroot "$root" \
      setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs "$@"
  ' bash "$IMAGE" "$USER_ID" env -i --chdir=/opt/graft LANG=C.UTF-8 "${variables[@]}" "$@"
}

[ "$(id -u)" = 0 ] ||
  fail "Expected root, to make and enter the image's root file system. Received: user $(id -un)." \
    "Call it as root, or build the image with an engine and run scripts/image_check.sh in it."
require_host
take_turn
if [ "$(cat "$IMAGE/opt/graft/built" 2>/dev/null)" != "$(wanted)" ]; then
  make_root
  copy_settings
  build_image
  wanted >"$IMAGE/opt/graft/built"
fi
run_in_image "$@"
