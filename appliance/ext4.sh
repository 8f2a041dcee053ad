#!/bin/sh
# ext4.sh FOLDER IMAGE MIB UUID - makes an ext4 file system of a folder. The same files give the same bytes.
set -eu
folder=$1 image=$2 mib=$3 uuid=$4
: "${SOURCE_DATE_EPOCH:?}"
# What mke2fs takes for the time of its own doing.
export E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH
rm -f "$image"
truncate -s "${mib}M" "$image"
mke2fs -q -t ext4 -L vfw-root -U "$uuid" -E "hash_seed=$uuid,root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1" \
    -m 1 -e remount-ro -d "$folder" "$image"
# mke2fs copies when files were read and changed on the builder; the image says when they were written.
(cd "$folder" && find . -mindepth 1 -printf '/%P\t%T@\n') | LC_ALL=C sort | awk -F'\t' '{
    split($2, time, ".")
    for (field = 1; field <= 3; field++)
        printf "sif \"%s\" %s @%s\n", $1, substr("atimectimecrtime", field * 5 - 4, field == 3 ? 6 : 5), time[1]
}' >"$image.times"
debugfs -w -f "$image.times" "$image" >/dev/null 2>"$image.log"
# It ends with 0 whatever has happened; beside errors it says who it is.
! grep -v '^debugfs [0-9.]* (' "$image.log" >&2 || exit 1
rm "$image.times"
e2fsck -fn "$image" >"$image.log" 2>&1 || { cat "$image.log" >&2; exit 1; }
rm "$image.log"
