#!/usr/bin/env bash
# Boots this system's real systemd as process 1 of namespaces of its own, runs inside.sh there, and
# powers it off. The root is an overlay over this system's: what is written stays in memory.
#
#   boot.sh PROGRAM WORK   PROGRAM is there as /usr/local/bin/reseal, the folder WORK as /run/test
set -euo pipefail
export PROGRAM=$1 WORK=$2 PATH=/usr/sbin:/usr/bin:/sbin:/bin
exec unshare --fork --pid --mount --uts --ipc --net --kill-child bash -euc '
mount --make-rprivate /
mkdir -p "$WORK/memory"
mount -t tmpfs none "$WORK/memory"
cd "$WORK/memory"
mkdir upper work root
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
cd root
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
if ! mount -t cgroup2 cgroup2 sys/fs/cgroup 2>/dev/null; then
    # Where the machine has the controllers in the hierarchies of version 1.
    mount -t tmpfs none sys/fs/cgroup
    mkdir sys/fs/cgroup/unified
    mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
fi
mount --rbind /dev dev
mkdir -p run/test mnt/old
mount --bind "$WORK" run/test
touch usr/local/bin/reseal
mount --bind "$PROGRAM" usr/local/bin/reseal
mkdir -p etc/systemd/system
cp "$WORK/runner.service" etc/systemd/system/
ln -sf /dev/null etc/systemd/system/systemd-udevd.service
pivot_root . mnt/old
umount -l /mnt/old
# Without this, services do not see their credentials.
mount --make-rshared /
# A TPM that is not a device; there is none until inside.sh starts one.
exec env -i container=unshare PATH="$PATH" SYSTEMD_TPM2_DEVICE=swtpm:host=127.0.0.1,port=2331 \
    /lib/systemd/systemd --unit=runner.service \
    --log-target=console --log-level=warning --show-status=0
'
