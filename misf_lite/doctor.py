"""`misf-lite doctor`: what is installed, which device will be used and why, what is missing and how to mend it."""

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import time

import torch

from misf_lite.datasets import data_folder, photos
from misf_lite.device import explain_device
from misf_lite.images import open_image
from misf_lite.inpainting import inpaint, pretrained
from misf_lite.masks import random_mask


def examine() -> tuple[list[str], list[str]]:
    """Lines that describe this installation, and the problems found, each with its remedy."""
    facts, problems = [], []
    facts.append(f"python     {platform.python_version()} on {platform.platform()}, {sys.executable}")
    requirements = importlib.metadata.requires("misf-lite") or []
    for extra in (None, "notebooks"):
        found = []
        for requirement in requirements:
            name, marker = re.match(r"[\w-]+", requirement)[0], re.search(r"extra == ['\"](\w+)['\"]", requirement)
            if (marker[1] if marker else None) != extra:
                continue
            try:
                found.append(f"{name} {importlib.metadata.version(name)}")
            except importlib.metadata.PackageNotFoundError:
                wanted = "misf-lite" if extra is None else f"misf-lite[{extra}]"
                problems.append(f"{name} is not installed: pip install '{wanted}'")
        facts.append(f"{extra or 'packages':10} {', '.join(found)}")

    try:
        chosen, why = explain_device()
        facts.append(f"device     {why}")
        facts.append(f"memory     {_memory(chosen)}")
    except ValueError as error:
        problems.append(str(error))
    facts.append(f"disk       {shutil.disk_usage(os.getcwd()).free / 1e9:.0f} GB free here")

    try:
        pictures = photos()
        missing = [path.name for path in pictures if not path.is_file()]
        facts.append(f"photos     {len(pictures) - len(missing)} of {len(pictures)} in {data_folder() / 'photos'}")
        if missing:
            problems.append(f"{len(missing)} photographs are missing ({missing[0]}, …): install misf-lite anew")
    except FileNotFoundError as error:
        problems.append(str(error))
    facts.append(f"weights    {', '.join(pretrained()) or 'none'}")
    if "photos" not in pretrained():
        problems.append("the weights 'photos' are missing: install misf-lite anew")
    if not problems:
        picture = open_image(pictures[0])
        started = time.perf_counter()
        inpaint(picture, random_mask(picture.size[::-1]))
        seconds = time.perf_counter() - started
        facts.append(f"filling    a hole in {pictures[0].name} ({picture.width}×{picture.height}) took {seconds:.1f} s")
    return facts, problems


def _memory(device: torch.device) -> str:
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free on {torch.cuda.get_device_name(device)}"
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # Windows has no sysconf
        return "unknown on this system"
    return f"{total / 1e9:.0f} GB in all, {torch.get_num_threads()} threads for torch"
