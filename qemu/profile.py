"""What a machine is made of, and the QEMU command line that makes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from wsklab.common import document
from wsklab.common.strict import Strict
from wsklab.qemu import recording
from wsklab.qemu.errors import MachineError
from wsklab.qemu.firmware import Uefi
from wsklab.qemu.network import MANAGEMENT_ADDRESS
from wsklab.qemu.variants import Variant, VariantName

Accelerator = Literal["kvm", "tcg"]
SerialRole = Literal["debug", "agent", "console"]
Word = Annotated[str, Field(pattern="^[!-~]{1,1000}$")]  # of QEMU's command line
Words = Annotated[str, Field(pattern="^[ -~]{0,1000}$")]
Mac = Annotated[str, Field(pattern="^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$")]
WIRE_LINK = "wire"  # the netdev that `set_link` cuts
SERIAL_IRQS = (4, 3, 5, 7)  # COM3 and COM4 would share with COM1 and COM2, which QEMU's ISA bus does not do
NO_ROM = ",romfile="  # nothing boots from the network: quicker firmware, smaller snapshots
TRANSLATED_MIB = 128  # guest code translated by TCG; QEMU's own limit of 1 GiB would fill in a long run, to no use
PROFILES = Path(__file__).parent / "profiles"


class Profile(Strict):
    """One kind of machine; see `profiles/`."""

    memory_mib: Annotated[int, Field(ge=64, le=65536)]
    cpus: Annotated[int, Field(ge=1, le=64)] = 1
    machine: Word = "q35"
    cpu: dict[Accelerator, Word]
    serial: Annotated[tuple[SerialRole, ...], Field(max_length=4)] = ("debug", "agent", "console")  # COM1, COM2, COM3
    debug: Literal["text", "kd"] = "text"  # what COM1 speaks: plain lines, or the protocol of Windows' kernel debugger
    firmware: Literal["seabios", "ovmf"] = "seabios"
    tpm: bool = False
    hyperv: tuple[Word, ...] = ()  # what Windows may use of Hyper-V; under KVM alone, elsewhere it would do nothing
    disk: Literal["virtio-blk-pci", "virtio-scsi-pci", "ide-hd"] = "virtio-blk-pci"
    network: Literal["virtio-net-pci", "e1000e"] = "virtio-net-pci"
    management: Literal["virtio-net-pci", "e1000e"] = "virtio-net-pci"
    wire_mac: Mac
    management_mac: Mac
    display: Literal["none", "VGA", "virtio-vga"] = "none"  # the device that `screenshot` reads
    reboot: Literal["pause", "reset"] = "pause"  # what a guest's own reboot does
    panic: Literal["pause", "none"] = "pause"  # what QEMU does when the guest says it has crashed
    devices: tuple[Word, ...] = ()
    properties: tuple[Word, ...] = ()  # of devices that come with the machine: `-global`
    kernel_args: Words = ""  # with direct kernel boot, before those of the image
    variants: dict[VariantName, Variant] = {}  # what a run can multiply over
    variant: Variant = Variant()  # the one that this is, and its name
    variant_name: Annotated[str, Field(pattern="^[a-z0-9-]{0,32}$")] = ""

    def varied(self, name: str) -> "Profile":
        """Return the machine as its variant `name`; "" is the machine itself.

        What only the guest can do, it is told later.
        """
        if not name:
            return self.model_copy(update={"variants": {}})
        variant = self.variants[name]
        changes: dict[str, object] = {"variants": {}, "variant": variant, "variant_name": name}
        if variant.cpus is not None:
            changes["cpus"] = variant.cpus
        if variant.network is not None:
            changes["network"] = variant.network
        if variant.memory_integrity:  # Hyper-V in the guest needs the processor's virtualisation
            changes["cpu"] = {kind: _nested(cpu) for kind, cpu in self.cpu.items()}
        if variant.secure_boot:
            changes["machine"] = self.machine.replace("smm=off", "smm=on")
        return self.model_copy(update=changes)


def _nested(cpu: str) -> str:
    return ",".join(word for word in cpu.split(",") if word not in ("vmx=off", "svm=off"))


@dataclass(frozen=True)
class ImageFiles:
    """The files that a machine boots from; without a disk it lives in its initrd."""

    disk: Path | None = None
    kernel: Path | None = None
    initrd: Path | None = None
    kernel_args: str = ""
    variables: Path | None = None  # of the UEFI firmware; without them it starts with none
    tpm_state: Path | None = None  # a folder; without it the TPM starts as new
    cdroms: tuple[Path, ...] = ()  # the firmware tries the first one after the disk


def load_profile(name_or_path: str | Path) -> Profile:
    """Return a built-in profile by name, or one from a file. Raises MachineError which says what is wrong with it."""
    path = Path(name_or_path)
    if not path.suffix:
        path = PROFILES / f"{name_or_path}.yaml"
    try:
        return document.load(path, Profile)
    except document.Refused as error:
        raise MachineError(f"not a machine profile: {error}") from None


def command_line(
    profile: Profile,
    files: ImageFiles,
    *,
    name: str,
    accelerator: Accelerator,
    overlay: Path,
    serial_fds: Mapping[SerialRole, int],
    qmp_fd: int,
    firmware_fd: int | None = None,
    wire_fd: int | None = None,
    uefi: Uefi | None = None,
    tpm_fd: int | None = None,
    monitor_fd: int | None = None,
    snapshot: str | None = None,
    options: Sequence[str] = (),
    rr: recording.Mode | None = None,
) -> list[str]:
    """Return the QEMU command of a machine which waits for `cont`.

    Every channel to it is an inherited, connected socket. Files are named as QEMU opens them; `options` are those that
    make such names known to it. With `rr` its inputs are recorded, or come from a recording.
    """
    return [
        "qemu-system-x86_64",
        "-name", name,
        # Screen, keyboard and mouse are there for who looks (screen.py), and listen to nobody else. It is no device: a
        # snapshot does not know of it.
        "-nodefaults", "-no-user-config", "-display", "none", "-vnc", "none", "-S",
        "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        *options,
        "-machine", profile.machine,
        "-accel", "kvm" if accelerator == "kvm" else f"tcg,tb-size={TRANSLATED_MIB}",
        *recording.icount(rr),
        "-cpu", ",".join([profile.cpu[accelerator], *(profile.hyperv if accelerator == "kvm" else ())]),
        "-smp", str(profile.cpus),
        "-m", str(profile.memory_mib),
        "-rtc", "base=utc",
        # After a panic or a power-off the machine stands still, for the evidence, until we end it.
        "-action", f"panic={profile.panic},shutdown=pause,"
                   f"reboot={'reset' if profile.reboot == 'reset' else 'shutdown'}",
        "-device", "pvpanic-pci",
        "-device", "virtio-rng-pci",
        *_monitor(qmp_fd, monitor_fd),
        *_serial(profile, serial_fds, rr),
        *_disk(profile, files, overlay, rr),
        *_firmware(files, firmware_fd, uefi),
        *_cdroms(files),
        *_tpm(tpm_fd),
        *_network(profile, wire_fd, rr),
        *([] if profile.display == "none" else ["-device", profile.display]),
        *(word for device in profile.devices for word in ("-device", device)),
        *(word for value in profile.properties for word in ("-global", value)),
        *_kernel(profile, files),
        *([] if snapshot is None else ["-loadvm", snapshot]),
    ]  # fmt: skip


def _monitor(fd: int, listening: int | None) -> list[str]:
    """Our own connection, and a socket where others are let in, one after the other."""
    words = ["-chardev", f"socket,id=qmp,fd={fd}", "-mon", "chardev=qmp,mode=control"]
    if listening is not None:
        words += ["-chardev", f"socket,id=monitor,fd={listening},server=on,wait=off"]
        words += ["-mon", "chardev=monitor,mode=control"]
    return words


def _serial(profile: Profile, fds: Mapping[SerialRole, int], rr: recording.Mode | None) -> list[str]:
    """Return the options of the serial ports; of the machine's own, COM1 and COM2, the input can be recorded."""
    words: list[str] = []
    for index, role in enumerate(profile.serial):
        words += ["-chardev", f"socket,id={role},fd={fds[role]}"]
        if rr and index < 2:
            words += ["-serial", f"chardev:{role}"]
        else:
            words += ["-device", f"isa-serial,chardev={role},index={index},irq={SERIAL_IRQS[index]}"]
    return words


def _disk(profile: Profile, files: ImageFiles, overlay: Path, rr: recording.Mode | None) -> list[str]:
    """Return the disk's options: no flush waits, as the overlay dies with its run anyway.

    The overlay names its base by a path that QEMU need not be able to open. Of a recorded disk the moments are
    recorded at which it has done what it was asked (blkreplay), not what it holds.
    """
    base = "" if files.disk is None else f",backing.driver=qcow2,backing.file.filename={_escape(files.disk)}"
    first = ",bootindex=0" if files.kernel is None else ""
    own = "disk" if rr is None else "overlay"
    recorded = [] if rr is None else ["-drive", f"driver=blkreplay,if=none,image={own},id=disk"]
    device = {"virtio-scsi-pci": "scsi-hd,bus=scsi.0", "ide-hd": "ide-hd,bus=ide.0"}.get(profile.disk, profile.disk)
    return [
        *(["-device", "virtio-scsi-pci,id=scsi"] if profile.disk == "virtio-scsi-pci" else []),
        "-drive", f"id={own},if=none,format=qcow2,file={_escape(overlay)}{base},cache=unsafe,discard=unmap",
        *recorded,
        "-device", f"{device},drive=disk{first}",
    ]  # fmt: skip


def _firmware(files: ImageFiles, fd: int | None, uefi: Uefi | None) -> list[str]:
    """Return the firmware's options, by which it looks for a system on disk and CD alone.

    SeaBIOS says what it does on port 0x402, UEFI on COM1.
    """
    if files.kernel is not None:
        return []
    words = ["-boot", "strict=on,menu=off"]
    if fd is not None:
        words += ["-chardev", f"socket,id=firmware,fd={fd}", "-device", "isa-debugcon,iobase=0x402,chardev=firmware"]
    if uefi:
        if uefi.secure:  # only code in system management mode may write the variables
            words += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
        words += [
            "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={_escape(uefi.code)}",
            "-drive", f"if=pflash,unit=1,format=qcow2,file={_escape(uefi.variables)}",
            # Newer firmware protects memory in a way that upsets some loaders; older ones do not know the name.
            "-fw_cfg", "name=opt/org.tianocore/UninstallMemAttrProtocol,string=y",
        ]  # fmt: skip
    return words


def _cdroms(files: ImageFiles) -> list[str]:
    """On the AHCI controller, the one bus where Windows Setup surely finds them; port 0 is left to an `ide-hd`."""
    words: list[str] = []
    for number, path in enumerate(files.cdroms, 1):
        words += [
            "-drive", f"id=cd{number},if=none,format=raw,readonly=on,media=cdrom,file={_escape(path)}",
            "-device", f"ide-cd,drive=cd{number},bus=ide.{number},serial=CD{number}{',bootindex=1' * (number == 1)}",
        ]  # fmt: skip
    return words


def _tpm(fd: int | None) -> list[str]:
    if fd is None:
        return []
    return ["-chardev", f"socket,id=tpm,fd={fd}", "-tpmdev", "emulator,id=tpm0,chardev=tpm",
            "-device", "tpm-crb,tpmdev=tpm0"]  # fmt: skip


def _network(profile: Profile, wire_fd: int | None, rr: recording.Mode | None) -> list[str]:
    """Return the cards' options: the wire's first, then management at 127.0.0.1, a port of the kernel's choice.

    A replay hears its recording alone: nobody gets in.
    """
    forward = "" if rr == "replay" else f",hostfwd=tcp:127.0.0.1:0-{MANAGEMENT_ADDRESS}:22"
    wire = [] if wire_fd is None else [
        "-netdev", f"dgram,id={WIRE_LINK},local.type=fd,local.str={wire_fd}",
        "-device", f"{_card(profile.network, rr)},netdev={WIRE_LINK},mac={profile.wire_mac}{NO_ROM}",
        *_recorded(WIRE_LINK, rr),
    ]  # fmt: skip
    return [
        *wire,
        "-netdev", f"user,id=management,restrict=on{forward}",
        "-device", f"{_card(profile.management, rr)},netdev=management,mac={profile.management_mac}{NO_ROM}",
        *_recorded("management", rr),
    ]  # fmt: skip


def _card(device: str, rr: recording.Mode | None) -> str:
    return f"{device},tx=timer" if rr and device == "virtio-net-pci" else device


def _recorded(netdev: str, rr: recording.Mode | None) -> list[str]:
    return ["-object", f"filter-replay,id=recorded-{netdev},netdev={netdev}"] if rr else []


def _kernel(profile: Profile, files: ImageFiles) -> list[str]:
    if files.kernel is None:
        return []
    arguments = f"{profile.kernel_args} {files.kernel_args}".strip()
    initrd = [] if files.initrd is None else ["-initrd", str(files.initrd)]
    return ["-kernel", str(files.kernel), *initrd, "-append", arguments]


def _escape(path: Path) -> str:
    """QEMU's option syntax doubles commas."""
    return str(path).replace(",", ",,")
