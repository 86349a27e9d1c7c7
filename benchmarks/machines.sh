#!/bin/sh
# Try the commands on machines that lack something: no HOME, nothing writable beside the run, a small /dev/shm, ...
# Needs root on Linux, for mounts of its own: sudo sh benchmarks/machines.sh. Takes minutes. Prints a line for each.
set -u
root=$(cd "$(dirname "$0")/.." && pwd); python=${PYTHON:-$root/.venv/bin/python}
export PYTHONPATH=$root OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1
at=$(mktemp -d); trap 'umount "$at/full" 2>/dev/null; rm -rf "$at"' EXIT
orl="$python -m training.cli"
tiny="--config tiny --precision fp32 --stage1.epochs 4 --stage3.epochs 4 --stage1.image_size 32 --stage3.image_size 32
 --stage3.patch_size 32 --stage2.image_size 32 --stage2.min_side 16"
$orl scenes "$at/scenes" --count 32 --size 80 >/dev/null 2>&1
images=$at/scenes/annotations.json

try() {  # NAME COMMAND...: done, refused in a sentence, or a fault
    name=$1; shift
    "$@" >"$at/said" 2>&1; code=$?
    if grep -q Traceback "$at/said" || [ $code -eq 70 ]; then code="FAULT $code"; fi
    echo "$name: exit $code: $(grep -E 'goes on|orl:|careful|full' "$at/said" | tail -1 | cut -c1-200)"
    case $code in FAULT*) tail -5 "$at/said" ;; esac
}

run() { echo "$orl run $at/$1 $tiny --workers ${2:-0} --images $images"; }

try "no HOME" env -u HOME $(run home)
try "read-only install, no cache" unshare -m sh -c "mount --bind $root $root && mount -o remount,ro,bind $root &&
    HOME=/nowhere XDG_CACHE_HOME=/proc/none $(run ro | tr '\n' ' ')"
try "64 MB of /dev/shm" unshare -m sh -c "mount -t tmpfs -o size=64m tmpfs /dev/shm && $(run shm 2 | tr '\n' ' ')"
try "1 MB of /dev/shm" unshare -m sh -c "mount -t tmpfs -o size=1m tmpfs /dev/shm && $(run shm1 2 | tr '\n' ' ')"
try "no /dev/shm" unshare -m sh -c "mount -t tmpfs -o ro tmpfs /dev/shm && $(run noshm 2 | tr '\n' ' ')"
try "umask 077" sh -c "umask 077; $(run umask | tr '\n' ' ')"
try "blanks and accents" $orl run "$at/un café, ein Übung's" $tiny --workers 2 --images "$images"
group=/sys/fs/cgroup/cpu/orl-$$
if mkdir "$group" 2>/dev/null; then
    echo 150000 >"$group/cpu.cfs_quota_us"
    try "1.5 cores" sh -c "echo \$\$ >$group/cgroup.procs; $(run cores 2 | tr '\n' ' ')"
    sleep 1; rmdir "$group"
fi
mkdir "$at/full"; mount -t tmpfs -o size=200k tmpfs "$at/full"
try "a full disk" $(run full/run)
mount -o remount,size=200m "$at/full"
try "the same once there is room" $(run full/run)
cat >"$at/clock.py" <<'PY'
import sys, time
real, calls = time.time, 0
def back():
    global calls
    calls += 1
    return real() - 60 * calls
time.time = back
from training.cli import main
sys.exit(main())
PY
try "a clock that goes back" $python "$at/clock.py" $(run clock | sed "s|^$orl ||")
