# Starts the agent of this device. Upgrades never touch this file: it is what brings a broken one back.
# Above this line: root, state, user (empty where it is whoever installed it), supervise (or empty).
set -u
if [ "${1:-}" != worker ] && [ -n "$user" ] && [ "$(id -un)" != "$user" ]; then
    # the state belongs to the agent's own user: everything, `connect` too, is done as that one
    if [ "$(id -u)" = 0 ]; then exec runuser -u "$user" -- "$0" "$@"; fi
    exec sudo -n -u "$user" -- "$0" "$@"
fi
export EDGE_AGENT_STATE="$state"
trial=$state/trial

say() { printf 'edge-agent: %s\n' "$1" >&2; }

become() { # RELEASE ARGUMENT...: this process becomes the agent of a release
    release=$1
    shift
    IFS= read -r python <"$root/releases/$release/python" || exit 127
    export EDGE_AGENT_RELEASE="$release"
    exec "$python" -I "$root/releases/$release/lib" "$@"
}

outlasted() { # SECONDS: true once they are over, false as soon as the host has confirmed the release
    IFS=' .' read -r begin _ </proc/uptime # counting `sleep 1` would be slow where the board is
    while [ -f "$trial" ]; do
        IFS=' .' read -r now _ </proc/uptime
        [ $((now - begin)) -lt "$1" ] || return 0
        sleep 1
    done
    return 1
}

begin_trial() { # SECONDS RELEASE ARGUMENT...: ends with the release, or returns when it has failed
    seconds=$1
    shift
    stopping=
    (become "$@") &
    child=$!
    (outlasted "$seconds" && kill -TERM "$child" && outlasted 15 && kill -KILL "$child") 2>/dev/null &
    watch=$!
    trap 'stopping=yes; kill -TERM "$child" 2>/dev/null' TERM INT HUP
    while :; do # a signal ends `wait` before the child has ended
        wait "$child"
        status=$?
        kill -0 "$child" 2>/dev/null || break
    done
    trap - TERM INT HUP
    kill "$watch" 2>/dev/null
    if [ -n "$stopping" ] || [ ! -f "$trial" ]; then exit "$status"; fi
    say "release $1 did not prove itself (status $status): back to the one before"
}

current=$(readlink "$root/current")
current=${current##*/}
if [ "${1:-}" = worker ]; then
    # systemd's, with a connection to the agent as stdin; a worker must be of the agent's own release
    IFS= read -r release || exit 1
    case $release in */* | .*) exit 1 ;; esac
    become "${release:-$current}" worker
fi
case ${1:-} in
serve)
    if [ -f "$trial" ]; then
        read -r release seconds <"$trial"
        case $release in */* | .*) release= ;; esac
        if [ -n "$release" ] && [ ! -e "$trial.begun" ] && [ -d "$root/releases/$release/lib" ]; then
            : >"$trial.begun"
            sync
            begin_trial "${seconds:-60}" "$release" "$@"
        else
            say "release $release was started once and did not prove itself: back to the one before"
        fi
        rm -f "$trial"
        sync
        rm -f "$trial.begun"
    fi
    ;;
connect)
    # without an init system nobody else starts the agent after a reboot
    if [ -n "$supervise" ]; then "$supervise" start >&2 || exit 1; fi
    ;;
esac
become "$current" "$@"
