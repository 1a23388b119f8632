"""What the light services import: their images must not need what the heavy ones do."""

import subprocess
import sys

import pytest

HEAVY = ("av", "cv2", "h5py", "numpy", "open3d", "OpenEXR", "PyOpenColorIO", "pycolmap", "scipy", "torch")


@pytest.mark.parametrize("module", ["services.gateway.__main__", "services.notifier.__main__", "client.__main__"])
def test_light_services_import_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["services.ingest.step", "services.sfm.step"])
def test_workers_leave_native_code_to_their_children(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
