# Part of native.sh: libpcap's source, and the small static library that is made of it for each system.

# Debian's source package of this version, from this release, and what its upstream archive must hash to.
libpcap_release=trixie
libpcap_version=1.10.5
libpcap_sha256=84fa89ac6d303028c1c5b754abff77224f45eca0a94eb1a34ff0aa9ceece3925

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
  [ ! -f "$work/source/pcap.h" ] || return 0
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

# Only what captures from a system's own interfaces: no D-Bus, USB, Bluetooth, RDMA, remote capture, vendor cards.
configure_libpcap() { # FOLDER, then more arguments of configure
  rm -rf "$work/$1" && mkdir "$work/$1" && cd "$work/$1" || return 1
  shift
  ../source/configure --disable-shared --disable-dbus --disable-usb --disable-bluetooth --disable-rdma --disable-remote \
    --disable-netmap --without-libnl --without-dag --without-septel --without-snf --without-turbocap --without-dpdk "$@"
}
# libpcap FOLDER WORDS MAKE: in the folder `out-OS-ARCH` that binding.gyp looks into, by a function that configures and makes;
# its name begins with that of the script that it is in.
libpcap() {
  libpcap_from=$(fingerprint "$scripts/libpcap.sh" "$scripts/${3%%_*}"*)
  if stamped "$work/$1/.stamp" "$libpcap_from"; then return 0; fi
  (quietly "building libpcap for $2" "$3")
  echo "$libpcap_from" >"$work/$1/.stamp"
}
