#!/bin/sh
# Run a command in an unpacked image: run.sh STORE IMAGE WORD...
# It has a root, mounts and process ids of its own, and ends with its parent.
set -eu
image="$1/$(printf %s "$2" | tr '/:@' '___')"
name="$2"
shift 2
if [ ! -d "$image" ]; then
    echo "there is no image $name" >&2
    exit 125
fi
# shellcheck disable=SC2016
exec unshare --user --map-root-user --mount --pid --fork --kill-child -- /bin/sh -c '
set -eu
image="$1"
shift
root="$PWD/.root"
mkdir -p "$root"
mount -t tmpfs none "$root"
for entry in "$image"/*; do
    target="$root/$(basename "$entry")"
    if [ -d "$entry" ]; then mkdir "$target"; else : > "$target"; fi
    mount --bind "$entry" "$target"
done
for folder in "$UWS_INPUT_DIR" "$UWS_OUTPUT_DIR" "$PWD"; do
    mkdir -p "$root$folder"
done
mount --bind "$UWS_INPUT_DIR" "$root$UWS_INPUT_DIR"
mount --bind "$UWS_OUTPUT_DIR" "$root$UWS_OUTPUT_DIR"
mount --bind "$PWD" "$root$PWD"
folder="$PWD"
cd /
exec /usr/sbin/chroot "$root" /bin/sh -c "cd \"\$0\" && exec \"\$@\"" "$folder" "$@"
' sh "$image" "$@"
