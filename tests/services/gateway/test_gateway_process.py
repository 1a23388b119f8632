"""The gateway as it is run: a process with two ports, credentials at first start, and an orderly stop."""

import json
import os
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

from bench.upload import fetch_status, gateway_process
from deploy.local.ports import LOOPBACK
from runtime.object_store import ObjectStore
from runtime.settings import CONFIG_VARIABLE


def test_both_ports_credentials_once_and_an_orderly_stop(tmp_path: Path, nats_url: str, store: ObjectStore) -> None:
    with gateway_process(tmp_path, nats_url, store.address) as gateway:
        shown = re.search(r"API key +(ald_\S+)", gateway.stderr.read_text())
        assert shown is not None
        for port in (gateway.port, gateway.remap_port):
            request = urllib.request.Request(
                f"http://{LOOPBACK}:{port}/api/v1/jobs", headers={"Authorization": f"Bearer {shown[1]}"}
            )
            with urllib.request.urlopen(request, timeout=5.0) as answer:
                assert list(json.load(answer)) == ["jobs"]
        assert fetch_status(gateway.ops_port, "/healthz") == 200
        assert fetch_status(gateway.ops_port, "/metrics") == 200
        assert gateway.stop() == 0
        log = gateway.stderr.read_text()
        assert shown[1] not in log.split("this once", 1)[1].split("\n", 4)[-1]
        assert "Traceback" not in log
    assert (tmp_path / "access.json").stat().st_mode & 0o077 == 0
    with gateway_process(tmp_path, nats_url, store.address) as gateway:
        assert gateway.stderr.read_text().count("shown this once") == 1


def test_a_taken_port_is_said_in_a_sentence(tmp_path: Path, nats_url: str, store: ObjectStore) -> None:
    address = store.address
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        environment = {name: value for name, value in os.environ.items() if name != CONFIG_VARIABLE} | {
            "ALIDADE_BUS__URL": nats_url,
            "ALIDADE_STORE__ENDPOINT_URL": address.endpoint_url,
            "ALIDADE_STORE__ACCESS_KEY": address.access_key,
            "ALIDADE_STORE__SECRET_KEY": address.secret_key,
            "ALIDADE_STORE__BUCKET": address.bucket,
            "ALIDADE_ACCESS__FILE": str(tmp_path / "access.json"),
            "ALIDADE_GATEWAY__PORT": str(port),
        }
        done = subprocess.run(
            [sys.executable, "-m", "services.gateway"],
            check=False,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert f"Port {port} on" in done.stderr
    assert "ALIDADE_GATEWAY__PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_misspelt_setting_is_said_in_a_sentence() -> None:
    environment = os.environ | {"ALIDADE_GATEWAY__PROT": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "services.gateway"],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "prot" in done.stderr.lower()
    assert "Traceback" not in done.stderr


def test_the_process_loads_no_heavy_library() -> None:
    heavy = ("numpy", "scipy", "cv2", "pycolmap", "h5py", "torch", "av", "open3d")
    program = f"import sys, services.gateway.__main__; print([n for n in {heavy!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
