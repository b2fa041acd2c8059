# Boots a systemd, in namespaces of its own for everything but the network: the machine's root under a layer that ends with
# it, and its own devices, control groups and BPF file system. LAB_* say what is put where.
set -e
mount -t tmpfs layer "$LAB_PLACE"
mkdir "$LAB_PLACE/new" "$LAB_PLACE/work" "$LAB_PLACE/root"
mount -t overlay root -o "lowerdir=/,upperdir=$LAB_PLACE/new,workdir=$LAB_PLACE/work" "$LAB_PLACE/root"
cd "$LAB_PLACE/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t bpf bpf sys/fs/bpf
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs run run
mount -t tmpfs dev dev
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/shm
touch run/fulcrum.log
mount --bind "$LAB_LOG" run/fulcrum.log
rm -rf etc/systemd/system lib/systemd/system-generators etc/fulcrum var/lib/fulcrum
mkdir -p etc/systemd/system/fulcrum.service.d etc/fulcrum
cp "$LAB_BINARY" usr/bin/fulcrum
cp "$LAB_CONFIG" etc/fulcrum/fulcrum.yaml
if [ -e "$LAB_KEY" ]; then cp "$LAB_KEY" etc/fulcrum/peer.key; fi
cp "$LAB_UNIT" etc/systemd/system/fulcrum.service
for stream in Output Error; do echo "Standard$stream=append:/run/fulcrum.log"; done |
    sed '1i [Service]' >etc/systemd/system/fulcrum.service.d/log.conf
printf '[Unit]\nDefaultDependencies=no\nAllowIsolate=yes\n' >etc/systemd/system/lab.target
echo >etc/machine-id
exec chroot . /usr/bin/env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=lab.target --log-target=console --show-status=0
