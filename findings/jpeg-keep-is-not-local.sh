#!/usr/bin/env bash
# Question: a JPEG file is decoded, one corner is painted over, and the picture is saved with the file's own quantisation
#   tables (Pillow's quality="keep"). Do pixels far from the corner stay as they were?
# Expected: nearly all, as each 8×8 block is quantised with the steps that it was quantised with before.
# Seen on 2026-11-28 with Pillow 13.0.0 (libjpeg-turbo), quality 90: of smooth content 0.1 % of the far pixels change with
#   colour at full resolution (4:4:4), and 10 % with colour at half of it (4:2:0); of fine colour detail 16 % and 99.6 %,
#   by up to 48 levels. Decoding 4:2:0 smooths colour between its samples, encoding averages it: neither undoes the other.
# Follows: to leave known pixels alone, an edited JPEG is saved in a lossless format.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pillow==13.0.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
from PIL import Image

y, x = np.mgrid[0:256, 0:384]
random = np.random.default_rng(0)
waves = np.stack([128 + 90 * np.sin(x / 11), 128 + 90 * np.cos(y / 17), 128 + 90 * np.sin((x + y) / 23)], 2)
smooth = (waves + random.normal(0, 6, waves.shape)).clip(0, 255).astype(np.uint8)
contents = {"smooth": smooth, "fine": random.integers(0, 256, waves.shape, dtype=np.uint8)}

changed = {}
for content, pixels in contents.items():
    for subsampling in ("4:4:4", "4:2:0"):
        Image.fromarray(pixels).save("photo.jpg", quality=90, subsampling=subsampling)
        with Image.open("photo.jpg") as opened:
            opened.load()
            before = np.array(opened)
            opened.paste((255, 0, 0), (0, 0, 32, 32))
            opened.save("edited.jpg", quality="keep", subsampling="keep")
        far = np.abs(np.asarray(Image.open("edited.jpg")).astype(int) - before)[64:, 64:]
        share = changed[content, subsampling] = float((far > 0).any(2).mean())
        print(f"{content:6} {subsampling}: {share:.1%} of the far pixels differ, by {far.max()} levels at most")

as_seen = changed["smooth", "4:4:4"] < 0.01 and 0.05 < changed["smooth", "4:2:0"] < 0.2
as_seen &= changed["fine", "4:4:4"] < 0.3 and changed["fine", "4:2:0"] > 0.98
print("as seen before" if as_seen else "THIS HAS CHANGED")
sys.exit(not as_seen)
PYTHON
