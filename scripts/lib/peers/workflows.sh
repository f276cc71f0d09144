# shellcheck shell=bash
# Synod's workflows beside Restate's. Sourced by scripts/bench-peers, which says where `here` and `cache` are.

restate_version=1.7.12
restate_sdk_version=1.17.2
node_version=24.21.0      # where the machine has none that the SDK runs on
node_least=22

# restate_folder: installs what is missing, and says where it is.
restate_folder() {
    local machine folder=$cache/restate-$restate_version
    machine=$(node -p process.arch)
    local packages=("@restatedev/restate-server@$restate_version" "@restatedev/restate-sdk@$restate_sdk_version")
    (($(node -p 'parseInt(process.versions.node)') >= node_least)) || packages+=("node-linux-$machine@$node_version")
    if [[ ! -e $folder/installed ]]; then
        mkdir -p "$folder"
        (cd "$folder" && npm init -y >/dev/null && npm install --no-audit --no-fund "${packages[@]}" && touch installed) >&2
    fi
    echo "$folder"
}

# restate_conf FOLDER INGRESS ADMIN NODE FSYNC: all else is as it comes.
restate_conf() {
    cat <<TOML
base-dir = "$1/data"
bind-ip = "127.0.0.1"
bind-port = $4
listen-mode = "tcp"
disable-telemetry = true
log-filter = "warn"
log-disable-ansi-codes = true
[ingress]
bind-port = $2
[admin]
bind-port = $3
disable-web-ui = true
# 512 runs and the call of each are more than the 1,000 that it comes with.
[worker.invoker]
concurrent-invocations-limit = 4000
[log-server]
rocksdb-disable-wal-fsync = $5
TOML
}

# start_restate FOLDER WORK NO_FSYNC: Restate and the service of restate.mjs, until both serve. Sets `restate_ingress`, `restate_node`,
# and `restate_pids`, which whoever calls ends: the service, the server.
start_restate() {
    local folder=$1 work=$2 no_fsync=$3 admin internal service arch
    read -r restate_ingress admin internal service < <(free_ports 4)
    arch=$(node -p process.arch)
    restate_node=$folder/node_modules/node-linux-$arch/bin/node
    [[ -x $restate_node ]] || restate_node=node
    cp "$here/lib/peers/restate.mjs" "$folder/"
    (cd "$folder" && NODE_ENV=production RESTATE_LOGGING=ERROR exec "$restate_node" restate.mjs "$service") >"$work/service.log" 2>&1 &
    restate_pids=($!)
    restate_conf "$work" "$restate_ingress" "$admin" "$internal" "$no_fsync" >"$work/restate.toml"
    "$folder/node_modules/@restatedev/restate-server-linux-$arch/bin/restate-server" --no-logo --config-file "$work/restate.toml" \
        >"$work/restate.log" 2>&1 &
    restate_pids+=($!)
    # It is registered once both serve; whoever ends before that says why in its log.
    local ends=$((SECONDS + 60))
    until curl -sf -m 10 -o /dev/null -H 'content-type: application/json' -d "{\"uri\": \"http://127.0.0.1:$service\"}" \
        "http://127.0.0.1:$admin/deployments"; do
        if ((SECONDS > ends)) || ! kill -0 "${restate_pids[0]}" 2>/dev/null || ! kill -0 "${restate_pids[1]}" 2>/dev/null; then
            cat "$work/service.log" "$work/restate.log" >&2
            echo "bench-peers: Restate does not start (above is why)" >&2
            return 1
        fi
        sleep 0.1
    done
}

stop_restate() {
    local pid
    for pid in "${restate_pids[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
}

restate_pids=() restate_ingress='' restate_node=node

# beside_restate [--fsync] [--write] WORDS…
beside_restate() {
    local no_fsync=true written='without fsync' write=''
    while [[ ${1:-} == --fsync || ${1:-} == --write ]]; do
        case $1 in
            --fsync) no_fsync=false written='with fsync' ;;
            --write) write=1 ;;
        esac
        shift
    done
    local folder
    folder=$(restate_folder)
    work=$(mktemp -d)
    stop() {
        stop_restate
        rm -rf "$work"
    }
    trap stop EXIT
    start_restate "$folder" "$work" "$no_fsync"
    export SYNOD_BENCH_BESIDE="Restate $restate_version ($written), its SDK $restate_sdk_version on Node $("$restate_node" --version)"
    local words=(--scene workflows --restate "http://127.0.0.1:$restate_ingress" "$@")
    if [[ -z $write ]]; then
        "$here/bench" "${words[@]}"
        return
    fi
    "$here/bench" "${words[@]}" --json >"$work/report.json"
    python3 "$here/lib/peers/document.py" workflows "$work/report.json"
    python3 "$here/lib/peers/document.py" workflows "$work/report.json" --write "$root/docs/benchmarks.md"
}
