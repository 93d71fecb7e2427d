"""The command line: `python -m experiments COMMAND`."""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from experiments import benchmarks, gpu
from experiments.ablations import (
    ABLATIONS,
    CONDITIONS,
    MAIN,
    REFERENCE,
    SIZES,
    ablation_table,
    generalisation_table,
    measure_all,
    runs,
    train_all,
)
from experiments.architecture import DRAWING, PAGE, against_the_floors, drawing, imports, page
from experiments.kernels import kernel_statistics, save_figure, show_kernel_field
from experiments.pictures import summary, write_pictures
from experiments.report import as_markdown, write_report
from misf_lite.cli import commands, positive, run_safely
from misf_lite.datasets import load_photo, open_dataset
from misf_lite.device import device
from misf_lite.evaluation import describe
from misf_lite.files import atomic_write
from misf_lite.images import check_output
from misf_lite.masks import BANDS, random_mask
from misf_lite.weights import find_weights


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m experiments", description="What was found out with misf-lite.")
    command = commands(top)
    add_ablate_options(command("ablate", run_ablate, "train the paper's ablations with one budget each, and compare"))
    add_report_options(command("report", run_report, "write the results in data/results as a page with figures"))
    add_bench_options(command("bench", run_bench, "measure speed and memory"))
    kernels = "read the image-level kernels: inside holes, at their border, outside"
    add_kernels_options(command("kernels", run_kernels, kernels))
    pictures = "fetch more and larger photographs to train on, out of Debian packages (280 MB)"
    sub = command("pictures", run_pictures, pictures)
    sub.add_argument("-o", "--output", type=Path, required=True, help="folder for them, new or made by this command")
    add_soak_options(command("soak", run_soak, "damage files, kill runs, fill disks until the time is up, and count"))
    command("architecture", run_architecture, "draw and list the floors of the package from its imports, into docs")
    add_gpu_options(command("gpu", run_gpu, "check a GPU's results and speed, and train as far as the minutes reach"))
    return top


def add_ablate_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("-o", "--output", type=Path, required=True, help="folder of the runs; what is done there stays")
    sub.add_argument("--data", choices=ABLATIONS, default="toy", help="toy faces or photographs (default: toy)")
    names = ", ".join(ABLATIONS["toy"])
    sub.add_argument("--only", nargs="+", metavar="NAME", help=f"some of {names}, or filter-composite (default: all)")
    sub.add_argument("--seeds", type=positive, default=3, help=f"runs of each of {', '.join(MAIN)} (default: 3)")
    sub.add_argument("--steps", type=positive, help="training steps of each run (default: 1500)")
    sub.add_argument("--precision", help="float32, bf16 or fp16")
    sub.add_argument("--size", type=positive, help="short side to measure at (default: 64 for toy, 128 for photos)")
    part = "only train, every N-th run from the K-th on: to share the work"
    sub.add_argument("--part", metavar="K/N", help=part)


def add_report_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("-o", "--output", type=Path, required=True, help="where to write it, such as docs/results.md")
    sub.add_argument("--readme", type=Path, help="and the main table, between the marks in this file")
    sub.add_argument("--force", action="store_true", help="replace the output if it exists")


def add_bench_options(sub: argparse.ArgumentParser) -> None:
    text = """filter: filter2d against the usual ways to write it; loader: batches drawn against batches used up;
    model: the architectures against the paper's; train: the training loop against bare steps"""
    sub.add_argument("what", choices=("filter", "loader", "model", "train"), help=text)


def add_kernels_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--weights", default="photos", help="bundled weights, or a .safetensors file (default: photos)")
    data = "photos, paintings, toy, celeba, places365, or a folder (default: photos)"
    sub.add_argument("--data", default="photos", help=data)
    sub.add_argument("--split", choices=("val", "test"), default="test", help="which photographs (default: test)")
    sub.add_argument("--size", type=positive, default=128, help="short side in pixels (default: 128)")
    sub.add_argument("--root", default="datasets", help="where CelebA and Places365 lie (default: datasets)")
    sub.add_argument("--count", type=positive, help="only the first so many pictures")
    sub.add_argument("-o", "--output", type=Path, help="draw a picture's kernels into this file, best a .png")
    sub.add_argument("--force", action="store_true", help="replace the output if it exists")


def add_gpu_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("-o", "--output", type=Path, required=True, help="folder of weights, curves and report; a new one")
    sub.add_argument("--minutes", type=positive, default=9, help="how long it may take (default: 9)")


def add_soak_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("-o", "--output", type=Path, required=True, help="a new folder; cases that went wrong stay there")
    sub.add_argument("--minutes", type=float, default=30, help="how long; 0 is one round (default: 30)")
    sub.add_argument("--seed", type=int, default=0, help="of all cases (default: 0)")
    sub.add_argument("--case", help="this case alone, such as 'full disk 3'")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0, 1 for a problem, 130 when interrupted."""
    return run_safely(parser(), argv)


def run_ablate(arguments: argparse.Namespace) -> int:
    changes = {name: getattr(arguments, name) for name in ("steps", "precision") if getattr(arguments, name)}
    todo = runs(arguments.data, arguments.only, arguments.seeds, **changes)
    if arguments.part:
        k, _, n = arguments.part.partition("/")
        if not (k.isdecimal() and n.isdecimal() and 1 <= int(k) <= int(n)):
            raise ValueError(f"--part takes K/N with K from 1 to N, such as 1/2, got {arguments.part!r}")
        todo = dict(list(todo.items())[int(k) - 1 :: int(n)])
    if not train_all(todo, arguments.output):
        return 130  # interrupted, and saved
    if arguments.part:
        return 0
    measured = {}
    for data, kind in CONDITIONS[arguments.data]:
        results = measure_all(list(todo), arguments.output, data, kind, arguments.size or SIZES[arguments.data])
        measured[describe(results.head["protocol"])] = results.table()
        print(results.path)
    first, rows = next(iter(measured.items()))
    print(f"\n{first}: PSNR in the hole, dB, mean ± standard deviation of the seeds")
    print("(difference to misf with its 95 % bootstrap interval over pictures)")
    print(as_markdown(ablation_table(rows)))
    print(f"\nOn what is new to them: dB more than the {REFERENCE}, all bands together [95 % interval]")
    print(as_markdown(generalisation_table(measured)))
    return 0


def run_report(arguments: argparse.Namespace) -> None:
    for path in write_report(arguments.output, arguments.force, arguments.readme):
        print(path)


def run_bench(arguments: argparse.Namespace) -> None:
    print(getattr(benchmarks, f"bench_{arguments.what}")())


def run_kernels(arguments: argparse.Namespace) -> None:
    if arguments.output:
        check_output(arguments.output, overwrite=arguments.force)  # before the work, not after it
    model = find_weights(arguments.weights).to(device())
    pictures = open_dataset(arguments.data, arguments.split, shrink=arguments.size, root=arguments.root)
    for note in pictures.notes:
        print(note, file=sys.stderr)
    chosen = range(len(pictures))[: arguments.count]
    images = [load_photo(pictures[i], arguments.size).to(device()) for i in chosen]
    rows = kernel_statistics(model, tqdm(images, leave=False, disable=None))
    side = model.config.kernel_size[0]
    passes = getattr(model.config, "passes", 1)  # only a LiteConfig has them
    what = f"{len(images)} {pictures.what}, short side {arguments.size}, strokes"
    print(f"{what}; {side}×{side} kernels, one pass (of {passes})")
    print(f"{'hole':18}{'centre share':>14}{f'entropy (≤ {2 * math.log(side):.2f})':>18}{'reach in pixels':>18}")
    for region, row in rows.items():
        print(f"{region:18}{row['centre_share']:14.3f}{row['entropy']:18.2f}{row['reach']:18.2f}")
    if arguments.output:
        photo = images[0]
        if arguments.data == "photos":
            photo = load_photo("neuschwansteincastle.jpg", arguments.size).to(device())
        mask = random_mask(tuple(photo.shape[2:]), BANDS[1], seed=0).to(device())
        print(save_figure(show_kernel_field(model, photo, mask), arguments.output, overwrite=arguments.force))


def run_soak(arguments: argparse.Namespace) -> int:
    from experiments.soak import soak  # here, as only Linux has all that it takes

    table, bad = soak(arguments.output, arguments.minutes, arguments.seed, arguments.case)
    print(table)
    return 1 if bad else 0


def run_architecture(arguments: argparse.Namespace) -> None:
    rooms = imports()
    wrong = against_the_floors(rooms)
    if wrong:
        raise ValueError("; ".join(wrong))
    for path, content in ((DRAWING, drawing(rooms)), (PAGE, page())):
        with atomic_write(path, overwrite=True) as file:
            file.write(content.encode())
        print(path)


def run_pictures(arguments: argparse.Namespace) -> None:
    print(summary(write_pictures(arguments.output)))


def run_gpu(arguments: argparse.Namespace) -> None:
    print(gpu.run(arguments.output, arguments.minutes, gpu.RECIPE, gpu.NETWORKS))


if __name__ == "__main__":
    sys.exit(main())
