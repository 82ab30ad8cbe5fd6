"""Both programs of the images in a root of their own: the wheel, a Python, a user that is not root, and ``/opt/ml``."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workflow.test_container import ASK, DOCKER, ROOT
from vizsla.models.export import ExportedBackbone

pytestmark = pytest.mark.slow
UID = 1000
PYTHON = sys.base_prefix.lstrip("/")
SYSTEM = [name for name in ("bin", "lib", "lib64") if Path("/", name).exists()]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """What a build leaves, but for the packages that the wheel needs: these are mounted later."""
    if os.geteuid() or subprocess.run(["unshare", "-mn", "true"], capture_output=True).returncode:
        pytest.skip("this system does not let a process have its own root, which root alone can make")
    root = tmp_path / "root"
    for folder in ("proc", "dev", "tmp", "etc", "usr", "opt/ml", PYTHON, "opt/packages", "home/vizsla"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name in SYSTEM:  # links, of a merged /usr, as in Debian
        if Path("/", name).is_symlink():
            (root / name).symlink_to(os.readlink(Path("/", name)))
        else:
            (root / name).mkdir()
    (root / "etc" / "passwd").write_text(f"root:x:0:0::/root:/bin/sh\nvizsla:x:{UID}:{UID}::/home/vizsla:/bin/sh\n")
    (root / "tmp").chmod(0o1777)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(root / "opt/site")]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    for name in ("train", "serve"):
        shutil.copy(DOCKER / name, root / "opt" / name)
    (root / "opt" / "ask.py").write_text(ASK)
    os.chown(root / "home" / "vizsla", UID, UID)
    return root


def test_train_and_serve_in_a_root_of_their_own(
    image: Path, folder_of_photos: Callable[..., Path], tiny_backbone: ExportedBackbone
) -> None:
    place, photos = image / "opt" / "ml", folder_of_photos({"red": 20, "green": 20})
    for folder in ("input/config", "input/data", "model", "output"):
        (place / folder).mkdir(parents=True)
    shutil.copytree(photos, place / "input" / "data" / "training")
    (place / "input" / "config" / "hyperparameters.json").write_text(
        json.dumps({"backbone": "test_resnet", "random-init": "true"})
    )
    picture = next((place / "input" / "data").rglob("*.jpg")).relative_to(image)
    for path in (place, *place.rglob("*")):
        os.chown(path, UID, UID)
    mounts = [
        f"mount --bind {source} {image / target} && mount -o remount,bind,ro {image / target}"
        for source, target in (
            ("/usr", "usr"),
            (sys.base_prefix, PYTHON),  # at its own place, where it looks for its library
            (sysconfig.get_path("purelib"), "opt/packages"),
            *((Path("/", name), name) for name in SYSTEM if not Path("/", name).is_symlink()),
        )
    ]
    variables = (
        f"PATH={sys.base_prefix}/bin:/usr/bin:/bin HOME=/home/vizsla PYTHONPATH=/opt/site:/opt/packages "
        "PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1"
    )
    inside = f"chroot --userspec={UID}:{UID} {image} env -i {variables}"
    words = " && ".join(
        [
            *("ip link set lo up", *mounts, f"mount --rbind /dev {image}/dev", f"mount -t proc proc {image}/proc"),
            f"{inside} /opt/train",
        ]
    )
    words += f" || exit 1; {inside} /opt/serve & server=$!; {inside} python /opt/ask.py /{picture}; kill $server"
    done = subprocess.run(["unshare", "-mn", "sh", "-c", words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (place / "model" / "model.json").stat().st_uid == UID
    assert not (place / "output" / "failure").exists()
    answer = json.loads(re.findall(r"ANSWER (.*)", done.stdout)[0].replace("'", '"'))
    assert sum(answer) == pytest.approx(1, abs=1e-5)
