"""The command line: `misf-lite COMMAND`, or `python -m misf_lite COMMAND`."""

import argparse
import ast
import io
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from accelerate import PartialState

from misf_lite import __version__
from misf_lite.classical import CLASSICAL, Fill, mean_fill, patchmatch, smooth_guess
from misf_lite.datasets import open_dataset
from misf_lite.device import device
from misf_lite.doctor import examine
from misf_lite.evaluation import METRICS, Protocol, Results, describe, fingerprint, measure, measure_sets
from misf_lite.extras import import_or_explain
from misf_lite.files import atomic_write, printable
from misf_lite.images import check_output, open_image, open_mask, save_image
from misf_lite.inpainting import inpaint
from misf_lite.lite import LiteConfig
from misf_lite.masks import KINDS
from misf_lite.metrics import ENOUGH
from misf_lite.model import MISFConfig
from misf_lite.publish import run_notebook, student_version
from misf_lite.recipe import LOSSES, Recipe
from misf_lite.statistics import show
from misf_lite.training import SIGNALS, train
from misf_lite.weights import find_weights, weights_path

ARCHITECTURES: dict[str, Any] = {"lite": LiteConfig, "toy": MISFConfig.toy, "paper": MISFConfig.paper}
RECIPES: dict[str, Any] = {"lite": Recipe, "toy": Recipe.toy, "paper": Recipe.paper}
PACKAGES = {"Telea": "cv2", "Navier–Stokes": "cv2", "biharmonic": "skimage", "PatchMatch": "patchmatch"}
Run = Callable[[argparse.Namespace], int | None]


def main(argv: Sequence[str] | None = None) -> int:
    top = argparse.ArgumentParser(prog="misf-lite", description="Predictive filtering for image inpainting.")
    top.add_argument("--version", action="version", version=f"misf-lite {__version__}")
    add = commands(top)
    sub = add("inpaint", run_inpaint, "fill the hole of a picture")
    sub.add_argument("image", type=Path, help="the picture")
    sub.add_argument("mask", type=Path, help="a picture of the same size; white (128 and above) is the hole")
    sub.add_argument("-o", "--output", type=Path, required=True, help="where to write the result, best as .png")
    sub.add_argument("--weights", default="photos", help="a bundled name, a file, or a run's folder (default: photos)")
    sub.add_argument("--tile", type=int, help="side of tiles in pixels (default: tiles only beyond one megapixel)")
    sub.add_argument("--force", action="store_true", help="replace the output if it exists")

    add_train_options(add("train", run_train, "train a model, or go on with an interrupted run"))
    add_evaluate_options(add("evaluate", run_evaluate, "measure how well held-out holes are filled, and compare"))

    sub = add("demo", run_demo, "run the tour notebook on real photographs and write a page and pictures")
    sub.add_argument("-o", "--output", type=Path, default=Path("outputs"), help="folder to write to (default: outputs)")
    sub.add_argument("--preset", choices=("full", "tiny"), default="full", help="tiny is for tests (default: full)")

    sub = add("student", run_student, "write a notebook with its solutions taken out")
    sub.add_argument("notebook", type=Path, help="a notebook of the course")
    sub.add_argument("-o", "--output", type=Path, required=True, help="where to write the student's version")
    sub.add_argument("--force", action="store_true", help="replace the output if it exists")

    add("doctor", run_doctor, "check the installation: what is here, what is missing, how to mend it")
    return run_safely(top, argv)


def positive(text: str) -> int:
    """For argparse: a whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text!r}")
    return int(text)


def commands(top: argparse.ArgumentParser) -> Callable[[str, Run, str], argparse.ArgumentParser]:
    """A function that adds a command: its name, what runs it, what it does."""
    choices = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        sub = choices.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        sub.set_defaults(run=run)
        return sub

    return add


def add_train_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("-o", "--output", type=Path, required=True, help="folder for checkpoints and weights")
    sub.add_argument("--preset", choices=ARCHITECTURES, help="architecture and recipe (default: lite, or as --start)")
    sub.add_argument("--data", help="photos (default), no-paintings, toy, celeba, places365 or a folder")
    sub.add_argument("--masks", help="a folder of masks, white is the hole (default: draw random ones)")
    sub.add_argument("--kinds", nargs="+", help=f"kinds of random masks: {', '.join(KINDS)}")
    sub.add_argument("--root", help="where CelebA and Places365 lie (default: datasets)")
    sub.add_argument("--start", help="weights to start from: a bundled name, a file, or a run's folder")
    sub.add_argument("--steps", type=int, help="training steps")
    sub.add_argument("--crops", type=int, nargs="+", help="sides of the crops in pixels, one taken at random per step")
    sub.add_argument("--batch", type=int, help="pictures per step of the smallest crop, in all processes together")
    for loss in LOSSES:
        sub.add_argument(f"--{loss.replace('_', '-')}", type=float, help=f"weight of the {loss} loss, 0 leaves it out")
    sub.add_argument("--features", help="what those losses look through: efflite0 (offline) or vgg19")
    sub.add_argument("--discriminator", help="what it looks at: patches, or features")
    sub.add_argument("--rate", dest="lr", type=float, help="learning rate, the highest of a one-cycle schedule")
    sub.add_argument("--precision", help="float32, bf16 or fp16")
    sub.add_argument("--seed", type=int, help="seed of pictures, holes and weights")
    sub.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="of the config, such as levels=3,")
    sub.add_argument("--every", type=positive, default=500, help="steps between checkpoints (default: 500)")
    sub.add_argument("--keep", type=positive, default=3, help="how many checkpoints stay (default: 3)")
    sub.add_argument("--workers", type=int, help="processes that read pictures and draw holes")
    sub.add_argument("--tensorboard", action="store_true", help="write a TensorBoard log into the folder")


def add_evaluate_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--data", default="photos", help="photos (default), paintings, toy, celeba, places365 or a folder")
    sub.add_argument("--split", choices=("val", "test"), default="test", help="which photographs (default: test)")
    sub.add_argument("--size", type=positive, default=128, help="short side in pixels (default: 128)")
    sub.add_argument("--root", default="datasets", help="where CelebA and Places365 lie (default: datasets)")
    sub.add_argument("--count", type=positive, help="only the first so many pictures")
    sub.add_argument("--weights", nargs="+", default=["photos"], help="names, files or runs' folders (default: photos)")
    sub.add_argument("--classical", action="store_true", help="and three classical methods (of misf-lite[classical])")
    sub.add_argument("--patchmatch", action="store_true", help="and PatchMatch (of misf-lite[evaluation])")
    sub.add_argument("--kind", choices=sorted(KINDS), default="strokes", help="kind of masks (default: strokes)")
    sub.add_argument("--seed", type=int, default=0, help="seed of the masks (default: 0)")
    sub.add_argument("--metrics", nargs="+", choices=METRICS, default=["psnr", "ssim"], help="default: psnr ssim")
    sub.add_argument("--frechet", action="store_true", help=f"and the Fréchet distance, from {ENOUGH} pictures on")
    sub.add_argument("--baseline", help="compare the others with this method: difference and 95 %% interval")
    sub.add_argument("-o", "--output", type=Path, help="a .csv file of every picture; an interrupted one is continued")
    sub.add_argument("--force", action="store_true", help="replace the output if it exists")


def run_safely(top: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    """Run a command; an error becomes one line. Returns the exit status: 0, 1 for a problem, 130 when interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # not every console knows × and ≤
    arguments = top.parse_args(argv)
    for number in SIGNALS[1:]:
        if signal.getsignal(number) == signal.SIG_DFL and threading.current_thread() is threading.main_thread():
            signal.signal(number, signal.default_int_handler)  # they end a command as Ctrl-C does
    try:
        with warnings.catch_warnings(action="always", category=UserWarning):
            warnings.showwarning = lambda message, *_: print(f"misf-lite: note: {message}", file=sys.stderr)
            warnings.filterwarnings("ignore", "Image size")  # Pillow's, beside our error
            return arguments.run(arguments) or 0
    except (OSError, ValueError, FloatingPointError, ImportError, MemoryError) as error:
        print(f"misf-lite: error: {str(error) or type(error).__name__}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        advice = "use smaller tiles (--tile 256) or crops, a smaller batch, or MISF_LITE_DEVICE=cpu"
        print(f"misf-lite: error: out of memory ({str(error).splitlines()[0]}): {advice}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("misf-lite: interrupted", file=sys.stderr)
        return 130


def run_inpaint(arguments: argparse.Namespace) -> None:
    picture = open_image(arguments.image)
    check_output(arguments.output, picture, overwrite=arguments.force)  # before the work, not after it
    model = find_weights(arguments.weights).to(device())
    started = time.perf_counter()
    mask = open_mask(arguments.mask)
    share = mask.mean().item()
    filled = inpaint(picture, mask, model, arguments.tile)
    if share == 0:
        warnings.warn(f"{arguments.mask} has no hole, so nothing is filled: paint the hole white", stacklevel=1)
    elif share >= 0.6:
        asked = "is the mask inverted? White is the hole"
        warnings.warn(f"the hole in {arguments.mask} is {share:.0%} of the picture: {asked}", stacklevel=1)
    save_image(filled, arguments.output, overwrite=arguments.force)
    size = f"{filled.width}×{filled.height}, a hole of {share:.2%}"
    print(f"{arguments.output}: {size}, filled in {time.perf_counter() - started:.1f} s")


def run_train(arguments: argparse.Namespace) -> int:
    preset = arguments.preset or "lite"
    names = {field.name for field in fields(Recipe)}
    given = {name: value for name, value in vars(arguments).items() if name in names and value is not None}
    recipe = RECIPES[preset](**given)
    config = ARCHITECTURES[preset]()
    if arguments.start and not arguments.preset:
        config = find_weights(arguments.start).config
    config = replace(config, **parse_changes(arguments.set, config))
    options = {name: getattr(arguments, name) for name in ("every", "keep", "workers", "tensorboard")}
    train(config, recipe, arguments.output, **options)
    return 0 if (arguments.output / "weights.safetensors").exists() else 130  # interrupted, and saved


def parse_changes(given: Sequence[str], config: MISFConfig) -> dict[str, Any]:
    """``["width=8", "kernel_size=5,3"]`` to ``{"width": 8, "kernel_size": (5, 3)}``."""
    known = vars(config)
    changes = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name not in known:
            raise ValueError(f"--set takes FIELD=VALUE, got {text!r}; the fields are {', '.join(known)}")
        try:
            changes[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            changes[name] = value
        if type(changes[name]) is not type(known[name]):
            raise ValueError(f"--set {text}: {name} takes a value such as {known[name]!r}, got {value!r}")
    return changes


def run_evaluate(arguments: argparse.Namespace) -> None:
    state = PartialState()
    pictures = open_dataset(arguments.data, arguments.split, shrink=arguments.size, root=arguments.root)
    sys.stderr.writelines(f"{note}\n" for note in pictures.notes)
    methods, identities = open_methods(arguments)
    protocol = Protocol.of(pictures, arguments.count, size=arguments.size, kind=arguments.kind, seed=arguments.seed)
    results = Results(arguments.output, protocol, arguments.metrics, identities, anew=arguments.force)
    check_baseline(arguments.baseline, results.head["methods"])
    state.wait_for_everyone()  # or one would read the journal that another has begun
    measure(methods, pictures, results, state.process_index, state.num_processes)
    state.wait_for_everyone()
    if not state.is_main_process:
        return
    if arguments.frechet:
        measure_sets(methods, pictures, results)
    results.finish()
    print(describe(results.head["protocol"]), show(results.table(), results.head, arguments.baseline), sep="\n")
    if arguments.output:
        print(arguments.output)


def check_baseline(baseline: str | None, methods: Iterable[str]) -> None:
    if baseline and baseline not in methods:
        raise ValueError(f"there is no method {baseline!r} to compare with: {', '.join(methods)}")


def open_methods(arguments: argparse.Namespace) -> tuple[dict[str, Fill], dict[str, str]]:
    """What is compared, by name; and of each what it is: a hash of its weights, or the version of its package."""
    models: dict[str, Fill] = {}
    identities = {}
    taken = {"mean colour", "smooth guess", "PatchMatch", *CLASSICAL}
    for name in arguments.weights:
        path = weights_path(name)
        is_run = path.stem == "weights" or Path(name).is_dir()
        short = printable(path.resolve().parent.name if is_run else Path(name).stem)
        if short in models or short in taken:
            raise ValueError(f"two methods are called {short!r}, one of them is {name}: rename the file")
        models[short] = find_weights(name).to(device())
        identities[short] = fingerprint(path)
    others: dict[str, Fill] = {"mean colour": mean_fill, "smooth guess": smooth_guess}
    if arguments.classical:
        others |= CLASSICAL
    if arguments.patchmatch:
        others["PatchMatch"] = patchmatch
    for name in others:
        package = PACKAGES.get(name, "misf_lite")
        extra = "evaluation" if name == "PatchMatch" else "classical"
        identities[name] = f"{package} {import_or_explain(package, extra).__version__}"
    return models | others, identities


def run_demo(arguments: argparse.Namespace) -> None:
    notebook = Path(__file__).parent.parent / "notebooks" / "00_start_here.ipynb"
    page, pictures, measured = run_notebook(notebook, arguments.output, arguments.preset)
    print(measured, page, *pictures, sep="\n")


def run_student(arguments: argparse.Namespace) -> None:
    nbformat = import_or_explain("nbformat", "notebooks")
    if arguments.output.exists() and arguments.output.samefile(arguments.notebook):
        raise ValueError(f"{arguments.output} is the notebook with the solutions, which stays: write to another file")
    try:
        notebook = nbformat.read(arguments.notebook, as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # what is none raises anything
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{arguments.notebook} is not a notebook ({reason}): name an .ipynb file") from error
    stripped = student_version(notebook)
    with atomic_write(arguments.output, overwrite=arguments.force) as file:
        file.write(nbformat.writes(stripped).encode())
    print(arguments.output)


def run_doctor(arguments: argparse.Namespace) -> int:
    facts, problems = examine()
    print(*facts, *(f"MISSING    {problem}" for problem in problems), sep="\n")
    print(f"{len(problems)} to mend, see above." if problems else "Everything is in place.")
    return 1 if problems else 0
