# rcap, packaged, for the side-by-side benchmark (bench.mjs … --extra scripts/bench/rcap.sh). The harness reads the files
# right under RB_OUT, so that folder is the one of a host with its name.
TITLE="rcap" TRANSPORT=tls ONESHOT=0
rcap_dist=$(dirname "${BASH_SOURCE[0]}")/../../dist
available() { [ -x "$rcap_dist/rcap-agent-linux-x64" ] || { echo "needs npm run package"; return 1; }; }
start_collector() {
  "$rcap_dist/rcap-collector-linux-x64" token new --state "$RB_RUN/state" >"$RB_RUN/token"
  as_collector -s "$rcap_dist/rcap-collector-linux-x64" --listen "0.0.0.0:$RB_PORT" --state "$RB_RUN/state" \
    --captures "$(dirname "$RB_OUT")" --tls-cert "$RB_CERT" --tls-key "$RB_KEY"
}
rcap_agent() {
  as_agent -s "$rcap_dist/rcap-agent-linux-x64" --server "$RB_HOST:$RB_PORT" --ca "$RB_CA" --token-file "$RB_RUN/token" \
    --host-name "$(basename "$RB_OUT")" "$@"
}
start_agent_offline() { rcap_agent -r "$RB_IN"; }
start_agent_live() { rcap_agent -i "$RB_IF" ${RB_CAPBUF:+-B "${RB_CAPBUF}K"}; }
# Manifests are no capture files.
stop_collector() {
  signal_role collector TERM
  for _ in $(seq 1 500); do ls "$RB_RUN"/collector.*.pid >/dev/null 2>&1 || break; sleep 0.02; done
  rm -f "$RB_OUT"/*.json
}
