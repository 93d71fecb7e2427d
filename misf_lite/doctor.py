"""`misf-lite doctor`: what is installed, which device will be used and why, what is missing and how to mend it."""

import importlib.metadata
import platform
import shutil
import sys
import time

import psutil
import torch
from packaging.requirements import Requirement

from misf_lite.datasets import data_folder, photos
from misf_lite.device import explain_device
from misf_lite.images import open_image
from misf_lite.inpainting import inpaint
from misf_lite.masks import random_mask
from misf_lite.weights import pretrained


def examine() -> tuple[list[str], list[str]]:
    """Lines that describe this installation, and the problems found, each with its remedy."""
    facts = [f"python     {platform.python_version()} on {platform.platform()}, {sys.executable}"]
    problems: list[str] = []
    for extra, title in (("", "packages"), ("notebooks", "notebooks"), ("training", "training")):
        found, missing = packages(extra)
        facts.append(f"{title:10} {', '.join(found)}")
        problems += missing
    try:
        device, why = explain_device()
        facts += [f"device     {why}", f"memory     {memory(device)}"]
    except ValueError as error:
        problems.append(str(error))
    facts.append(f"disk       {shutil.disk_usage('.').free / 1e9:.0f} GB free here")
    try:
        pictures = photos()
        absent = [path.name for path in pictures if not path.is_file()]
        facts.append(f"photos     {len(pictures) - len(absent)} of {len(pictures)} in {data_folder() / 'photos'}")
        if absent:
            problems.append(f"{len(absent)} photographs are missing ({absent[0]}, …): install misf-lite anew")
    except FileNotFoundError as error:
        problems.append(str(error))
    facts.append(f"weights    {', '.join(pretrained()) or 'none'}")
    if "photos" not in pretrained():
        problems.append("the weights 'photos' are missing: install misf-lite anew")
    if not problems:
        try:
            picture = open_image(pictures[0])
            started = time.perf_counter()
            inpaint(picture, random_mask((picture.height, picture.width)))
            seconds = time.perf_counter() - started
            facts.append(f"filling    {pictures[0].name} ({picture.width}×{picture.height}) took {seconds:.1f} s")
        except (OSError, ValueError, RuntimeError) as error:
            problems.append(f"a hole could not be filled: {error}")
    return facts, problems


def packages(extra: str) -> tuple[list[str], list[str]]:
    """What the project (or one of its extras) requires: name and version of each, and what is missing or too old."""
    try:
        wanted = [Requirement(line) for line in importlib.metadata.requires("misf-lite") or []]
    except importlib.metadata.PackageNotFoundError:
        return [], [] if extra else ["misf-lite itself is not installed: run make setup, or pip install -e ."]
    found, problems = [], []
    for requirement in wanted:
        marker = requirement.marker  # says which extra asks for it
        if not (marker.evaluate({"extra": extra}) if marker else not extra):
            continue
        remedy = f"pip install '{requirement.name}{requirement.specifier}'"
        try:
            version = importlib.metadata.version(requirement.name)
            found.append(f"{requirement.name} {version}")
            if not requirement.specifier.contains(version, prereleases=True):
                problems.append(f"{found[-1]} is too old, {requirement.specifier} is needed: {remedy}")
        except importlib.metadata.PackageNotFoundError:
            problems.append(f"{requirement.name} is not installed: {remedy}")
    return found, problems


def memory(device: torch.device) -> str:
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free on {torch.cuda.get_device_name(device)}"
    free, total = psutil.virtual_memory().available, psutil.virtual_memory().total
    return f"{free / 1e9:.0f} of {total / 1e9:.0f} GB free, {torch.get_num_threads()} threads for torch"
