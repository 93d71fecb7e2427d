"""A soak test: what happens to people's files, again and again, until the time is up.

Every case draws from a seed of its own, made of the run's seed, the kind and the case's number, so that it can be
repeated alone.
"""

import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from experiments.disturbed import COMMANDS, RESULTS, SECONDS, Ground, at_change, check, die, limit_files, mutated
from experiments.report import as_markdown
from misf_lite.evaluation import Protocol, Results, read_results
from misf_lite.images import open_image, open_mask, pixels
from misf_lite.weights import load_checkpoint, load_weights

Kind = Callable[[Ground, Path, random.Random], str]  # one of the outcomes, or "missed"; or it raises
KEPT = "refused or survived"
UNSEEN = "no checksum"  # another valid file now, in a format that has no checksum: nobody can tell
OUTCOMES = (KEPT, UNSEEN, "failed", "silent")
PICTURES = "given/0.png given/0.png given/0.jpg given/0.webp given/0.tif"
NEWEST = "undisturbed-train/run/checkpoint-0000008.pt"


def killed(ground: Ground, case: Path, draw: random.Random, name: str) -> str:
    """At a random moment, before a change to the file system, or some bytes into a write."""
    old = (ground.given / "0.png").read_bytes()
    output, command = case / RESULTS[name], COMMANDS[name]
    if name == "inpaint" and draw.random() < 0.5:
        output.write_bytes(old)
        command += " --force"
    way, change = draw.choice(("moment", "change", "write")), draw.randint(1, ground.changes[name])
    size = draw.randrange(len(ground.expected[name]))
    acts: dict[str, Callable[[], None]] = {"change": die, "write": partial(limit_files, size, signal.SIG_DFL)}
    pid = ground.start(case, command, partial(at_change, change, acts.get(way, lambda: None)))
    if way == "moment":
        time.sleep(draw.random() * ground.seconds[name])
        os.kill(pid, signal.SIGKILL)
    status, _ = ground.wait(pid)
    if status == 0:
        return "missed"  # it was quicker
    check(status in (-signal.SIGKILL, -signal.SIGXFSZ), f"ended with {status}")
    whole = not output.exists() or output.read_bytes() in (old, ground.expected[name])
    check(whole, "neither the old file nor the new one")
    ground.go_on(case, name)
    return KEPT


def full_disk(ground: Ground, case: Path, draw: random.Random) -> str:
    """A tmpfs of a few pages where one may mount it, else a limit to the size of files; then there is space again."""
    name = draw.choice(list(COMMANDS))
    room = 4096 * draw.randrange({"train": 90, "evaluate": 2, "inpaint": 1}[name])
    tmpfs = ["mount", "-t", "tmpfs", "-o", f"size={room + 4096}", "tmpfs", str(case)]
    mounted = os.geteuid() == 0 and subprocess.run(tmpfs, capture_output=True).returncode == 0
    try:
        (case / "other.bin").write_bytes(bytes(4096))
        limit = (lambda: None) if mounted else partial(limit_files, room, signal.SIG_IGN)
        status, said = ground.run(case, COMMANDS[name], limit)
        if status == 0:
            return "missed"  # there was space enough
        error = said.rpartition("misf-lite: error: ")[2]
        check("space" in error or "too large" in error, f"ended with {status}: {said}")
        check(any(file in error for file in ("run", "results.csv", "filled.png")), f"no file is named: {error}")
        check(not (case / RESULTS[name]).exists(), "a file is there all the same")
        if mounted:
            subprocess.run(["mount", "-o", "remount,size=64m", case], check=True)
        ground.go_on(case, name)
        return KEPT
    finally:
        if mounted:
            subprocess.run(["umount", case], check=True)


def damaged(ground: Ground, case: Path, draw: random.Random, files: str, read: Callable[[Path], Any]) -> str:
    """Refused by its name, or read with a note, or as it was; of a table rows may be lost, which are measured anew."""
    source = ground.folder / draw.choice(files.split())
    expected, path = read(source), case / source.name
    path.write_bytes(mutated(source.read_bytes(), draw))
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        try:
            result = read(path)
        except (ValueError, MemoryError) as error:
            check(path.name in str(error), f"the file is not named: {error}")
            return KEPT
    same = result <= expected if isinstance(result, set) else equal(result, expected)
    checksum = source.suffix in (".png", ".pt", ".safetensors")
    return KEPT if notes or same else "silent" if checksum else UNSEEN


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(np.array_equal(a, b))


def rows_to_go_on_with(path: Path) -> set[tuple[Any, ...]]:
    head, _ = read_results(path.parent.parent / "undisturbed-evaluate" / "results.csv")
    protocol = head["protocol"] | {"bands": tuple(map(tuple, head["protocol"]["bands"]))}
    results = Results(path, Protocol(**protocol), head["metrics"], head["methods"])
    return {tuple(row.values()) for row in results.rows.values()}


def thin_picture(ground: Ground, case: Path, draw: random.Random) -> str:
    """A few pixels wide and up to 4000 long: left out with a note, refused by its name, or filled."""
    thin, long = draw.randint(1, 4), draw.randint(30, 4000)
    size = draw.choice(((thin, long), (long, thin)))
    shutil.copytree(ground.given / "set", case / "set")
    Image.frombytes("RGB", size, draw.randbytes(thin * long * 3)).save(case / "set" / "thin.png")
    mask = bytes(draw.choice((0, 255)) for _ in range(thin * long))
    Image.frombytes("L", size, mask).save(case / "mask.png")
    name = draw.choice(list(COMMANDS))
    command = COMMANDS[name].replace("../given/mask", "mask").replace("../given/0", "set/thin")
    status, said = ground.run(case, command.replace("../given/set", "set"))
    check(status == 0 or (status == 1 and "thin.png" in said), f"ended with {status}: {said}")
    if name != "inpaint":
        noted = "thin.png" in said and "left out" in said
        check(noted or long <= 20 * thin, f"not a word of {size}: {said}")
    elif status == 0:
        filled, real, hole = (np.array(Image.open(case / file)) for file in ("filled.png", "set/thin.png", "mask.png"))
        check(np.array_equal(filled[hole == 0], real[hole == 0]), "known pixels are others")
    return KEPT


def writers(ground: Ground, case: Path, draw: random.Random) -> str:
    """Two or three at once into one file: one is first and the others are told, or all rows are there."""
    name = draw.choice(list(COMMANDS))
    commands = [COMMANDS[name]] * draw.randint(2, 3)
    if name == "evaluate":
        commands = [COMMANDS[name].replace("a.safetensors", f"{weights}.safetensors") for weights in "ab"]
    pids = []
    for command in commands:
        pids.append(ground.start(case, command))
        time.sleep(draw.choice((0, 0, 0.01, 0.1, draw.random() * ground.seconds[name])))
    ended = [ground.wait(pid) for pid in pids]
    for status, said in ended:
        refused = status == 1 and ("exists" in said or "another run is training" in said)
        check(status == 0 or (refused and name != "evaluate"), f"ended with {status}: {said}")
    won = sum(status == 0 for status, _ in ended)
    check(won == 1 or (won > 1 and name != "inpaint"), f"{won} have written it")
    if name == "evaluate":
        rows = read_results(case / RESULTS[name])[1].method.value_counts().to_dict()
        check(rows == dict.fromkeys(("a", "b", "mean colour", "smooth guess"), 9), f"rows: {rows}")
    else:
        check((case / RESULTS[name]).read_bytes() == ground.expected[name], "the result is another")
    return KEPT


def console(ground: Ground, case: Path, draw: random.Random) -> str:
    """A console that has no × and no ✓: characters become escapes, and the work is done."""
    encoding = draw.choice(("cp437", "cp1252", "ascii"))
    shutil.copytree(ground.given / "set", case / "naïve ✓")
    commands = (
        "misf_lite " + COMMANDS["inpaint"].replace("filled", "✓"),
        "misf_lite " + COMMANDS["evaluate"].replace("../given/set", "'naïve ✓'"),
        "misf_lite train --help",
        "experiments kernels --data 'naïve ✓' --size 32 --weights ../given/a.safetensors",
    )
    command = draw.choice(commands)
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(Path(__file__).parent.parent)}
    argv = [sys.executable, "-m", *shlex.split(command)]
    done = subprocess.run(argv, cwd=case, env=environment, capture_output=True, timeout=SECONDS)
    said = (done.stdout + done.stderr).decode(encoding)
    check(done.returncode == 0 and "Traceback" not in said, f"{encoding}, {command}: {said}")
    return KEPT


def damage(files: str, read: Callable[[Path], Any]) -> Kind:
    return partial(damaged, files=files, read=read)


KINDS: dict[str, tuple[Kind, int]] = {  # and how many of them there are in a round
    "killed in training": (partial(killed, name="train"), 2),
    "killed in evaluation": (partial(killed, name="evaluate"), 1),
    "killed in inpaint": (partial(killed, name="inpaint"), 1),
    "full disk": (full_disk, 1),
    "damaged picture": (damage(PICTURES, lambda path: pixels(open_image(path))), 40),
    "damaged mask": (damage("given/mask.png", open_mask), 20),
    "damaged CSV": (damage("undisturbed-evaluate/results.csv", rows_to_go_on_with), 20),
    "damaged weights": (damage("given/a.safetensors", lambda path: load_weights(path).state_dict()), 20),
    "damaged checkpoint": (damage(NEWEST, lambda path: load_checkpoint(path.parent, {})), 20),
    "thin picture": (thin_picture, 1),
    "two or three writers": (writers, 1),
    "console encoding": (console, 1),
}


def run_case(ground: Ground, seed: int, kind: str, number: int) -> str:
    """How it ended; if it is bad, that is printed and the folder stays."""
    name = f"{kind} {number}"
    case = ground.folder / name.replace(" ", "-")
    case.mkdir()
    why = ""
    try:
        ended = KINDS[kind][0](ground, case, random.Random(f"{seed} {name}"))
    except Exception as error:
        ended, why = "failed", f"{type(error).__name__}: {error}"
    if ended in ("failed", "silent"):
        print(f"--seed {seed} --case '{name}' {ended}: {why or 'used without a word'}", flush=True)
    else:
        shutil.rmtree(case)
    return ended


def soak(folder: Path, minutes: float, seed: int, only: str | None = None) -> tuple[str, int]:
    """Rounds of all kinds until the time is up, at least one; or one case, such as ``"full disk 3"``.

    Returns a table in Markdown, and how many cases went wrong.
    """
    one, _, number = (only or f"{next(iter(KINDS))} 0").rpartition(" ")
    if one not in KINDS or not number.isdecimal():
        raise ValueError(f"a case is one of {', '.join(KINDS)}, and a number, got {only!r}")
    torch.set_num_threads(1)  # what is forked must have no threads
    end = time.monotonic() + 60 * minutes
    ground = Ground(folder)
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    if only:
        counts[one][run_case(ground, seed, one, int(number))] += 1
    for turn in count():
        if only or (turn and time.monotonic() > end):
            break
        for kind, (_, times) in KINDS.items():
            for i in range(turn * times, (turn + 1) * times):
                counts[kind][run_case(ground, seed, kind, i)] += 1
    rows = []
    for outcomes in counts.values():
        tried = outcomes.total() - outcomes["missed"]
        rows.append([str(n) for n in (tried, *(outcomes[name] for name in OUTCOMES))])
    table = pd.DataFrame(rows, pd.Index(KINDS, name="kind"), ["tried", *OUTCOMES])
    return as_markdown(table), sum(outcomes["failed"] + outcomes["silent"] for outcomes in counts.values())
