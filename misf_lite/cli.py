"""The command line: `misf-lite COMMAND`, or `python -m misf_lite COMMAND`."""

import argparse
import ast
import math
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path

import torch
from accelerate import PartialState
from tqdm import tqdm

from misf_lite import __version__
from misf_lite.ablations import (
    ABLATIONS,
    BUDGETS,
    CONDITIONS,
    MAIN,
    REFERENCE,
    measure_all,
    runs,
    show_generalisation,
    show_spread,
    train_all,
)
from misf_lite.datasets import load_photo, open_pictures
from misf_lite.device import device
from misf_lite.doctor import examine
from misf_lite.evaluation import (
    METRICS,
    Method,
    Protocol,
    Results,
    describe,
    discard,
    fingerprint,
    measure,
    measure_sets,
    show,
)
from misf_lite.guess import smooth_guess
from misf_lite.images import Source, check_output, save_image
from misf_lite.inpainting import find_weights, inpaint, weights_path
from misf_lite.masks import BANDS, KINDS, random_mask
from misf_lite.metrics import CLASSICAL, ENOUGH, mean_fill, patchmatch
from misf_lite.model import MISFConfig
from misf_lite.training import LOSSES, Recipe, train

PRESETS = ("lite", "toy", "paper")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="misf-lite", description="Predictive filtering for image inpainting.")
    top.add_argument("--version", action="version", version=f"misf-lite {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(run=run)
        return sub

    sub = command("inpaint", run_inpaint, "fill the hole of a picture")
    sub.add_argument("image", type=Path, help="the picture")
    sub.add_argument("mask", type=Path, help="a picture of the same size; white (128 and above) is the hole")
    sub.add_argument("-o", "--output", type=Path, required=True, help="where to write the result, best as .png")
    sub.add_argument(
        "--weights", default="photos", help="weights that came along, or a .safetensors file (default: photos)"
    )
    sub.add_argument(
        "--tile", type=int, help="work in tiles of this side in pixels (default: only beyond one megapixel)"
    )
    sub.add_argument("--force", action="store_true", help="replace the output if it exists")

    sub = command("train", run_train, "train a model, or go on with an interrupted run")
    sub.add_argument("-o", "--output", type=Path, required=True, help="folder for checkpoints and weights")
    sub.add_argument(
        "--preset", choices=PRESETS, help="architecture and recipe (default: lite, or the architecture of --start)"
    )
    sub.add_argument(
        "--data",
        help="photos, no-paintings (photos without them), toy, celeba, places365, or a folder (default: photos)",
    )
    sub.add_argument("--masks", help="a folder of masks, white is the hole (default: draw random ones)")
    sub.add_argument("--kinds", nargs="+", help="kinds of random masks: strokes, box, blobs, text, thin")
    sub.add_argument("--root", help="where CelebA and Places365 lie (default: datasets)")
    sub.add_argument("--start", help="weights to start from: a name or a .safetensors file")
    sub.add_argument("--steps", type=int, help="training steps")
    sub.add_argument("--crops", type=int, nargs="+", help="sides of the crops in pixels, one taken at random per step")
    sub.add_argument("--batch", type=int, help="pictures per step of the smallest crop, in all processes together")
    for loss in LOSSES:
        sub.add_argument(f"--{loss.replace('_', '-')}", type=float, help=f"weight of the {loss} loss, 0 leaves it out")
    sub.add_argument("--features", help="for perceptual and style loss: efflite (offline) or vgg19")
    sub.add_argument("--rate", type=float, help="learning rate, the highest of a one-cycle schedule")
    sub.add_argument("--precision", help="float32, bf16 or fp16")
    sub.add_argument("--seed", type=int, help="seed of pictures, holes and weights")
    sub.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="FIELD=VALUE",
        help="change the architecture, such as semantic=False or kernel_size=5,3,3,3; see MISFConfig",
    )
    sub.add_argument("--every", type=int, default=500, help="steps between checkpoints (default: 500)")
    sub.add_argument("--keep", type=int, default=3, help="how many checkpoints stay (default: 3)")
    sub.add_argument("--workers", type=int, help="processes that read pictures and draw holes")
    sub.add_argument("--tensorboard", action="store_true", help="write a TensorBoard log into the folder")

    sub = command("evaluate", run_evaluate, "measure how well held-out holes are filled, and compare")
    _add_pictures(sub)
    sub.add_argument(
        "--weights",
        nargs="+",
        default=["photos"],
        help="weights that came along, .safetensors files, or released .pth checkpoints (default: photos)",
    )
    sub.add_argument(
        "--classical", action="store_true", help="and three classical methods (pip install 'misf-lite[classical]')"
    )
    sub.add_argument("--patchmatch", action="store_true", help="and PatchMatch (pip install 'misf-lite[evaluation]')")
    sub.add_argument("--kind", choices=sorted(KINDS), default="strokes", help="kind of masks (default: strokes)")
    sub.add_argument("--seed", type=int, default=0, help="seed of the masks (default: 0)")
    sub.add_argument(
        "--metrics", nargs="+", default=["psnr", "ssim"], metavar="METRIC", help=f"some of {', '.join(METRICS)}"
    )
    sub.add_argument("--frechet", action="store_true", help=f"and the Fréchet distance, from {ENOUGH} pictures on")
    sub.add_argument("--baseline", help="compare the others with this method: difference and 95 %% interval")
    sub.add_argument(
        "-o", "--output", type=Path, help="a .csv file of every picture; an interrupted one is gone on with"
    )
    sub.add_argument("--force", action="store_true", help="replace the output if it exists")

    sub = command("ablate", run_ablate, "train the paper's ablations with one budget each, and compare them")
    sub.add_argument("-o", "--output", type=Path, required=True, help="folder of the runs; what is done there stays")
    sub.add_argument("--data", choices=sorted(BUDGETS), default="toy", help="toy faces or photographs (default: toy)")
    sub.add_argument("--only", nargs="+", metavar="NAME", help=f"some of {', '.join(ABLATIONS)} (default: all)")
    sub.add_argument("--seeds", type=int, default=3, help=f"runs of each of {', '.join(MAIN)} (default: 3)")
    sub.add_argument("--steps", type=int, help="training steps of each run (default: 1500)")
    sub.add_argument("--precision", help="float32, bf16 or fp16")
    sub.add_argument("--size", type=int, help="short side to measure at (default: 64 for toy, 128 for photos)")
    sub.add_argument(
        "--part",
        metavar="K/N",
        help="only train, every N-th run from the K-th on: to share the work",
    )

    sub = command("report", run_report, "write the results in data/results as a page with figures")
    sub.add_argument("-o", "--output", type=Path, required=True, help="where to write it, such as docs/results.md")
    sub.add_argument("--readme", type=Path, help="and the main table, between the marks in this file")
    sub.add_argument("--force", action="store_true", help="replace the output if it exists")

    sub = command("bench", run_bench, "measure speed and memory")
    sub.add_argument(
        "what",
        choices=("filter", "loader", "model", "train"),
        help="filter: filter2d against the usual ways to write it; loader: batches drawn against batches used up; "
        "model: the architectures against the paper's; train: the training loop against bare steps",
    )

    sub = command("kernels", run_kernels, "read the image-level kernels: inside holes, at their border, outside")
    sub.add_argument(
        "--weights", default="photos", help="weights that came along, or a .safetensors file (default: photos)"
    )
    _add_pictures(sub)
    sub.add_argument("-o", "--output", type=Path, help="draw a picture's kernels into this file, best a .png")
    sub.add_argument("--force", action="store_true", help="replace the output if it exists")

    sub = command("demo", run_demo, "run the tour notebook on real photographs and write a page and pictures")
    sub.add_argument("-o", "--output", type=Path, default=Path("outputs"), help="folder to write to (default: outputs)")
    sub.add_argument("--preset", choices=("full", "tiny"), default="full", help="tiny is for tests (default: full)")

    sub = command("student", run_student, "write a notebook with its solutions taken out")
    sub.add_argument("notebook", type=Path, help="a notebook of the course")
    sub.add_argument("-o", "--output", type=Path, required=True, help="where to write the student's version")
    sub.add_argument("--force", action="store_true", help="replace the output if it exists")

    command("doctor", run_doctor, "check the installation: what is here, what is missing, how to mend it")
    return top


def _add_pictures(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--data", default="photos", help="photos, paintings, toy, celeba, places365, or a folder (default: photos)"
    )
    sub.add_argument("--split", choices=("val", "test"), default="test", help="which photographs (default: test)")
    sub.add_argument("--size", type=int, default=128, help="short side in pixels (default: 128)")
    sub.add_argument("--root", default="datasets", help="where CelebA and Places365 lie (default: datasets)")
    sub.add_argument("--count", type=int, help="only the first so many pictures")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0, 1 for a problem found or met, 130 when interrupted."""
    arguments = parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = lambda message, *_: print(f"misf-lite: note: {message}", file=sys.stderr)
            return arguments.run(arguments) or 0
    except (OSError, ValueError, FloatingPointError, ImportError, MemoryError) as error:
        print(f"misf-lite: error: {error}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        advice = "use smaller tiles (--tile 256) or crops, a smaller batch, or MISF_LITE_DEVICE=cpu"
        reason = str(error).partition("\n")[0]
        print(f"misf-lite: error: out of memory ({reason}): {advice}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("misf-lite: interrupted", file=sys.stderr)
        return 130


def run_inpaint(arguments: argparse.Namespace) -> None:
    check_output(arguments.output, overwrite=arguments.force)  # before the work, not after it
    model = find_weights(arguments.weights).to(device())
    started = time.perf_counter()
    filled = inpaint(arguments.image, arguments.mask, model, arguments.tile)
    save_image(filled, arguments.output, overwrite=arguments.force)
    seconds = time.perf_counter() - started
    print(f"{arguments.output}: {filled.width}×{filled.height}, filled in {seconds:.1f} s")


def run_train(arguments: argparse.Namespace) -> int:
    preset, names = arguments.preset or "lite", {field.name for field in fields(Recipe)}
    given = {name: value for name, value in vars(arguments).items() if name in names and value is not None}
    recipe, changes = getattr(Recipe, preset)(**given), _changes(arguments.set)
    if arguments.start and not arguments.preset:
        config = replace(find_weights(arguments.start).config, **changes)
    else:
        config = getattr(MISFConfig, preset)(**changes)
    options = {name: getattr(arguments, name) for name in ("every", "keep", "workers", "tensorboard")}
    train(config, recipe, arguments.output, **options)
    return 0 if (arguments.output / "weights.safetensors").exists() else 130  # interrupted, and saved


def _changes(given: Sequence[str]) -> dict:
    """``["width=8", "guess=zero"]`` to ``{"width": 8, "guess": "zero"}``."""
    known, changes = [field.name for field in fields(MISFConfig)], {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name not in known:
            raise ValueError(f"--set takes FIELD=VALUE, got {text!r}; the fields are {', '.join(known)}")
        try:
            changes[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            changes[name] = tuple(value.split(",")) if "," in value else value
    return changes


def _open_pictures(arguments: argparse.Namespace) -> tuple[dict[str, Source], str]:
    """The pictures to measure on, and what they are."""
    pictures, what, notes = open_pictures(
        arguments.data, size=arguments.size, split=arguments.split, root=arguments.root
    )
    for note in notes:
        print(note, file=sys.stderr)
    return dict(list(pictures.items())[: arguments.count]), what


def run_evaluate(arguments: argparse.Namespace) -> None:
    state, where = PartialState(), device()
    pictures, what = _open_pictures(arguments)
    methods, identities = _methods(arguments, where)
    protocol = Protocol.of(what, pictures, size=arguments.size, kind=arguments.kind, seed=arguments.seed)
    if arguments.output and arguments.force and state.is_main_process:
        discard(arguments.output)
    state.wait_for_everyone()
    results = Results(arguments.output, protocol, arguments.metrics, identities, state.process_index)
    if arguments.baseline and arguments.baseline not in results.methods:
        raise ValueError(f"there is no method {arguments.baseline!r} to compare with: {', '.join(results.methods)}")
    measure(methods, pictures, results, where, state.num_processes)
    state.wait_for_everyone()
    if state.is_main_process:
        if arguments.frechet:
            measure_sets(methods, pictures, results, where)
        results.finish()
        print(describe(results.head["protocol"]))
        print(show(results.table(), results.head, [*results.methods], arguments.baseline))
        if arguments.output:
            print(arguments.output)


def _methods(arguments: argparse.Namespace, where: torch.device) -> tuple[dict[str, Method], dict[str, str]]:
    """What is compared, by name; and of each what it is: a hash of its weights, or the version of its package."""
    models, identities = {}, {}
    for name in arguments.weights:
        path = weights_path(name)
        short = name if not Path(name).suffix else path.parent.name if path.stem == "weights" else path.stem
        if short in models:
            raise ValueError(f"two of the weights are called {short!r}: rename a file")
        models[short] = find_weights(name).to(where)
        identities[short] = fingerprint(path)
    methods: dict[str, Method] = {"mean colour": mean_fill, "smooth guess": smooth_guess}
    methods |= CLASSICAL if arguments.classical else {}
    methods |= {"PatchMatch": patchmatch} if arguments.patchmatch else {}
    packages = {"Telea": "cv2", "Navier–Stokes": "cv2", "biharmonic": "skimage", "PatchMatch": "patchmatch"}
    for name in methods:
        package = packages.get(name, "misf_lite")
        try:
            identities[name] = f"{package} {import_module(package).__version__}"
        except ImportError as error:
            extra = "evaluation" if name == "PatchMatch" else "classical"
            raise ImportError(f"{name} needs {package}: run pip install 'misf-lite[{extra}]'") from error
    return models | methods, identities


def run_ablate(arguments: argparse.Namespace) -> int:
    names = arguments.only or list(ABLATIONS)
    changes = {name: getattr(arguments, name) for name in ("steps", "precision") if getattr(arguments, name)}
    todo = runs(arguments.data, names, arguments.seeds, **changes)
    if arguments.part:
        k, _, n = arguments.part.partition("/")
        if not (k.isdecimal() and n.isdecimal() and 1 <= int(k) <= int(n)):
            raise ValueError(f"--part takes K/N with K from 1 to N, such as 1/2, got {arguments.part!r}")
        todo = dict(list(todo.items())[int(k) - 1 :: int(n)])
    if not train_all(todo, arguments.output):
        return 130  # interrupted, and saved
    if not arguments.part:
        size = arguments.size or {"toy": 64, "photos": 128}[arguments.data]
        measured = {}
        for data, kind in CONDITIONS[arguments.data]:
            results = measure_all(list(todo), arguments.output, data, kind, size)
            measured[describe(results.head["protocol"])] = results.table()
            print(results.path)
        print(f"\n{next(iter(measured))}: PSNR in the hole, dB, mean ± spread of seeds")
        print("(difference to misf with its 95 % bootstrap interval over pictures)")
        print(show_spread(next(iter(measured.values()))))
        print(f"\nOn what is new to them: dB more than the {REFERENCE}, all bands together [95 % interval]")
        print(show_generalisation(measured))
    return 0


def run_report(arguments: argparse.Namespace) -> None:
    from misf_lite.report import write_report

    for path in write_report(arguments.output, arguments.force, arguments.readme):
        print(path)


def run_bench(arguments: argparse.Namespace) -> None:
    from misf_lite import benchmarks

    print(getattr(benchmarks, f"bench_{arguments.what}")())


def run_kernels(arguments: argparse.Namespace) -> None:
    from misf_lite.kernels import kernel_statistics

    if arguments.output:
        check_output(arguments.output, overwrite=arguments.force)  # before the work, not after it
    where = device()
    model = find_weights(arguments.weights).to(where)
    pictures, what = _open_pictures(arguments)
    images = [load_photo(source, arguments.size) for source in pictures.values()]
    rows = kernel_statistics(model, (image.to(where) for image in tqdm(images, leave=False, disable=None)))
    side, passes = model.config.kernel_size[0], model.config.passes
    print(f"{len(images)} {what}, short side {arguments.size}, strokes; {side}×{side} kernels, one pass (of {passes})")
    print(f"{'hole':18}{'centre share':>14}{f'entropy (≤ {2 * math.log(side):.2f})':>18}{'reach in pixels':>18}")
    for region, row in rows.items():
        print(f"{region:18}{row['centre_share']:14.3f}{row['entropy']:18.2f}{row['reach']:18.2f}")
    if arguments.output:
        from misf_lite.figures import save_figure, show_kernel_field

        photo = load_photo("neuschwansteincastle.jpg", arguments.size) if arguments.data == "photos" else images[0]
        mask = random_mask(tuple(photo.shape[2:]), BANDS[1], seed=0)
        figure = show_kernel_field(model, photo.to(where), mask.to(where))
        print(save_figure(figure, arguments.output, overwrite=arguments.force))


def run_demo(arguments: argparse.Namespace) -> None:
    from misf_lite.lesson import run_notebook

    notebook = Path(__file__).parent.parent / "notebooks" / "00_start_here.ipynb"
    page, pictures, measured = run_notebook(notebook, arguments.output, arguments.preset)
    print(measured)
    for path in (page, *pictures):
        print(path)


def run_student(arguments: argparse.Namespace) -> None:
    import nbformat

    from misf_lite.lesson import student_version

    if arguments.output.exists() and not arguments.force:
        raise FileExistsError(f"{arguments.output} exists; pass --force to replace it, or choose another name")
    try:
        stripped = student_version(nbformat.read(arguments.notebook, as_version=4))
    except (UnicodeDecodeError, nbformat.reader.NotJSONError) as error:
        raise ValueError(f"{arguments.notebook} is not a notebook: name an .ipynb file") from error
    part = arguments.output.with_name(f".{arguments.output.name}.part")
    nbformat.write(stripped, part)
    part.replace(arguments.output)
    print(arguments.output)


def run_doctor(arguments: argparse.Namespace) -> int:
    facts, problems = examine()
    print("\n".join(facts))
    for problem in problems:
        print(f"MISSING    {problem}")
    print("Everything is in place." if not problems else f"{len(problems)} to mend, see above.")
    return 1 if problems else 0
