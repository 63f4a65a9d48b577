# Shared by the scripts beside it: messages, retries, and the choice of the dependency stack.
# shellcheck shell=bash

MODERN_GLIBC=2.39     # TFX 1.21's ml-metadata wheels carry this tag and do not load on less.
COMPATIBLE_GLIBC=2.17 # TFX 1.16's wheels are manylinux2014.

# A service that calls make may leave HOME unset; caches live there.
export HOME="${HOME:-$(getent passwd "$(id -u)" | cut -d : -f 6)}"

say() { printf 'graft: %s\n' "$*" >&2; }

fail() {
  say "$@"
  exit 1
}

# at_least VERSION MINIMUM: whether VERSION is MINIMUM or later, component by component.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# retry COMMAND…: five tries with 2, 4, 8 and 16 seconds between, since name look-ups fail at times.
retry() {
  local attempt pause=${GRAFT_RETRY_SECONDS:-2}
  for attempt in 1 2 3 4 5; do
    "$@" && return 0
    [ "$attempt" -lt 5 ] || break
    say "try $attempt of 5 failed: ${*:1:3} …; again in ${pause} s"
    sleep "$pause"
    pause=$((pause * 2))
  done
  return 1
}

# apt_install PACKAGE…: on Debian and Ubuntu, as root, without questions.
apt_install() {
  retry apt-get -q update >&2 &&
    DEBIAN_FRONTEND=noninteractive retry apt-get -q install -y --no-install-recommends "$@" >&2
}

glibc_version() { getconf GNU_LIBC_VERSION 2>/dev/null | awk '{print $2}'; }

# choose_stack: sets `stack` (modern or compatible), `pythons` (best first) and `reason` from what
# the host can load, or from STACK.
choose_stack() {
  local glibc
  glibc=$(glibc_version)
  [ "$(uname -s) $(uname -m)" = "Linux x86_64" ] && at_least "${glibc:-0}" "$COMPATIBLE_GLIBC" ||
    fail "Expected Linux on x86_64 with glibc $COMPATIBLE_GLIBC or later. Received:" \
      "$(uname -s) $(uname -m), glibc=${glibc:-none}. Use such a machine or a container."
  case "${STACK:-}" in
    "")
      if at_least "$glibc" "$MODERN_GLIBC"; then
        stack=modern reason="glibc $glibc is $MODERN_GLIBC or later"
      else
        stack=compatible reason="glibc $glibc is older than $MODERN_GLIBC, which TFX 1.21 needs"
      fi
      ;;
    modern | compatible)
      stack=$STACK reason="STACK=$STACK was given"
      if [ "$stack" = modern ] && ! at_least "$glibc" "$MODERN_GLIBC"; then
        say "warning: glibc $glibc is older than $MODERN_GLIBC; the modern stack may not install or load"
      fi
      ;;
    *)
      fail "Expected STACK to be modern or compatible. Received: STACK=$STACK." \
        "Leave it out to take what this machine can load."
      ;;
  esac
  if [ "$stack" = modern ]; then pythons="3.13 3.12 3.11"; else pythons="3.10"; fi
}
