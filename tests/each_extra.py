"""The wheel with each extra alone, in an environment of its own, used once.

    python tests/each_extra.py dist/bagnet-*.whl              # all extras
    python tests/each_extra.py dist/bagnet-*.whl slides serve

`uv` shares the files of environments, so that all take minutes; with pip alone each is 5 GB that is copied.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PHOTO = "import skimage, pathlib; photo = pathlib.Path(skimage.__file__).parent / 'data' / 'coffee.png'\n"
SMALL = "import bagnet; model = bagnet.load('bagnet9s4.tiny_in200')\n"
FOLDER = """
import numpy as np, pathlib
from PIL import Image
random = np.random.default_rng(0)
for split, count in (("train", 40), ("val", 10)):
    for name, shade in (("dark", 20), ("light", 160)):
        folder = pathlib.Path("data", split, name)
        folder.mkdir(parents=True)
        for number in range(count):
            Image.fromarray(random.integers(shade, shade + 60, (64, 64, 3)).astype(np.uint8)).save(folder / f"{number}.png")
"""
TRAINED = (
    "bagnet train data --out run --kernel3 1,1,0,0 --strides 2,2,1,1 --layers 1,1,1,1 --width 4 --resize 64 --crop 61 --epochs 2"
)
SERVED = """
import subprocess, sys, urllib.request
with subprocess.Popen([sys.executable, "-m", "bagnet", "serve", "--port", "0"], stderr=subprocess.PIPE, text=True) as process:
    address = process.stderr.readline().split()[-1]
    assert urllib.request.urlopen(address).status == 200
    process.kill()
"""
SCAN = """
import numpy as np, pydicom
from pydicom.dataset import Dataset, FileMetaDataset
scan = Dataset()
scan.file_meta = FileMetaDataset()
scan.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
scan.file_meta.MediaStorageSOPClassUID = scan.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
scan.file_meta.MediaStorageSOPInstanceUID = scan.SOPInstanceUID = "1.2.3"
scan.Rows = scan.Columns = 128
scan.SamplesPerPixel, scan.PhotometricInterpretation, scan.PixelRepresentation = 1, "MONOCHROME2", 0
scan.BitsAllocated, scan.BitsStored, scan.HighBit = 16, 12, 11
scan.PixelData = np.random.default_rng(0).integers(0, 4096, (128, 128)).astype(np.uint16).tobytes()
scan.save_as("scan.dcm", enforce_file_format=True)
"""
SLIDE = """
import numpy as np, tifffile
tifffile.imwrite("slide.tif", np.random.default_rng(0).integers(0, 255, (600, 700, 3)).astype(np.uint8), tile=(256, 256))
"""
CLASSIFIER = """
import numpy as np
from bagnet.neighbours.scikit import ImageClassifier
random = np.random.default_rng(0)
images = np.concatenate([random.integers(0, 80, (20, 64, 64, 3)), random.integers(150, 255, (20, 64, 64, 3))]).astype(np.uint8)
labels = [0] * 20 + [1] * 20
assert ImageClassifier("bagnet9s4.tiny_in200").fit(images, labels).score(images, labels) > 0.9
"""
ATTRIBUTED = """
from bagnet.attribution.methods import attribute
assert attribute("integrated_gradients", model, model.transform(photo)[None], [0], steps=4).values.abs().max() > 0
"""
# Of each extra, commands, and Python where a line holds more than one; "" is the wheel without any.
USES: dict[str, list[str]] = {
    "": [
        f"{PHOTO}{SMALL}bagnet.explain(model, photo).picture().save('why.png')",
        FOLDER,
        "bagnet train data --out probed --start bagnet9s4.tiny_in200 --probe",
        "bagnet evaluate data --model probed/bagnet9s4.mine.safetensors --out report",
        "bagnet certify data/val/dark/0.png --model bagnet9s4.tiny_in200",
    ],
    "export": [
        FOLDER,
        "bagnet export --model bagnet9s4.tiny_in200 --out model.onnx",
        "bagnet explain data/val/dark/0.png --model model.onnx",
        "bagnet explain data/val/dark/0.png --runtime openvino",
    ],
    "train": [FOLDER, TRAINED],
    "compare": [f"{PHOTO}{SMALL}{ATTRIBUTED}"],
    "serve": [SERVED],
    "slides": [SLIDE, "bagnet slide slide.tif --model bagnet9s4.tiny_in200 --class goldfish --out slide"],
    "cluster": [FOLDER, "bagnet predict data --model bagnet9s4.tiny_in200 --ray local --out table.csv"],
    "notebook": [f"{PHOTO}{SMALL}bagnet.explain(model, photo).widget(model)"],
    "dicom": [SCAN, "bagnet explain scan.dcm --model bagnet9s4.tiny_in200 --grey 0,4095"],
    "sklearn": [CLASSIFIER],
    "wandb": ["import wandb\nimport bagnet"],
    "mlflow": ["import mlflow\nimport bagnet"],
    "docs": ["zensical --version"],
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("wheel", type=Path)
    options.add_argument("extras", nargs="*", choices=[*USES, []], help="all where none is named")
    options.add_argument("--python", default=sys.executable)
    arguments = options.parse_args()
    failed = [extra for extra in arguments.extras or USES if not works(arguments.wheel.resolve(), extra, arguments.python)]
    if failed:
        sys.exit(f"failed: {', '.join(extra or 'the wheel alone' for extra in failed)}")


def works(wheel: Path, extra: str, python: str) -> bool:
    """Whether the wheel with an extra installs, and what the extra is for runs."""
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        scripts = installed(Path(folder) / "environment", f"{wheel}[{extra}]" if extra else str(wheel), python)
        work = Path(folder) / "work"
        work.mkdir()
        for use in USES[extra]:
            command = [str(scripts / "python"), "-c", use] if "\n" in use else [str(scripts / use.split()[0]), *use.split()[1:]]
            result = subprocess.run(command, check=False, cwd=work, capture_output=True, text=True)
            if result.returncode:
                print(f"{extra or 'alone'}: {use}\n{result.stderr[-2000:]}", flush=True)
                return False
    print(f"{extra or 'alone'}: installed and used in {time.perf_counter() - begun:.0f} s", flush=True)
    return True


def installed(environment: Path, requirement: str, python: str) -> Path:
    """A new environment with a package; the folder of its commands."""
    scripts = environment / "bin"
    if uv := shutil.which("uv"):
        subprocess.run([uv, "venv", "--quiet", "--python", python, environment], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", scripts / "python", requirement], check=True)
    else:
        subprocess.run([python, "-m", "venv", environment], check=True)
        subprocess.run([scripts / "pip", "install", "--quiet", requirement], check=True)
    return scripts


if __name__ == "__main__":
    main()
