"""What a table has to state: processor, versions, date. It measures nothing."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from glassprop.bench.peers import PEERS


def processor() -> str:
    """The processor's name as the system gives it."""
    try:
        if sys.platform == "linux":
            lines = Path("/proc/cpuinfo").read_text().splitlines()
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
        if sys.platform == "darwin":
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, StopIteration, subprocess.CalledProcessError):
        pass
    return platform.processor() or platform.machine()


def machine_facts(peers: Iterable[str]) -> dict[str, Any]:
    """Processor, number of processors, Python, versions of the competitors that are installed, date."""
    versions: dict[str, str] = {}
    for name in peers:
        if not PEERS[name].absent():
            versions |= PEERS[name].versions()
    return {
        "processor": processor(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
        "date": str(datetime.date.today()),
    }


def describe_machine(facts: dict[str, Any]) -> str:
    """The facts in one sentence."""
    packages = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return f"Measured on {facts['date']} on {facts['processors']} × {facts['processor']}; Python {facts['python']}, {packages}."
