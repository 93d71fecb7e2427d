"""Commands in processes of their own, which are killed, cut short or watched, and files that are damaged (Linux)."""

import os
import random
import resource
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from misf_lite.cli import main
from misf_lite.model import MISF, MISFConfig
from misf_lite.weights import checkpoints, find_weights, load_weights, save_weights

COMMANDS = {  # they run in a folder of their own, beside what all of them start from
    "train": "train --preset toy --set width=2 blocks=0,0 --data ../given/set --steps 8 --batch 2 --crops 16 --every 2"
    " --workers 0 -o run",
    "evaluate": "evaluate --data ../given/set --size 32 --weights ../given/a.safetensors -o results.csv",
    "inpaint": "inpaint ../given/0.png ../given/mask.png --weights ../given/a.safetensors -o filled.png",
}
RESULTS = {"train": "run/weights.safetensors", "evaluate": "results.csv", "inpaint": "filled.png"}
SECONDS, GIGABYTES = 120, 2.0  # at most for a command
CHANGES: list[int] = []  # to the file system, of this process; see at_change


class Ground:
    """What the cases start from: pictures, a mask, weights, and what each command gives when nothing disturbs it."""

    def __init__(self, folder: Path) -> None:
        if folder.exists():
            raise FileExistsError(f"{folder} exists: name a new folder")
        self.folder, self.given = folder.resolve(), folder.resolve() / "given"
        (self.given / "set").mkdir(parents=True)
        for i in range(3):
            low = Image.fromarray(np.random.default_rng(i).integers(0, 256, (5, 7, 3), dtype=np.uint8))
            low.resize((48, 32), Image.Resampling.BICUBIC).save(self.given / "set" / f"{i}.png")
        for ending in ("png", "jpg", "webp", "tif"):
            Image.open(self.given / "set" / "0.png").save(self.given / f"0.{ending}")
        mask = Image.new("L", (48, 32))
        mask.paste(255, (10, 8, 30, 20))
        mask.save(self.given / "mask.png")
        for seed, name in enumerate("ab"):
            torch.manual_seed(seed)
            save_weights(MISF(MISFConfig.toy(width=2, blocks=(0, 0))), self.given / f"{name}.safetensors")
        load_weights(self.given / "a.safetensors")  # here, as torch imports much for the first
        self.expected: dict[str, bytes] = {}
        self.seconds: dict[str, float] = {}
        self.changes: dict[str, int] = {}
        for name, command in COMMANDS.items():
            case = self.folder / f"undisturbed-{name}"
            case.mkdir()
            started = time.monotonic()
            status, said = self.run(case, command, partial(at_change, None, die))
            check(status == 0, said)
            self.seconds[name] = time.monotonic() - started
            self.changes[name] = int(said.rpartition("changes: ")[2])
            self.expected[name] = (case / RESULTS[name]).read_bytes()

    def start(self, case: Path, command: str, before: Callable[[], None] = lambda: None) -> int:
        """A child that runs the command in that folder; its number."""
        pid = os.fork()
        if pid:
            return pid
        status = 70
        try:
            log = os.open(self.folder / f"said-{os.getpid()}", os.O_CREAT | os.O_WRONLY)
            for number in (1, 2):
                os.dup2(log, number)
            sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1, closefd=False)
            os.chdir(case)
            signal.alarm(SECONDS)
            before()
            status = main(shlex.split(command))
            print("changes:", *CHANGES)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def wait(self, pid: int) -> tuple[int, str]:
        """How a child ended (minus the signal that killed it), and what it said."""
        _, status, usage = os.wait4(pid, 0)
        log = self.folder / f"said-{pid}"
        said = log.read_text(errors="replace")
        log.unlink()
        check("Traceback" not in said, said)
        check(usage.ru_maxrss < GIGABYTES * 2**20, f"{usage.ru_maxrss} kB of memory")
        return os.waitstatus_to_exitcode(status), said

    def run(self, case: Path, command: str, before: Callable[[], None] = lambda: None) -> tuple[int, str]:
        return self.wait(self.start(case, command, before))

    def go_on(self, case: Path, name: str) -> None:
        """All checkpoints are whole, and the same command again gives, bit for bit, what it gives undisturbed."""
        for checkpoint in checkpoints(case / "run"):
            find_weights(str(checkpoint))
        if name == "inpaint":
            (case / RESULTS[name]).unlink(missing_ok=True)
        status, said = self.run(case, COMMANDS[name])
        check(status == 0, f"the next start ended with {status}: {said}")
        check((case / RESULTS[name]).read_bytes() == self.expected[name], "the result is another")
        check(not [*case.glob(".*journal*"), *case.glob("run/.*.part")], "something is left")


def check(right: bool, otherwise: str) -> None:
    if not right:
        raise AssertionError(otherwise)


def at_change(number: int | None, act: Callable[[], None]) -> None:
    """Count the changes to the file system below the working folder; act just before the one of that number."""
    CHANGES.append(0)
    here = os.getcwd()

    def hook(event: str, given: tuple[Any, ...]) -> None:
        writes = event == "open" and given[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in ("os.rename", "os.link", "os.remove", "os.mkdir"):
            CHANGES[0] += os.path.abspath(str(given[0])).startswith(here)
            if CHANGES[0] == number:
                act()

    sys.addaudithook(hook)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def limit_files(size: int, action: signal.Handlers) -> None:
    """No file of this process gets larger: with SIG_DFL it dies in the middle of a write, with SIG_IGN it is told."""
    signal.signal(signal.SIGXFSZ, action)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def mutated(data: bytes, draw: random.Random) -> bytes:
    """Bits flipped, the end cut off, zeros from a crash, or bytes that came in."""
    new = bytearray(data)
    while new == data:
        way, at = draw.choice(("flip", "cut", "zeros", "insert")), draw.randrange(len(data))
        if way == "flip":
            for _ in range(draw.choice((1, 1, 3, 20))):
                new[draw.randrange(len(new))] ^= 1 << draw.randrange(8)
        elif way == "cut":
            del new[at:]
        elif way == "zeros":
            end = min(len(new), at + draw.choice((1, 16, 4096)))
            new[at:end] = bytes(end - at)
        else:
            new[at:at] = draw.randbytes(draw.randint(1, 9))
    return bytes(new)
