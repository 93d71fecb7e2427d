#!/usr/bin/env bash
# Question: is a TIFF file of 16-bit colour stored in planes (PlanarConfiguration 2), one of the two layouts of the
#   format, read right by the libraries that read the usual layout right?
# Expected: yes, or an error.
# Seen on 2026-11-28: Pillow 13.0.0 and OpenCV 5.0.0.93 return a picture of the right shape and raise nothing, and nearly
#   all of its values are wrong; Pillow takes the 16-bit samples of a plane for 8-bit ones. tifffile 2026.3.3, which wrote
#   it, and pyvips 3.2.0 (libvips 8.18.7) return every value. In the usual layout all four agree.
# Follows: whoever takes 16-bit TIFF from elsewhere looks at tag 284 before they trust the pixels.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pillow==13.0.0 opencv-python-headless==5.0.0.93 \
  tifffile==2026.3.3 'pyvips[binary]==3.2.0' pyvips-binary==8.18.7
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import cv2
import numpy as np
import pyvips
import tifffile
from PIL import Image

y, x = np.mgrid[0:60, 0:90]
colour = np.stack([x * 700, y * 1000, (x + y) * 400], 2).astype(np.uint16)
tifffile.imwrite("together.tif", colour, photometric="rgb")
tifffile.imwrite("planes.tif", np.moveaxis(colour, 2, 0).copy(), photometric="rgb", planarconfig="separate")

right = {}
for name in ("together", "planes"):
    file = f"{name}.tif"
    stored = tifffile.imread(file)
    read = {
        "tifffile": stored if name == "together" else np.moveaxis(stored, 0, 2),
        "pyvips": pyvips.Image.new_from_file(file).numpy(),
        "OpenCV": cv2.imread(file, cv2.IMREAD_UNCHANGED)[..., ::-1],
        "Pillow (8 bits)": np.asarray(Image.open(file)),
    }
    for library, pixels in read.items():
        wanted = colour >> 8 if pixels.dtype == np.uint8 else colour
        right[name, library] = float((pixels == wanted).mean())
        print(f"{name:9} {library:16} {pixels.shape} {pixels.dtype}: {right[name, library]:.1%} of the values are right")

sound = [share for (name, library), share in right.items() if name == "together" or library in ("tifffile", "pyvips")]
as_seen = all(share == 1 for share in sound)
as_seen &= right["planes", "OpenCV"] < 0.2 and right["planes", "Pillow (8 bits)"] < 0.2
print("as seen before" if as_seen else "THIS HAS CHANGED")
sys.exit(not as_seen)
PYTHON
