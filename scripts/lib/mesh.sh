# shellcheck shell=bash
# An embedded mesh (`synod up`) for as long as the calling script runs. Sourced after needs.sh.

mesh_start_limit_s=60
mesh_stop_limit_s=15
mesh_pid='' mesh_folder=''

# start_mesh: sets and exports SYNOD_ENDPOINTS. Free ports, so that it disturbs no mesh of the user's.
start_mesh() {
    mesh_folder=$(mktemp -d)
    # What the surroundings say of real brokers is not for an embedded mesh.
    env -u SYNOD_KAFKA_BROKERS -u SYNOD_REDIS_URL SYNOD_HTTP_LISTEN=127.0.0.1:0 \
        "$(synod_binary)" up --endpoints "$mesh_folder/endpoints.json" </dev/null >"$mesh_folder/log" 2>&1 &
    mesh_pid=$!
    local ends=$((SECONDS + mesh_start_limit_s))
    until jq -e .http "$mesh_folder/endpoints.json" >/dev/null 2>&1; do
        if ! kill -0 "$mesh_pid" 2>/dev/null || ((SECONDS >= ends)); then
            tail -n 20 "$mesh_folder/log" >&2
            stop_mesh
            die "'synod up' ended, or was not ready within $mesh_start_limit_s s (above are its last words)"
        fi
        sleep 0.05 # the condition is asked again; this only keeps the loop from spinning
    done
    export SYNOD_ENDPOINTS=$mesh_folder/endpoints.json
}

# stop_mesh: may be called twice, and when nothing was started.
stop_mesh() {
    [[ -n $mesh_pid ]] || return 0
    local pid=$mesh_pid ends=$((SECONDS + mesh_stop_limit_s))
    mesh_pid=''
    # Whoever came after would look for a file that is gone.
    unset SYNOD_ENDPOINTS
    kill "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do
        if ((SECONDS >= ends)); then
            say "'synod up' (pid $pid) did not end within $mesh_stop_limit_s s: KILL"
            kill -KILL "$pid" 2>/dev/null || true
            break
        fi
        sleep 0.05
    done
    wait "$pid" 2>/dev/null || true
    rm -rf "$mesh_folder"
}
