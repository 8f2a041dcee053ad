#!/usr/bin/env python3
"""grub-bios.py DISK BOOT.IMG CORE.IMG SECTOR: puts GRUB for BIOS on a disk image, as grub-install does on a device.

BOOT.IMG goes into the first sector around the partition table, CORE.IMG to SECTOR, the start of the BIOS boot partition.
Places in them: grub-core/boot/i386/pc/boot.S and diskboot.S, include/grub/i386/pc/boot.h of GRUB 2.
"""

import struct
import sys

SECTOR = 512
BOOT_CODE = 440  # the disk's signature and the old partition table follow
KERNEL_SECTOR = 0x5C  # where boot.img finds the sector of core.img
DRIVE_CHECK = 0x66  # a jump that is for floppies; a hard disk needs none
BLOCK_LIST = 0x1F4  # of core.img's first sector: where the rest of it is


def main() -> None:
    disk_path, boot_path, core_path, sector = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    with open(boot_path, "rb") as file:
        boot = bytearray(file.read(SECTOR))
    with open(core_path, "rb") as file:
        core = bytearray(file.read())
    struct.pack_into("<Q", boot, KERNEL_SECTOR, sector)
    boot[DRIVE_CHECK : DRIVE_CHECK + 2] = b"\x90\x90"
    sectors = -(-len(core) // SECTOR)
    struct.pack_into("<QH", core, BLOCK_LIST, sector + 1, sectors - 1)
    with open(disk_path, "r+b") as disk:
        disk.write(boot[:BOOT_CODE])
        disk.seek(sector * SECTOR)
        disk.write(core)


main()
