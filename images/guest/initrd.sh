#!/bin/busybox sh
# First program of a guest: load the drivers, mount the disk, hand over to the disk's own /sbin/init.
# With `wsklab.probe` on the kernel command line it only proves that a guest runs here, and powers off.
mount -t devtmpfs dev /dev
mount -t proc proc /proc
read -r arguments < /proc/cmdline
case " $arguments " in
*" wsklab.probe "*)
    echo WSKLAB-PROBE > /dev/ttyS0
    poweroff -f
    ;;
esac
while read -r module; do
    insmod "$module"
done < /modules/order
mount -o noatime /dev/vda /root && mount -o move /dev /root/dev && umount /proc && exec switch_root /root /sbin/init
echo "WSKLAB-PANIC the disk cannot be mounted"
poweroff -f
