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
    local at=$1/$3 usage=clientAuth days=$certificate_days
    [[ -z ${5:-} ]] || usage=serverAuth,clientAuth
    [[ -z ${6:-} ]] || days=-1
    {
        printf 'basicConstraints=critical,CA:FALSE\nextendedKeyUsage=%s\n' "$usage"
        [[ -z ${5:-} ]] || printf 'subjectAltName=%s\n' "$5"
    } >"$at.ext"
    openssl req -newkey rsa:2048 -nodes -sha256 -subj "/CN=$4" -keyout "$at.key" -out "$at.csr" 2>/dev/null &&
        openssl x509 -req -sha256 -in "$at.csr" -CA "$1/$2.crt" -CAkey "$1/$2.key" -CAcreateserial -days "$days" \
            -extfile "$at.ext" -out "$at.crt" 2>/dev/null || die "openssl could not make the certificate $at.crt"
    cat "$at.key" "$at.crt" >"$at.pem"
    chmod 600 "$at.key" "$at.pem"
    rm -f "$at.csr" "$at.ext"
}
