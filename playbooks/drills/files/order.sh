#!/bin/sh
# One order of a drill, tried until it is done, and its moments noted.
#
#   order.sh MARKS NAME SECONDS EXPECTED_EXIT_CODE COMMAND…
set -u

marks=$1 name=$2 seconds=$3 expected=$4
shift 4

mark() {
    text=$(printf '%s' "$2" | tr -d '"\\' | tr '\n\t' '  ' | cut -c1-400)
    printf '{"at_ms":%s,"name":"%s","text":"%s"}\n' "$(date +%s%3N)" "$1" "$text" >>"$marks"
}

# what the hit host said of the moment
if [ -n "${HIT:-}" ]; then
    printf '{"at_ms":%s,"name":"hit","by_host_ms":%s}\n' "$(date +%s%3N)" "$HIT" >>"$marks"
fi
mark decided "$*"
end=$(($(date +%s) + seconds))
while :; do
    said=$("$@" 2>&1)
    code=$?
    if [ "$code" -eq "$expected" ]; then
        mark "$name" "$said"
        printf '%s\n' "$said"
        exit 0
    fi
    if [ "$expected" -ne 0 ] || [ "$(date +%s)" -ge "$end" ]; then
        mark "not_$name" "$said"
        printf '%s\n' "$said" >&2
        exit 1
    fi
    sleep 0.3
done
