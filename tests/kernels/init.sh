#!/bin/busybox sh
# PID 1 of a guest: build the root, run the command in it, report, power off.
#
# /lab comes with the initramfs (guest.py): config, shares, command, modules/. The host's root is read-only below
# an overlay, so that whatever the guest does to it is gone with the guest. /dev/console is the lab's console log.

/bin/busybox --install -s /bin
export PATH=/bin
. /lab/config

die() {
    echo "lab: $*" >/dev/console
    sleep 1 # the serial line is slower than the power switch
    poweroff -f
}

mkdir -p /proc /sys /rw /layers /new
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do
    insmod "/lab/modules/$module.ko" || echo "lab: no module $module" >/dev/console
done </lab/modules/order

# The root: the host's, then the layers, then a scratch tmpfs on top.
lower=
for tag in $LAYERS; do
    mkdir "/layers/$tag"
    mount -t virtiofs -o ro "$tag" "/layers/$tag" || die "can't mount $tag"
    lower=/layers/$tag${lower:+:$lower}
done
mount -t tmpfs -o size=60% tmpfs /rw
mkdir /rw/upper /rw/aside
mount -t overlay -o "lowerdir=$lower,upperdir=/rw/upper,workdir=/rw/aside" overlay /new || die "can't mount the root"

mkdir -p /new/proc /new/sys /new/dev
for d in proc sys dev; do mount -o move /$d /new/$d; done
mkdir -p /new/dev/pts /new/dev/shm
ln -sf /proc/self/fd /new/dev/fd
mount -t devpts -o ptmxmode=666 devpts /new/dev/pts
mount -t tmpfs tmpfs /new/dev/shm
mount -t tmpfs tmpfs /new/run
mkdir -p /new/run/lab /new/run/lock /new/run/user /new/run/tmp
chmod 1777 /new/run/lock /new/run/tmp /new/dev/shm
mount -t debugfs debugfs /new/sys/kernel/debug
mount -t tracefs tracefs /new/sys/kernel/tracing
mount -t securityfs securityfs /new/sys/kernel/security
mount -t bpf bpf /new/sys/fs/bpf
mount -t cgroup2 cgroup2 /new/sys/fs/cgroup

while read -r tag directory; do
    mkdir -p "/new$directory"
    mount -t virtiofs "$tag" "/new$directory" || die "can't mount $directory"
done </lab/shares
mkdir -p /new/lib/modules && ln -sfn "$MODULES" "/new/lib/modules/$(uname -r)"
[ -e /new/sbin/modprobe ] || ln -s /run/lab/busybox /new/sbin/modprobe
ifconfig lo 127.0.0.1

# A CPU that hangs ends the guest, with the stacks of all of them in the console log.
cd /new/proc/sys/kernel
echo 7 >printk
[ ! -e softlockup_all_cpu_backtrace ] || echo 1 >softlockup_all_cpu_backtrace
echo 20 >watchdog_thresh
echo 1 >softlockup_panic
cd /

hostname "$HOSTNAME"

# The virtio ports to the host, by the names that qemu.py gave them.
for port in /new/sys/class/virtio-ports/*; do
    read -r name <"$port/name"
    eval "port_$name=/dev/${port##*/}"
done
cp /lab/command /bin/busybox /new/run/lab/
cat >/new/run/lab/init <<END
#!/run/lab/busybox sh
exec 3>"$port_control"
echo start >&3
/bin/sh /run/lab/command </dev/null >"$port_stdout" 2>"$port_stderr" 3>&-
echo "exit \$?" >&3
exec 3>&-
/run/lab/busybox poweroff -f
END
chmod 755 /new/run/lab/init
exec switch_root /new /run/lab/init # not chroot: in one, unshare(CLONE_NEWUSER) is refused
