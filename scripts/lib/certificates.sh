# shellcheck shell=bash
# Certificates and passwords for secured services: of scripts/services, for tests, and of scripts/secrets, for the compose file.
# Sourced. `die` is the caller's.

certificate_days=825

# random_word: 32 letters and digits, good for every file and URL.
random_word() { head -c 512 /dev/urandom | LC_ALL=C tr -dc 'A-Za-z0-9' | head -c 32; }

# make_authority FOLDER NAME: NAME.crt and NAME.key.
make_authority() {
    openssl req -x509 -newkey rsa:2048 -nodes -sha256 -days "$certificate_days" -subj "/CN=synod $2" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
        -keyout "$1/$2.key" -out "$1/$2.crt" 2>/dev/null || die "openssl could not make the authority $1/$2.crt"
    chmod 600 "$1/$2.key"
}

# make_certificate FOLDER AUTHORITY NAME COMMON_NAME [SANS] [over]: NAME.crt, NAME.key, and both in NAME.pem, as Kafka reads them.
# With SANS for servers and clients, else for clients alone; `over`: one whose time is over.
make_certificate() {
    local at=$1/$3 usage=clientAuth
    [[ -z ${5:-} ]] || usage=serverAuth,clientAuth
    {
        printf 'basicConstraints=critical,CA:FALSE\nextendedKeyUsage=%s\n' "$usage"
        [[ -z ${5:-} ]] || printf 'subjectAltName=%s\n' "$5"
    } >"$at.ext"
    openssl req -newkey rsa:2048 -nodes -sha256 -subj "/CN=$4" -keyout "$at.key" -out "$at.csr" 2>/dev/null &&
        sign_certificate "$at" "$1/$2" "${6:-}" || die "openssl could not make the certificate $at.crt"
    cat "$at.key" "$at.crt" >"$at.pem"
    chmod 600 "$at.key" "$at.pem"
    rm -f "$at.csr" "$at.ext"
}

# sign_certificate AT AUTHORITY OVER: AT.crt for AT.csr and AT.ext.
sign_certificate() {
    if [[ -z $3 ]]; then
        openssl x509 -req -sha256 -in "$1.csr" -CA "$2.crt" -CAkey "$2.key" -CAcreateserial -days "$certificate_days" \
            -extfile "$1.ext" -out "$1.crt" 2>/dev/null
        return
    fi
    # Only this tool of OpenSSL's takes a time in the past; it keeps a list of what it has signed.
    mkdir "$1.signed"
    : >"$1.signed/index"
    printf '%s\n' '[ca]' 'default_ca=ours' '[ours]' "database=$1.signed/index" "new_certs_dir=$1.signed" 'rand_serial=yes' \
        'default_md=sha256' 'policy=any' '[any]' 'commonName=supplied' >"$1.signed/config"
    openssl ca -batch -notext -config "$1.signed/config" -cert "$2.crt" -keyfile "$2.key" -in "$1.csr" -extfile "$1.ext" \
        -startdate 20240101000000Z -enddate 20240201000000Z -out "$1.crt" 2>/dev/null || return
    rm -r "$1.signed"
}
