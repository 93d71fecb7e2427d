#!/usr/bin/env bash
# Question: a program reads a picture with pyvips, another picture is written to the same path, and the program reads
#   it again, with a new call. Which one does it get?
# Expected: the one that is in the file.
# Seen on 2026-11-28 with pyvips 3.2.0 (libvips 8.18.7): the old one, pixel by pixel, even if the new one has another size.
#   libvips remembers results of operations by their arguments, and the path is all that it looks at. revalidate=True
#   reads the file, and so does reading its bytes first (new_from_buffer).
# Follows: who overwrites a file and reads it again in one process passes revalidate=True.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check 'pyvips[binary]==3.2.0' pyvips-binary==8.18.7 \
  numpy==2.4.6 pillow==13.0.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from pathlib import Path

import pyvips
from PIL import Image

as_seen = True
for ending in ("png", "tif", "jpg"):
    path = Path(f"picture.{ending}")
    Image.new("L", (40, 30), 50).save(path)
    first = pyvips.Image.new_from_file(str(path)).numpy()
    Image.new("L", (60, 20), 200).save(path)
    again = pyvips.Image.new_from_file(str(path)).numpy()
    fresh = pyvips.Image.new_from_file(str(path), revalidate=True).numpy()
    buffer = pyvips.Image.new_from_buffer(path.read_bytes(), "").numpy()
    told = {"first": first, "again": again, "revalidate": fresh, "from bytes": buffer}
    print(ending, *(f"{name}: {pixels.shape} of {pixels[0, 0]}" for name, pixels in told.items()), sep=", ")
    as_seen &= again.shape == first.shape == (30, 40) and fresh.shape == buffer.shape == (20, 60)
print("as seen before" if as_seen else "THIS HAS CHANGED")
sys.exit(not as_seen)
PYTHON
