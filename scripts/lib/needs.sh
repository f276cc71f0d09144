# shellcheck shell=bash
# What Synod needs on a Debian 12 machine beside a Rust toolchain, and how it gets there.
# Sourced by scripts/run, scripts/test and scripts/validate. Installs only what is missing, says so
# first, and needs root or sudo only then.

rust_least=1.91          # `rust-version` in Cargo.toml
install_limit_s=900

cache=${XDG_CACHE_HOME:-$HOME/.cache}/synod
venv=$cache/venv
# A Kafka client that has nothing of ours in it, the official CloudEvents SDK, and who tries the HTTP interface out.
python_packages=(confluent-kafka==2.16.1 cloudevents==2.2.0 schemathesis==4.32.5)
document_tools=$cache/document-tools
target_dir=${CARGO_TARGET_DIR:-$root/target}
if [[ -n ${CI:-} && -z ${CARGO_TARGET_DIR:-} ]]; then
    # Fresh checkouts one after another: they share what is built.
    target_dir=$cache/target
    # Each checkout is new, so that nothing would be built upon; and it takes more room than all the rest.
    export CARGO_INCREMENTAL=0
fi
export CARGO_TARGET_DIR=$target_dir

say() { printf '%s\n' "synod: $*" >&2; }
die() { say "$*"; exit 1; }

# has COMMAND
has() { command -v "$1" >/dev/null 2>&1; }

# as_root COMMAND…: where may_be_root has said yes.
as_root() {
    if ((EUID == 0)); then "$@"; else sudo -- "$@"; fi
}

# may_be_root: sudo asks for the password here, once, if it wants one.
may_be_root() { ((EUID == 0)) || { has sudo && sudo -- true; }; }

has_java_17() {
    local major
    major=$(java -XshowSettings:properties -version 2>&1 | sed -n 's/.*java\.specification\.version = //p') || return 1
    [[ $major =~ ^[0-9]+$ ]] && ((major >= 17))
}

has_venv() { python3 -c 'import venv, ensurepip' 2>/dev/null; }

# need_packages PART…: a part is one of those below.
need_packages() {
    local part missing=()
    for part in "$@"; do
        case $part in
            build) # librdkafka is compiled: C, make, its configure script; and linked to OpenSSL, for TLS and SCRAM
                has cc && has make || missing+=(build-essential)
                has pkg-config || missing+=(pkg-config)
                [[ -f /usr/include/openssl/ssl.h ]] || missing+=(libssl-dev) ;;
            redis)
                has redis-server || missing+=(redis-server)
                has redis-cli || missing+=(redis-tools)
                has openssl || missing+=(openssl) ;;
            kafka)
                has_java_17 || missing+=(openjdk-17-jre-headless)
                has mvn || missing+=(maven) ;;
            python) has python3 && has_venv || missing+=(python3-venv) ;;
            node) has node && has npm || missing+=(nodejs npm) ;;
            tools)
                has jq || missing+=(jq)
                has curl || missing+=(curl)
                has flock && has setsid || missing+=(util-linux) ;;
            *) die "need_packages: no part '$part'" ;;
        esac
    done
    ((${#missing[@]})) || return 0
    has apt-get || die "missing, and there is no apt-get to install them: ${missing[*]}"
    say "missing on this machine: ${missing[*]}"
    may_be_root || die "only root may install that, and $(id -un) is not root and has no sudo for it. Have root do this, then come again:
    apt-get update && apt-get install --no-install-recommends ${missing[*]}"
    say "installing it with apt-get"
    as_root apt-get update -qq >&2 || die "apt-get update failed (above is why)"
    install_without_daemons "${missing[@]}"
}

# install_without_daemons PACKAGE…: Debian's redis-server would start a server on 6379, and again at
# every boot. Synod starts its own on other ports, so nothing is let start, and what was installed here
# is not left enabled. A policy that the machine already has stays as it is.
install_without_daemons() {
    local policy=/usr/sbin/policy-rc.d ours='' failed='' said
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
        ours=1
    fi
    # Hundreds of lines that nobody needs, unless it fails.
    said=$(as_root env DEBIAN_FRONTEND=noninteractive timeout "$install_limit_s" \
        apt-get install -y -qq --no-install-recommends "$@" 2>&1 </dev/null) || failed=1
    [[ -z $ours ]] || as_root rm -f "$policy"
    [[ -z $failed ]] || die "apt-get could not install: $*
$(tail -n 20 <<<"$said")"
    if [[ " $* " == *' redis-server '* ]] && has systemctl; then
        as_root systemctl disable --quiet --now redis-server.service >/dev/null 2>&1 ||
            say "could not disable the distribution's own redis-server; it may start at the next boot"
    fi
}

# need_rust: the toolchain itself is the one thing that is not installed from here.
need_rust() {
    has cargo || PATH=$PATH:$HOME/.cargo/bin
    has cargo || die "Rust is missing; install it with rustup (https://rustup.rs), $rust_least or newer"
    local version
    version=$(cargo --version | cut -d ' ' -f 2)
    [[ $(printf '%s\n' "$rust_least" "$version" | sort -V | head -n 1) == "$rust_least" ]] ||
        die "cargo is $version, Synod wants $rust_least or newer: rustup update stable"
}

# need_rust_components COMPONENT…
need_rust_components() {
    local component
    for component in "$@"; do
        case $component in
            rustfmt) cargo fmt --version >/dev/null 2>&1 && continue ;;
            clippy) cargo clippy --version >/dev/null 2>&1 && continue ;;
        esac
        say "adding the Rust component $component"
        has rustup || die "cargo has no $component, and there is no rustup to add it: apt-get has none, use rustup's toolchain"
        rustup component add "$component" >&2 || die "rustup could not add $component"
    done
}

# need_python_client: a virtual environment with `python_packages`, at these versions.
need_python_client() {
    local wanted=${python_packages[*]} has=$venv/synod-packages
    [[ ! -x $venv/bin/python || ! -r $has || $(<"$has") != "$wanted" ]] || return 0
    say "making a Python environment with $wanted in $venv"
    mkdir -p "$cache"
    [[ -x $venv/bin/pip ]] || python3 -m venv --clear "$venv" >&2 || die "python3 cannot make $venv"
    timeout "$install_limit_s" "$venv/bin/pip" install --quiet --disable-pip-version-check "${python_packages[@]}" >&2 ||
        die "pip could not install $wanted"
    printf '%s\n' "$wanted" >"$has"
}

# need_document_tools: what scripts/lib/reference/package.json names, beside the program that uses it.
need_document_tools() {
    local wanted=$root/scripts/lib/reference/package.json has=$document_tools/installed.json
    mkdir -p "$document_tools"
    cp "$root/scripts/lib/reference/documents.mjs" "$document_tools/"
    ! cmp -s "$wanted" "$has" || return 0
    say "installing the tools that read OpenAPI and AsyncAPI in $document_tools"
    rm -rf "$document_tools/node_modules" "$document_tools/package-lock.json"
    cp "$wanted" "$document_tools/package.json"
    # No scripts of packages are run.
    timeout "$install_limit_s" npm install --prefix "$document_tools" --ignore-scripts --no-audit --no-fund --silent >&2 ||
        die "npm could not install what $wanted names"
    cp "$wanted" "$has"
}

# build_synod: the dev profile. It has what a release build has to show (dependencies are optimised
# even so, see Cargo.toml) and is there in a fraction of the time; SYNOD_PROFILE=release asks for more.
# Somebody who looks at it for minutes is shown how far it is.
build_synod() {
    local quiet=(--quiet)
    [[ ! -t 2 ]] || quiet=()
    cargo build "${quiet[@]}" --locked --profile "${SYNOD_PROFILE:-dev}" -p synod >&2 || die "synod does not build (above is why)"
}

# synod_binary: where build_synod puts it.
synod_binary() {
    local profile=${SYNOD_PROFILE:-dev}
    [[ $profile != dev ]] || profile=debug
    echo "$target_dir/$profile/synod"
}
