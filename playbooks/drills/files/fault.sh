#!/bin/sh
# Every fault of a drill on this host, and `heal`, which undoes all of them; repeating it is harmless.
#
#   fault.sh kill UNIT | stall UNIT | start UNIT | restart UNIT | isolate SSH_PORT | cut ADDRESS
#            fill FOLDER | slow UNIT FOLDER | forget UNIT FOLDER | key UNIT FILE | poweroff
#            nothing | arm SECONDS | disarm | heal
#
# What was done is noted below /run, so that a reboot forgets it together with the fault. The last
# line of stdout is when the fault came, in milliseconds since 1970; that of `heal` is `undone`
# where there was something. `arm` undoes what is left of an earlier drill, and heals after SECONDS
# by a timer of this host, whoever is dead then. `nothing` is done to those who are not to be hit,
# so that a person who is drilled cannot tell.
set -eu

state=/run/broker-trio-drill
revert=broker-trio-drill-revert
slow=broker-trio-drill-slow
table="inet broker_trio_drill"
mkdir -p "$state"

now() { date +%s%3N; }

note() { echo "$2" >>"$state/$1"; }

noted() { sort -u "$state/$1" 2>/dev/null || true; }

# systemd neither starts it again nor ends it for its silence
hold() {
    mkdir -p "/run/systemd/system/$1.d"
    printf '[Service]\nRestart=no\nWatchdogSec=0\n' >"/run/systemd/system/$1.d/90-drill.conf"
    note held "$1"
    systemctl daemon-reload
}

let_go() {
    for unit in $(noted held); do
        rm -f "/run/systemd/system/$unit.d/90-drill.conf"
        rmdir "/run/systemd/system/$unit.d" 2>/dev/null || true
    done
    systemctl daemon-reload
    for unit in $(noted held); do
        systemctl kill --signal=SIGCONT "$unit" 2>/dev/null || true
        systemctl reset-failed "$unit" 2>/dev/null || true
        systemctl start "$unit"
    done
    rm -f "$state/held"
}

drop() {
    nft -f - <<RULES
table $table {
    chain input { type filter hook input priority -300; iifname "lo" accept; $1; }
    chain output { type filter hook output priority -300; oifname "lo" accept; $2; }
}
RULES
    now
}

# where the kernel counts io by control groups 2
limited() {
    systemctl set-property --runtime "$1" "IOWriteBandwidthMax=$2 256K"
    note slowed "$1"
    group=/sys/fs/cgroup$(systemctl show --property=ControlGroup --value "$1")
    grep -q wbps= "$group/io.max" 2>/dev/null
}

# elsewhere the file system stands still four fifths of the time; it must not be that of the host
pulsed() {
    if [ "$1" = / ]; then
        echo "/ cannot be slowed: no io controller of control groups 2, and no volume of its own" >&2
        exit 1
    fi
    note pulsed "$1"
    systemd-run --quiet --collect --unit="$slow" /bin/sh -c \
        'while fsfreeze --freeze "$1"; do sleep 0.2; fsfreeze --unfreeze "$1"; sleep 0.05; done' \
        slow "$1"
}

heal() {
    if [ -n "$(ls "$state")" ] || nft list table $table >/dev/null 2>&1; then
        undo
        echo undone
    fi
}

undo() {
    nft delete table $table 2>/dev/null || true
    for file in $(noted filled); do rm -f "$file" "$file.rest"; done
    rm -f "$state/filled"
    for file in $(noted keys); do
        if [ -e "$file.drill" ]; then mv "$file.drill" "$file"; fi
    done
    for unit in $(noted keyed); do systemctl restart --no-block "$unit"; done
    rm -f "$state/keys" "$state/keyed"
    for unit in $(noted slowed); do
        systemctl set-property --runtime "$unit" IOWriteBandwidthMax= IOReadBandwidthMax=
    done
    rm -f "$state/slowed"
    if [ -e "$state/pulsed" ]; then systemctl stop "$slow" 2>/dev/null || true; fi
    for place in $(noted pulsed); do fsfreeze --unfreeze "$place" 2>/dev/null || true; done
    rm -f "$state/pulsed"
    if [ -e "$state/held" ]; then let_go; fi
    for folder in $(noted forgotten); do rm -rf "$folder.drill"; done
    rm -f "$state/forgotten"
}

verb=$1
shift
case $verb in
kill)
    hold "$1"
    now
    systemctl kill --signal=SIGKILL "$1"
    ;;
stall)
    hold "$1"
    systemctl kill --signal=SIGSTOP "$1"
    now
    ;;
start)
    systemctl kill --signal=SIGCONT "$1" 2>/dev/null || true
    systemctl start "$1"
    now
    ;;
restart)
    now
    systemctl restart "$1"
    ;;
isolate)
    drop "tcp dport $1 accept; drop" "tcp sport $1 accept; drop"
    ;;
cut)
    drop "ip saddr $1 drop" "ip daddr $1 drop"
    ;;
fill)
    file=$1/.drill-fill
    note filled "$file"
    room=$(df --output=avail --block-size=1M "$1" | tail -n 1)
    for less in 1 16 64; do # who writes here takes some meanwhile; the rest is filled byte by byte
        fallocate --length "$((room - less))M" "$file" 2>/dev/null && break
    done
    cat /dev/zero >"$file.rest" 2>/dev/null || true
    now
    ;;
slow)
    if ! limited "$1" "$(findmnt --noheadings --output SOURCE --target "$2")"; then
        pulsed "$(findmnt --noheadings --output TARGET --target "$2")"
    fi
    now
    ;;
forget)
    hold "$1"
    note forgotten "$2"
    now
    systemctl kill --signal=SIGKILL "$1"
    while systemctl is-active --quiet "$1"; do sleep 0.1; done
    rm -rf "$2.drill"
    mv "$2" "$2.drill"
    mkdir "$2"
    chown --reference="$2.drill" "$2"
    chmod --reference="$2.drill" "$2"
    let_go
    ;;
key)
    cp --archive "$2" "$2.drill"
    note keys "$2"
    note keyed "$1"
    head -c 32 /dev/urandom | base64 >"$2"
    now
    systemctl restart --no-block "$1"
    ;;
poweroff)
    now
    (sleep 0.3 && systemctl poweroff --force --force) >/dev/null 2>&1 &
    ;;
nothing)
    now
    ;;
arm)
    heal
    systemctl stop "$revert.timer" 2>/dev/null || true
    systemd-run --quiet --collect --unit="$revert" --on-active="$1" \
        --timer-property=AccuracySec=1s "$0" heal
    ;;
disarm)
    systemctl stop "$revert.timer" 2>/dev/null || true # who was off forgot it
    ;;
heal)
    heal
    ;;
*)
    echo "fault.sh: no fault $verb" >&2
    exit 2
    ;;
esac
