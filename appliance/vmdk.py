#!/usr/bin/env python3
"""vmdk.py DISK.raw OUT.vmdk: writes a disk as a streamOptimized VMDK, the form of disks in an OVA.

Virtual Disk Format 5.0 (VMware technical note), "Stream-Optimized Compressed Sparse Extents": a header that points to
nothing, compressed grains each behind a marker, the grain tables, their directory, and a footer that says where it is.
"""

import struct
import sys
import zlib

SECTOR = 512
GRAIN = 128 * SECTOR
ENTRIES = 512  # of a grain table
OVERHEAD = 128  # sectors before the first grain
AT_THE_END = 0xFFFFFFFFFFFFFFFF
TABLE, DIRECTORY, FOOTER = 1, 2, 3  # kinds of markers

DESCRIPTOR = """# Disk DescriptorFile
version=1
CID=76667701
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RW {sectors} SPARSE "{name}"

# The Disk Data Base
ddb.virtualHWVersion = "14"
ddb.adapterType = "lsilogic"
ddb.geometry.cylinders = "{cylinders}"
ddb.geometry.heads = "255"
ddb.geometry.sectors = "63"
"""


def header(sectors: int, directory: int) -> bytes:
    flags = 0x30001  # line ends can be checked, grains are compressed, there are markers
    fields = (b"KDMV", 3, flags, sectors, GRAIN // SECTOR, 1, OVERHEAD - 1, ENTRIES, 0, directory, OVERHEAD)
    return (struct.pack("<4sIIQQQQIQQQ", *fields) + b"\0\n \r\n" + struct.pack("<H", 1)).ljust(SECTOR, b"\0")


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % SECTOR)


def marker(sectors: int, kind: int) -> bytes:
    return struct.pack("<QII", sectors, 0, kind).ljust(SECTOR, b"\0")


def main() -> None:
    source, out = open(sys.argv[1], "rb"), open(sys.argv[2], "wb")
    sectors = source.seek(0, 2) // SECTOR
    source.seek(0)
    name = sys.argv[2].rsplit("/", 1)[-1]
    text = DESCRIPTOR.format(sectors=sectors, name=name, cylinders=sectors // (255 * 63)).encode()
    out.write(header(sectors, AT_THE_END) + text.ljust((OVERHEAD - 1) * SECTOR, b"\0"))
    directory = []
    for first in range(0, sectors, ENTRIES * GRAIN // SECTOR):
        table = []
        for number in range(ENTRIES):
            data = source.read(GRAIN)
            if data.count(0) == len(data):
                table.append(0)
                continue
            table.append(out.tell() // SECTOR)
            packed = zlib.compress(data.ljust(GRAIN, b"\0"), 6)
            sector = first + number * GRAIN // SECTOR
            out.write(padded(struct.pack("<QI", sector, len(packed)) + packed))
        if not any(table):
            directory.append(0)
            continue
        out.write(marker(ENTRIES * 4 // SECTOR, TABLE))
        directory.append(out.tell() // SECTOR)
        out.write(struct.pack(f"<{ENTRIES}I", *table))
    data = padded(struct.pack(f"<{len(directory)}I", *directory))
    out.write(marker(len(data) // SECTOR, DIRECTORY))
    place = out.tell() // SECTOR
    out.write(data + marker(1, FOOTER) + header(sectors, place) + bytes(SECTOR))


main()
