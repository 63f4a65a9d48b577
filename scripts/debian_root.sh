# Shared by the scripts that work in a Debian 13 root: making it, copying into it, entering it.
# A script sets ROOT (the folder) and PACKAGES (comma-separated, may be empty) and sources this.
# shellcheck shell=bash disable=SC2153

SUITE=trixie
STAMP=$ROOT/graft-root     # written last: a root without it is unfinished

require_host() {
  [ "$(id -u)" = 0 ] ||
    fail "Expected root, to make and enter a Debian 13 root. Received: user $(id -un)." \
      "Call it as root, or run 'make test' on a machine with glibc $MODERN_GLIBC or later."
  unshare --mount true 2>/dev/null ||
    fail "Expected the right to mount. Received: unshare --mount is refused (a container without CAP_SYS_ADMIN?)." \
      "Run 'make test' in a debian:trixie container instead."
  command -v debootstrap >/dev/null && return
  command -v apt-get >/dev/null ||
    fail "Expected debootstrap. Received: neither it nor apt-get is here. Install debootstrap with your system's packages."
  say "installing debootstrap"
  apt_install debootstrap debian-archive-keyring ||
    fail "Expected to install debootstrap with apt-get. Received: five failures, above."
}

# Removes a root, but never through a mount into this machine's own /dev or /proc.
remove_root() {
  if grep -qF " $(readlink -m "$1")/" /proc/self/mountinfo; then
    fail "Expected nothing mounted under $1. Received: mounts. Unmount them, then call again."
  fi
  rm -rf --one-file-system "$1"
}

# Lets one call at a time in, until its command ends: each replaces the copy that another tests.
take_turn() {
  mkdir -p "$(dirname "$ROOT")"
  exec 9>"$ROOT.lock"
  flock --nonblock 9 && return
  say "waiting for another call that uses $ROOT"
  flock 9
}

make_root() {
  local key new="$ROOT.new"
  key=$(printf '%s\n' "$SUITE" "$PACKAGES" | cat - scripts/debian_root.sh | sha256sum)
  [ "$(cat "$STAMP" 2>/dev/null)" = "$key" ] && return
  say "making a Debian 13 root in $ROOT (about a minute)"
  retry bootstrap "$new" || fail "Expected debootstrap to make $new. Received: five failures; see $new.log."
  printf '%s\n' "$key" >"$new/graft-root"
  remove_root "$ROOT"
  mv "$new" "$ROOT"
  rm -f "$new.log"
}

bootstrap() {
  remove_root "$1"
  debootstrap --variant=minbase ${PACKAGES:+--include="$PACKAGES"} "$SUITE" "$1" >"$1.log" 2>&1 </dev/null
}

# copy_in FILE: the same file at the same place in the root, when there is one.
copy_in() {
  [ -f "$1" ] || return 0
  mkdir -p "$ROOT$(dirname "$1")"
  cp -fL "$1" "$ROOT$1"
}

# What reaches a registry from here must do so from the root: names, certificates, pip's and uv's settings.
copy_settings() {
  local file
  for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt /etc/pip.conf /etc/uv/uv.toml; do
    copy_in "$file"
  done
  for file in "${SSL_CERT_FILE:-}" "${REQUESTS_CA_BUNDLE:-}" "${CURL_CA_BUNDLE:-}" "${PIP_CERT:-}" \
    "${PIP_CONFIG_FILE:-}" "${UV_CONFIG_FILE:-}"; do
    copy_in "$file"
  done
  for file in .config/pip/pip.conf .pip/pip.conf .config/uv/uv.toml; do
    mkdir -p "$ROOT/graft/home/$(dirname "$file")"
    [ ! -f "$HOME/$file" ] || cp -f "$HOME/$file" "$ROOT/graft/home/$file"
  done
  cp -f "$(scripts/uv.sh)" "$ROOT/usr/local/bin/uv"
}

# enter COMMAND…: with mounts that only this process and its children see, so that they are gone
# when it ends, however it ends; with nothing of this machine's environment but the way out.
enter() {
  local variables=() name
  for name in SSL_CERT_FILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE PIP_CERT PIP_CONFIG_FILE UV_CONFIG_FILE \
    PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_DEFAULT_TIMEOUT UV_INDEX_URL UV_DEFAULT_INDEX UV_INDEX \
    UV_HTTP_TIMEOUT http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    [ -z "${!name:-}" ] || variables+=("$name=${!name}")
  done
  # shellcheck disable=SC2016  # expanded by the inner shell
  exec unshare --mount --propagation private bash -euc '
    root=$1 data=$2 inside=$3; shift 3
    mount --rbind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    if [ -d "$data" ]; then
      mkdir -p "$root/graft/shared/data"
      mount --bind "$data" "$root/graft/shared/data"
      mount -o remount,bind,ro "$root/graft/shared/data"
    fi
    exec chroot "$root" bash -euc "cd \"\$1\"; shift; exec \"\$@\"" bash "$inside" "$@"
  ' bash "$ROOT" "$PWD/../shared/data" "$INSIDE" \
    env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/graft/home LANG=C.UTF-8 \
    ${variables[@]+"${variables[@]}"} "$@"
}
