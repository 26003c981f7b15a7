#!/bin/busybox sh
# /sbin/init of both Linux guests: network, SSH, and what /etc/wsklab/start adds.
#
# The machine is known by its MAC addresses: 52:54:00:77:00:NN is the wire (10.77.0.NN, fd77::NN),
# 52:54:00:0a:00:NN is management (always 10.0.2.15).
export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin:/usr/lib/busybox
export HOME=/root

set_all() { # NAME=VALUE...: kernel settings
    for setting; do
        echo "${setting#*=}" > "/proc/sys/${setting%%=*}"
    done
}

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mkdir /dev/pts /dev/shm /run/sshd
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
# Serial lines carry bytes, not a terminal session: no echo, no CR added.
stty -F /dev/ttyS0 raw -echo
stty -F /dev/ttyS1 raw -echo
ulimit -n 1048576

# Addresses are usable at once: no duplicate address detection, no router to wait for.
set_all net/ipv6/conf/all/accept_dad=0 net/ipv6/conf/default/accept_dad=0 \
    net/ipv6/conf/all/accept_ra=0 net/ipv6/conf/default/accept_ra=0 \
    net/ipv6/conf/default/router_solicitations=0 \
    net/core/somaxconn=8192 net/ipv4/tcp_max_syn_backlog=8192 \
    net/ipv4/ip_local_port_range="20000 65001"

ip link set lo up
for nic in /sys/class/net/*; do
    read -r mac < "$nic/address"
    device=${nic##*/}
    number=${mac##*:}
    set_all "net/ipv6/conf/$device/accept_dad=0" "net/ipv6/conf/$device/router_solicitations=0"
    case $mac in
    52:54:00:77:00:*)
        ip addr add "10.77.0.$number/24" dev "$device"
        ip addr add "fd77::$number/64" dev "$device"
        ip link set "$device" up
        if [ "$number" = 10 ]; then hostname target; else hostname peer; fi
        ;;
    52:54:00:0a:00:*)
        ip addr add 10.0.2.15/24 dev "$device"
        ip link set "$device" up
        ;;
    esac
done

if [ -x /etc/wsklab/start ]; then /etc/wsklab/start & fi

# sshd writes its PID file when it listens; the file is a pipe, so that this waits for that very moment.
mkfifo /run/sshd.pid
/usr/sbin/sshd
read -r _ < /run/sshd.pid
echo WSKLAB-READY

# The first process must never end; it reaps the orphans.
while :; do
    wait
    sleep 3600
done
