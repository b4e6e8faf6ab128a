# Asks a device what an agent needs to know of it, as lines `key=value`; changes nothing.
# POSIX sh: it runs before anything of ours is there.
say() { printf '%s=%s\n' "$1" "$2"; }
have() { command -v "$1" >/dev/null 2>&1; }
free_kib() { # of the file system that a folder is on, or would be
    folder=$1
    while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
    df -Pk "$folder" 2>/dev/null | awk 'NR == 2 { print $4 }'
}

say system "$(uname -s)"
say machine "$(uname -m)"
say word_bits "$(getconf LONG_BIT 2>/dev/null)"
say dpkg "$(dpkg --print-architecture 2>/dev/null)"
libc=$(getconf GNU_LIBC_VERSION 2>/dev/null)
if [ -z "$libc" ]; then
    case $(ldd --version 2>&1) in
        *musl*) libc=musl ;;
        *GLIBC* | *"GNU libc"*) libc="glibc $(ldd --version 2>/dev/null | head -n 1 | sed 's/.* //')" ;;
    esac
    for loader in /lib/ld-musl-*; do [ -e "$loader" ] && libc=musl; done
fi
say libc "$libc"
say uid "$(id -u)"
say user "$(id -un)"
say home "$HOME"
say state_home "${XDG_STATE_HOME:-}"
say ram_kib "$(awk '/^MemTotal:/ { print $2 }' /proc/meminfo 2>/dev/null)"
say home_free_kib "$(free_kib "$HOME")"
say opt_free_kib "$(free_kib /opt/edge-agent)"

if [ -r /sys/fs/cgroup/cgroup.controllers ]; then
    case " $(cat /sys/fs/cgroup/cgroup.controllers) " in *" memory "*) say memory_cgroup yes ;; *) say memory_cgroup no ;; esac
elif awk '$1 == "memory" && $4 == 1 { found = 1 } END { exit !found }' /proc/cgroups 2>/dev/null; then
    say memory_cgroup yes
else
    say memory_cgroup no
fi
if [ -d /run/systemd/system ] && have systemctl; then say systemd yes; else say systemd no; fi
if [ -d /run/systemd/system ] && systemctl --user show-environment >/dev/null 2>&1; then
    say user_manager yes
else
    say user_manager no
fi
if have sudo && sudo -n true 2>/dev/null; then say sudo yes; else say sudo no; fi

# -I: nothing of the working folder or the user's; _base_executable: never the one of a virtual environment
ask='import sys
from importlib.util import find_spec
has = " ".join(name for name in ("venv", "ensurepip", "pip", "numpy") if find_spec(name))
version = ".".join(map(str, sys.version_info[:3]))
path = getattr(sys, "_base_executable", sys.executable)
print(f"{version}|{sys.maxsize.bit_length() + 1}|{has}|{path}")'
for name in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
    have "$name" || continue
    found=$("$name" -I -c "$ask" 2>/dev/null) && say python "$found"
done

for node in /dev/accel/accel* /dev/dri/renderD*; do
    [ -c "$node" ] || continue
    class=drm
    case $node in */accel/*) class=accel ;; esac
    vendor=$(cat "/sys/class/$class/${node##*/}/device/vendor" 2>/dev/null)
    if [ -r "$node" ] && [ -w "$node" ]; then open=yes; else open=no; fi
    say accelerator "$node|$vendor|$open|$(stat -c '%a|%G' "$node" 2>/dev/null || echo '|')"
done

for folder in .local .local/bin .local/share .local/state .config .config/systemd .config/systemd/user \
    .config/systemd/user/default.target.wants; do
    [ -d "$HOME/$folder" ] || say missing "$HOME/$folder"
done
for root in /opt/edge-agent "$HOME/.local/share/edge-agent"; do
    [ -r "$root/service" ] || continue
    release=$(readlink "$root/current" 2>/dev/null)
    say installed "$(cat "$root/service")|${release##*/}|$root"
    for release in "$root"/releases/*/release.json; do
        [ -e "$release" ] && release=${release%/release.json} && say release "$root|${release##*/}"
    done
    [ -r "$root/current/release.json" ] && say description "$root|$(cat "$root/current/release.json")"
    [ -r "$root/made" ] && while IFS= read -r folder; do say made "$folder"; done <"$root/made"
done
# what an installation stored, and what `uninstall --keep-models` left: how it was kept running, folders it made
own_state=${XDG_STATE_HOME:-$HOME/.local/state}/edge-agent
for folder in /var/lib/edge-agent "$own_state"; do [ -d "$folder" ] && say state "$folder"; done
[ -r "$own_state/kept" ] && {
    IFS= read -r service
    say kept "$service"
    while IFS= read -r folder; do say made "$folder"; done
} <"$own_state/kept"
for command in /usr/local/bin/edge-agent "$HOME/.local/bin/edge-agent"; do
    # another package's command of that name, as `pip install --user` makes it
    [ -e "$command" ] && ! grep -q 'Upgrades never touch this file' "$command" && say foreign "$command"
done
say end yes
