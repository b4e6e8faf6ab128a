# Keeps the agent running where there is no init system to do it: start, stop, loop.
# Above this line: root, state, launcher.
set -u
pidfile=$state/supervisor.pid
log=$state/agent.log

running() { # the supervisor's process is alive, and it is ours
    pid=
    [ -r "$pidfile" ] && read -r pid <"$pidfile"
    [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null || return 1
    [ ! -r "/proc/$pid/cmdline" ] || grep -qF "$root/supervise" "/proc/$pid/cmdline"
}

case ${1:-} in
start)
    running && exit 0
    mkdir -p "$state" && chmod 700 "$state" || exit 1
    detach=$(command -v setsid || command -v nohup)
    $detach "$0" loop </dev/null >>"$log" 2>&1 &
    waited=0
    while [ "$waited" -lt 15 ] && ! "$launcher" status >/dev/null 2>&1; do
        sleep 1
        waited=$((waited + 1))
    done
    ;;
loop)
    running && exit 0
    echo $$ >"$pidfile"
    stopping=
    child=
    trap 'stopping=yes; [ -n "$child" ] && kill -TERM "$child" 2>/dev/null' TERM INT HUP
    pause=1
    while [ -z "$stopping" ]; do
        [ -f "$log" ] && [ "$(wc -c <"$log")" -gt 1048576 ] && mv -f "$log" "$log.1"
        begun=$(date +%s)
        "$launcher" serve >>"$log" 2>&1 &
        child=$!
        while :; do # a signal ends `wait` before the child has ended
            wait "$child"
            kill -0 "$child" 2>/dev/null || break
        done
        child=
        [ -n "$stopping" ] && break
        # one that ends at once is not started more than twice a minute
        if [ $(($(date +%s) - begun)) -lt 10 ]; then pause=$((pause * 2)); else pause=1; fi
        [ "$pause" -gt 30 ] && pause=30
        sleep "$pause" &
        child=$!
        wait "$child"
        child=
    done
    rm -f "$pidfile"
    ;;
stop)
    running || exit 0
    kill -TERM "$pid"
    waited=0
    while kill -0 "$pid" 2>/dev/null; do
        [ "$waited" -eq 30 ] && kill -KILL "-$pid" 2>/dev/null
        [ "$waited" -eq 32 ] && exit 1
        sleep 1
        waited=$((waited + 1))
    done
    rm -f "$pidfile"
    ;;
*)
    echo "usage: supervise start | stop" >&2
    exit 2
    ;;
esac
