#!/bin/sh
# SPDX-License-Identifier: ISC
# boot.sh ROOT NAME COMMAND...: does what a container manager does before it starts init, and becomes COMMAND in ROOT. It is called
# as process 1 of namespaces for mounts, processes and the host name. /proc/sys and /sys are read-only, because they belong to the
# real machine. /run and /tmp are empty and in memory.
set -e
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,ro,bind proc/sys
mount -t sysfs -o ro sysfs sys
! grep -qw cgroup2 /proc/filesystems || mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for device in 'null 3' 'zero 5' 'full 7' 'random 8' 'urandom 9'; do
    mknod -m 666 "dev/${device% *}" c 1 "${device#* }"
done
mknod -m 666 dev/tty c 5 0
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
hostname "$2"
shift 2
mkdir -p .outside
pivot_root . .outside
umount -l .outside
rmdir .outside
exec "$@"
