#!/bin/sh
# sanitize.sh [SECONDS]: the reader, the encoder and the exceptions under libFuzzer (for SECONDS, 60 if left out) and valgrind, the sessions
# under ThreadSanitizer, and the addon's own tests under AddressSanitizer. Needs clang, gcc, valgrind, and a built addon.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-60}
node=${NODE24:-node}
build=$PWD/test/build
strict='-std=gnu11 -g -Wall -Wextra -D_GNU_SOURCE -I. -Ibuild-libpcap/source'
reader='block.c file_reader.c file_pcapng.c failure.c'
sets='headers.c exceptions.c judge.c'
sessions="session.c session_live.c session_file.c pool.c filter.c texts.c link_type.c status.c posix/wake.c posix/input.c linux/wake.c linux/intake.c linux/stat.c"
mkdir -p "$build/corpus" "$build/files"

echo "== fuzzing for $seconds s"
"$node" test/seeds.js "$build/corpus"
"$node" test/seeds_judge.js "$build/corpus-judge"
fuzz() { # NAME MAX_LENGTH SECONDS SOURCE CORPUS [DEFINES…]
  name=$1 length=$2 time=$3 source=$4 corpus=$5
  shift 5
  # shellcheck disable=SC2086 # lists of words
  clang $strict "$@" -O1 -fno-sanitize-recover=all -fsanitize=address,undefined,fuzzer -o "$build/$name" "$source" $reader $sets
  "$build/$name" -max_total_time="$time" -max_len="$length" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
    -artifact_prefix="$build/" "$corpus"
}
# With small buffers, so that what doesn't fit into them comes often and fast; then as they are.
fuzz fuzz-small 4096 "$seconds" test/fuzz.c "$build/corpus" -DMAX_SNAPLEN=256u -DFILE_BUFFER_BYTES=1024u
fuzz fuzz 1300000 "$((seconds / 4))" test/fuzz.c "$build/corpus"
fuzz fuzz-judge 2048 "$seconds" test/fuzz_judge.c "$build/corpus-judge"

echo '== valgrind'
"$node" test/seeds.js "$build/files" bare
# shellcheck disable=SC2086
gcc $strict -O1 -o "$build/harness" test/harness.c $reader
valgrind --quiet --error-exitcode=1 --leak-check=full "$build/harness" "$build"/files/* >/dev/null

echo '== threads'
# shellcheck disable=SC2086
clang $strict -O1 -fsanitize=thread -Itest/uv -Wl,--wrap=stat,--wrap=setsockopt -o "$build/sessions" test/sessions.c $reader $sets $sessions build-libpcap/out-linux-x64/libpcap.a
TSAN_OPTIONS=halt_on_error=1 "$build/sessions" "$build"/files/*
# shellcheck disable=SC2086
gcc $strict -O1 -Itest/uv -Wl,--wrap=stat,--wrap=setsockopt -o "$build/sessions-plain" test/sessions.c $reader $sets $sessions build-libpcap/out-linux-x64/libpcap.a
valgrind --quiet --error-exitcode=1 --leak-check=full "$build/sessions-plain" "$build"/files/*

echo '== the addon'
headers=$(dirname "$(dirname "$(readlink -f "$(command -v "$node")")")")/include/node
out=$build/asan/prebuilds/linux-x64
mkdir -p "$out"
# shellcheck disable=SC2046,SC2086 # what binding.gyp lists
gcc $strict -O1 -shared -fPIC -fvisibility=hidden -fsanitize=address,undefined -fno-omit-frame-pointer -DNAPI_VERSION=8 -I"$headers" \
  -o "$out/node-pcap-native.node" $(sed -n 's/^ *"\(.*\.c\)",*$/\1/p' binding.gyp) \
  build-libpcap/out-linux-x64/libpcap.a -Wl,--wrap=stat,--wrap=setsockopt,--exclude-libs,ALL
# Node's own memory is none of our business, and it doesn't free all of it.
NODE_PCAP_NATIVE_PREBUILD=$build/asan LD_PRELOAD=$(gcc -print-file-name=libasan.so) \
  ASAN_OPTIONS=detect_leaks=0:halt_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
  "$node" --test --test-skip-pattern='memory of blocks|200 sessions' test/*.test.js
