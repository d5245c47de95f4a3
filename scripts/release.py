"""``make release``: what a release consists of, in one folder.

Wheel and sdist of both distributions, the chart as a package, a bill of materials (CycloneDX), with ``--image`` the
image as an OCI archive, and checksums of all of them. The same commit gives the same bytes: all times are that of the
commit (or ``SOURCE_DATE_EPOCH``).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "k8s" / "uws-service"
CHECKSUMS = "SHA256SUMS"
BUILD_SECONDS = 600
IMAGE_SECONDS = 3600
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(?P<version>\S+)(?P<rest>.*)$")


def main() -> int:
    """Make the release; the folder must be empty or absent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "dist", help="where the release goes")
    parser.add_argument("--image", action="store_true", help="build the image too, with buildah")
    parser.add_argument("--signature-policy", type=Path, help="passed to buildah, if /etc/containers has none")
    parser.add_argument("--build-option", action="append", default=[], help="passed to `buildah build`")
    options = parser.parse_args()
    folder: Path = options.folder
    if folder.exists() and any(folder.iterdir()):
        print(f"{folder} is not empty; remove what is in it, or name another folder by --folder", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    epoch = source_date()
    build_distributions(folder, epoch)
    package_chart(folder, epoch)
    write_materials(folder, epoch)
    if options.image:
        build_image(folder, epoch, options.build_option, options.signature_policy)
    write_checksums(folder)
    for path in sorted(folder.iterdir()):
        print(f"{path.stat().st_size:>12}  {path.name}")
    return 0


def source_date() -> int:
    """Return the time of the release: ``SOURCE_DATE_EPOCH``, or that of the commit."""
    if text := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(text)
    words = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def service_version() -> str:
    """Return the version of the service's distribution."""
    text = (ROOT / "uws_service" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    assert match is not None
    return match[1]


def semantic_version(version: str) -> str:
    """Return a version of Python as one of Helm: ``0.2.0.dev1`` as ``0.2.0-dev1``, ``0.2.0rc1`` as ``0.2.0-rc1``."""
    return re.sub(r"^(\d+\.\d+\.\d+)[.-]?([a-z]+\d*)$", r"\1-\2", version)


def build_distributions(folder: Path, epoch: int) -> None:
    """Build wheel and sdist of both distributions."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    for source in (ROOT, ROOT / "conformance"):
        words = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-t", "wheel", "-d", str(folder)]
        subprocess.run(words, check=True, cwd=source, env=environment, timeout=BUILD_SECONDS, stdout=subprocess.DEVNULL)


def package_chart(folder: Path, epoch: int) -> Path:
    """Write the chart as Helm packages it, with the version of the service."""
    version = semantic_version(service_version())
    described = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    chart = yaml.safe_dump({**described, "version": version, "appVersion": service_version()}, sort_keys=False)
    package = io.BytesIO()
    with tarfile.open(fileobj=package, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(path for path in CHART.rglob("*") if path.is_file()):
            content = chart.encode() if path.name == "Chart.yaml" else path.read_bytes()
            entry = tarfile.TarInfo(f"{CHART.name}/{path.relative_to(CHART).as_posix()}")
            entry.size, entry.mtime, entry.mode = len(content), epoch, 0o644
            archive.addfile(entry, io.BytesIO(content))
    target = folder / f"{CHART.name}-{version}.tgz"
    target.write_bytes(gzip.compress(package.getvalue(), mtime=0))
    return target


def pinned_packages(lock: Path) -> list[tuple[str, str, list[str]]]:
    """Return name, version and SHA-256 digests of each package in a lock file."""
    packages: list[tuple[str, str, list[str]]] = []
    for line in lock.read_text(encoding="utf-8").splitlines():
        if (match := _PIN.match(line)) is not None:
            packages.append((match["name"], match["version"], []))
        elif packages and (digest := re.search(r"--hash=sha256:([0-9a-f]{64})", line)) is not None:
            packages[-1][2].append(digest[1])
    return packages


def write_materials(folder: Path, epoch: int) -> Path:
    """Write the bill of materials: the packages of the image, as `requirements/runtime.txt` pins them."""
    from cyclonedx.model import Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    version = service_version()
    service = Component(
        name="uws-service",
        version=version,
        type=ComponentType.APPLICATION,
        bom_ref="uws-service",
        purl=PackageURL("pypi", None, "uws-service", version),
    )
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"uws-service {version} {epoch}"))
    bom.metadata.component = service
    bom.metadata.timestamp = datetime.fromtimestamp(epoch, UTC)
    bom.metadata.tools.components.clear()
    components: list[Any] = []
    for name, number, digests in pinned_packages(ROOT / "requirements" / "runtime.txt"):
        components.append(
            Component(
                name=name,
                version=number,
                type=ComponentType.LIBRARY,
                bom_ref=f"{name}=={number}",
                purl=PackageURL("pypi", None, name, number),
                # Any of these files is the package: a hash of the component itself would say that all are.
                properties=[Property(name="uws-service:sha256", value=digest) for digest in digests],
            )
        )
    bom.components.update(components)
    bom.register_dependency(service, components)
    target = folder / f"uws-service-{version}.cdx.json"
    target.write_text(JsonV1Dot6(bom).output_as_string(indent=1) + "\n", encoding="utf-8")
    return target


def build_image(folder: Path, epoch: int, build_options: list[str], policy: Path | None = None) -> Path:
    """Build the image from the Containerfile, and write it as an OCI archive."""
    if shutil.which("buildah") is None:
        raise SystemExit("buildah is not installed; Debian has it: apt-get install buildah")
    version = service_version()
    name = f"localhost/uws-service:{version}"
    trust = [] if policy is None else [f"--signature-policy={policy}"]
    words = ["buildah", "build", "--timestamp", str(epoch), "--layers=false", *trust, "--tag", name, *build_options]
    subprocess.run([*words, "-f", "Containerfile", "."], check=True, cwd=ROOT, timeout=IMAGE_SECONDS)
    target = folder / f"uws-service-{version}.oci.tar"
    push = ["buildah", "push", *trust, name, f"oci-archive:{target}:{version}"]
    subprocess.run(push, check=True, timeout=BUILD_SECONDS)
    return target


def write_checksums(folder: Path) -> None:
    """Write the SHA-256 of each file, as `sha256sum -c` reads it."""
    lines = []
    for path in sorted(folder.iterdir()):
        if path.name != CHECKSUMS:
            with path.open("rb") as file:
                lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    (folder / CHECKSUMS).write_text("".join(lines), encoding="ascii")


if __name__ == "__main__":
    sys.exit(main())
