# shellcheck shell=bash
# Synod's tasks beside Restate's services, BullMQ, Celery and FastStream. Sourced by scripts/bench-peers, which says where `here`, `root`
# and `cache` are, after workflows.sh, which brings Restate.
#
# Each is asked by a process in its own language (scripts/lib/peers/requests) that `synod bench --scene requests` drives.

requests_bullmq_version=6.7.0
requests_ioredis_version=6.0.0
requests_undici_version=8.12.4
requests_celery_version=5.7.0
requests_faststream_version=0.7.8
requests_install_limit_s=900

# What each does best with, of what was tried (docs/benchmarks.md).
celery_pool=threads celery_concurrency=4
faststream_workers=8

# npm_folder NAME PACKAGE…: a folder with these, installed once; says where it is.
npm_folder() {
    local folder=$cache/$1
    shift
    if [[ ! -e $folder/installed ]]; then
        mkdir -p "$folder"
        # No scripts of packages are run.
        (cd "$folder" && npm init -y >/dev/null &&
            timeout "$requests_install_limit_s" npm install --ignore-scripts --no-audit --no-fund "$@" && touch installed) >&2
    fi
    echo "$folder"
}

# python_folder NAME PACKAGE…: the same, an environment of Python's.
python_folder() {
    local folder=$cache/$1
    shift
    if [[ ! -e $folder/installed ]]; then
        python3 -m venv --clear "$folder" >&2
        timeout "$requests_install_limit_s" "$folder/bin/pip" install --quiet --disable-pip-version-check "$@" >&2
        touch "$folder/installed"
    fi
    echo "$folder"
}

# peers_file KAFKA REDIS_PORT ROUNDS NAME…: what `synod bench --peers` reads. The names are of those that are asked for.
peers_file() {
    local kafka=$1 redis_port=$2 rounds=$3 asks=$here/lib/peers/requests
    local topics=bench.requests.$RANDOM$RANDOM
    shift 3
    jq -n --arg node "$restate_node" --arg askers "$node_folder" --arg celery "$celery_folder/bin/python" \
        --arg faststream "$faststream_folder/bin/python" --arg asks "$asks" --arg kafka "$kafka" --arg redis "$redis_port" \
        --arg ingress "http://127.0.0.1:$restate_ingress" --arg pool "$celery_pool" --arg concurrency "$celery_concurrency" \
        --arg workers "$faststream_workers" --arg topics "$topics" --argjson rounds "$rounds" \
        --argjson kafka_pid "$(pid_of kafka-1)" --argjson redis_pid "$(pid_of redis)" \
        --argjson restate_pid "${restate_pids[1]}" --argjson service_pid "${restate_pids[0]}" '
        {
            rounds: $rounds,
            services: {kafka: $kafka_pid, redis: $redis_pid, "restate-server": $restate_pid, "restate-service": $service_pid},
            peers: ([
                {name: "restate", asker: [$node, "\($askers)/restate.mjs", $ingress], uses: ["restate-service", "restate-server"]},
                {name: "restate-keyed", asker: [$node, "\($askers)/restate.mjs", $ingress, "keyed"],
                    uses: ["restate-service", "restate-server"]},
                {name: "bullmq", asker: [$node, "\($askers)/bullmq.mjs", "asker", $redis], uses: ["redis"]},
                {name: "celery", asker: [$celery, "\($asks)/celery_requests.py", "asker", $redis, $pool, $concurrency], uses: ["redis"]},
                {name: "faststream", asker: [$faststream, "\($asks)/faststream_requests.py", "asker", $kafka, $topics, $workers],
                    uses: ["kafka"]}
            ] | map(select(.name | IN($ARGS.positional[]))))
        }' --args "$@"
}

# pid_of PART: of what scripts/services has started.
pid_of() {
    local pid started
    read -r pid started <"$SYNOD_SERVICES_DIR/$1/pid"
    echo "$pid"
}

# requests_beside [--rounds N] [--quick] [--json] [--write] [--only NAME]…
requests_beside() {
    local rounds=null quick=() json='' write='' only=() all=(restate restate-keyed bullmq celery faststream)
    while (($#)); do
        case $1 in
            --rounds) rounds=${2:-}; shift ;;
            --quick) quick=(--quick) ;;
            --json) json=1 ;;
            --write) write=1 ;;
            --only) only+=("${2:-}"); shift ;;
            -h | --help) usage; exit 0 ;;
            *) usage >&2; exit 2 ;;
        esac
        shift || { usage >&2; exit 2; }
    done
    if [[ $rounds != null && ! $rounds =~ ^[1-9][0-9]?$ ]]; then
        echo "bench-peers: --rounds is 1 to 99, not '$rounds'" >&2
        exit 2
    fi
    local name
    for name in "${only[@]}"; do
        if [[ " ${all[*]} " != *" $name "* ]]; then
            echo "bench-peers: --only is one of ${all[*]}, not '$name'" >&2
            exit 2
        fi
    done
    ((${#only[@]})) || only=("${all[@]}")

    local peers_cache=$cache binary restate_home node_folder celery_folder faststream_folder
    export SYNOD_PROFILE=${SYNOD_PROFILE:-release}
    # shellcheck source=scripts/lib/needs.sh
    source "$here/lib/needs.sh"
    # shellcheck source=scripts/lib/bench.sh
    source "$here/lib/bench.sh"
    need_packages tools node python
    binary=$(cd "$root" && bench_binary)
    cache=$peers_cache
    restate_home=$(restate_folder)
    node_folder=$(npm_folder "requests-node-$requests_bullmq_version-$requests_ioredis_version-$requests_undici_version" \
        "bullmq@$requests_bullmq_version" "ioredis@$requests_ioredis_version" "undici@$requests_undici_version")
    cp "$here"/lib/peers/requests/*.mjs "$node_folder/"
    celery_folder=$(python_folder "requests-celery-$requests_celery_version" "celery[redis]==$requests_celery_version")
    faststream_folder=$(python_folder "requests-faststream-$requests_faststream_version" "faststream[kafka]==$requests_faststream_version")

    work=$(mktemp -d)
    stop() {
        local code=$?
        trap - EXIT
        stop_restate
        stop_bench_services
        rm -rf "$work"
        exit "$code"
    }
    trap stop EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    start_bench_services
    # Its log without fsync, as Kafka is without it.
    start_restate "$restate_home" "$work" true
    local redis_port=${SYNOD_REDIS_URL##*:}
    peers_file "$SYNOD_KAFKA_BROKERS" "${redis_port%/}" "$rounds" "${only[@]}" >"$work/peers.json"
    bench_services+="; Restate $restate_version (without fsync), its SDK $restate_sdk_version on Node $("$restate_node" --version)"
    bench_services+="; BullMQ $requests_bullmq_version with ioredis $requests_ioredis_version; Celery $requests_celery_version"
    bench_services+=" ($celery_pool, $celery_concurrency) and FastStream $requests_faststream_version on $(python3 --version)"
    # Python leaves nothing beside its sources.
    PYTHONDONTWRITEBYTECODE=1 PYTHONWARNINGS=ignore SYNOD_BENCH_SERVICES=$bench_services \
        "$binary" bench --scene requests --peers "$work/peers.json" --json "${quick[@]}" >"$work/report.json"
    if [[ -n $json ]]; then
        cat "$work/report.json"
    else
        python3 "$here/lib/peers/document.py" requests "$work/report.json"
    fi
    if [[ -n $write ]]; then
        python3 "$here/lib/peers/document.py" requests "$work/report.json" --write "$root/docs/benchmarks.md"
    fi
}
