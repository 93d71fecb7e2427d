"""What gets installed: by pip, by conda, from a wheel."""

import os
import subprocess
import sys
import tomllib
import zipfile
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA_NAMES = {"torch": "pytorch", "opencv-python-headless": "py-opencv"}

everything = chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
REQUIREMENTS = [Requirement(text) for text in everything if not text.startswith(PROJECT["name"])]


def test_conda_users_get_the_same_dependencies_with_the_same_lower_bounds():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    ours = {f"{CONDA_NAMES.get(wanted.name, wanted.name)}{wanted.specifier}" for wanted in REQUIREMENTS}
    ours |= {f"python{PROJECT['requires-python']}", "pip", "-e ."}
    *conda, pip = environment
    assert {*conda, *pip["pip"]} == ours


@pytest.mark.parametrize("wanted", REQUIREMENTS, ids=lambda wanted: wanted.name)
def test_every_direct_dependency_has_a_known_good_version_within_its_bounds(wanted):
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    version = {canonicalize_name(name): version for name, version in pins.items()}[canonicalize_name(wanted.name)]
    assert wanted.specifier.contains(version)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


def pip(*arguments):
    subprocess.run([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments], check=True)


def test_a_wheel_carries_every_file_of_data_inside_the_package(wheel):
    data = [path.relative_to(ROOT) for path in (ROOT / "data").rglob("*") if path.is_file()]
    assert Path("data/photos/attribution.csv") in data
    assert {f"misf_lite/{path.as_posix()}" for path in data} <= set(zipfile.ZipFile(wheel).namelist())


def test_an_installed_wheel_works_in_a_folder_without_the_repository(wheel, tmp_path):
    pip("install", "--no-deps", "--no-index", "--no-compile", "--target", tmp_path / "site", wheel)
    program = (
        "import misf_lite, PIL.Image; from misf_lite.datasets import photos; "
        "print(misf_lite.__file__); print(photos('test')[0]); "
        "picture = PIL.Image.open(photos('test')[0]).resize((48, 32)); "
        "print(misf_lite.inpaint(picture, misf_lite.random_mask((32, 48))).size)"
    )
    away = tmp_path / "elsewhere"
    away.mkdir()
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    said = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=away, env=environment, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert len(said) == 3 and said.pop() == "(48, 32)"
    assert all(Path(path).is_relative_to(tmp_path / "site") for path in said)
