# shellcheck shell=bash
# What a measurement needs: the binary, and a Kafka and a Redis of its own. Sourced after needs.sh, by scripts/bench and
# scripts/lib/peers/requests.sh.

# bench_binary: builds it and says where it is; SYNOD_BIN names one that is there already.
bench_binary() {
    if [[ -n ${SYNOD_BIN:-} ]]; then
        [[ -x $SYNOD_BIN ]] || die "SYNOD_BIN is $SYNOD_BIN, which is no program"
        echo "$SYNOD_BIN"
        return
    fi
    need_packages build
    need_rust
    say "building (the first time takes some minutes)"
    build_synod
    synod_binary
}

# start_bench_services: on free ports, so that neither another run nor the user's own are touched. Says in `bench_services` what
# they are. Whoever calls ends them by stop_bench_services, however it ends.
start_bench_services() {
    need_packages redis kafka tools
    SYNOD_SERVICES_DIR=$(mktemp -d)
    export SYNOD_SERVICES_DIR SYNOD_KAFKA_PORT=free SYNOD_REDIS_PORT=free
    local exports kafka redis
    exports=$("$root/scripts/services" up) || die "Kafka and Redis do not start (above is why)"
    eval "$exports"
    kafka=$(sed -n '/<artifactId>kafka_/,/<\/dependency>/s:.*<version>\(.*\)</version>.*:\1:p' "$root/deploy/kafka/pom.xml")
    redis=$(redis-server --version | sed -n 's/.* v=\([^ ]*\).*/\1/p')
    # shellcheck disable=SC2034 # for whoever sourced this
    bench_services="Apache Kafka $kafka (one broker), Redis $redis (append-only file)"
    # Where some other mesh is, and what it was made with, is nothing to this one.
    unset SYNOD_ENDPOINTS SYNOD_HTTP_URL SYNOD_WORKSPACE SYNOD_PARTITIONS
}

stop_bench_services() {
    [[ -n ${SYNOD_SERVICES_DIR:-} ]] || return 0
    "$root/scripts/services" down --wipe 2>/dev/null || say "the services in $SYNOD_SERVICES_DIR could not be ended"
    rm -rf "$SYNOD_SERVICES_DIR"
}
