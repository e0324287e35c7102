"""The service under load: many clients for a minute, some of which send garbage, and whether every answer is the library's.

    bagnet serve --runtime openvino --waiting 64 &
    python benchmarks/service.py PHOTOS --address http://127.0.0.1:8000 --out docs/results/FILE.csv

Garbage is a truncated image, one that claims to be huge, text, a wrong kind of content, and a sender who stops half-way. The last
line of the table has what the library itself does with the same photographs, explained a few at a time on the same runtime.
"""

from __future__ import annotations

import argparse
import csv
import http.client
import json
import random
import struct
import subprocess
import threading
import time
import zlib
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

import bagnet
from bagnet.evidence.explain import explain_batch, take

GARBAGE = 0.05  # share of all requests
TOLERANCE = 1e-4  # of the largest logit: batches of other sizes sum in another order


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("photos", type=Path)
    options.add_argument("--address", default="http://127.0.0.1:8000")
    options.add_argument("--runtime", default="openvino", help="that the service runs on")
    options.add_argument("--clients", type=int, default=32)
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--out", type=Path, required=True)
    arguments = options.parse_args()
    files = sorted(arguments.photos.glob("*.jpg"))[:64]
    contents = [file.read_bytes() for file in files]
    model = bagnet.prepare(bagnet.load(), arguments.runtime)
    expected = [[entry.logit for entry in bagnet.explain(model, content).top(5)] for content in contents]
    pid = subprocess.run(["pgrep", "-f", "bagnet serve"], capture_output=True, text=True, check=True).stdout.split()[0]
    load = Load(urlsplit(arguments.address), contents, expected)
    load.run(arguments.clients, 5)  # warm
    before = memory(pid)
    load = Load(load.address, contents, expected)
    load.run(arguments.clients, arguments.seconds)
    row = {
        "clients": arguments.clients,
        "seconds": arguments.seconds,
        "answered": load.statuses[200],
        "per_second": round(load.statuses[200] / arguments.seconds, 2),
        "wrong": load.wrong,
        "refused": " ".join(f"{status}:{count}" for status, count in sorted(load.statuses.items()) if status != 200),
        "p50_ms": round(1000 * float(np.quantile(load.times, 0.5))),
        "p95_ms": round(1000 * float(np.quantile(load.times, 0.95))),
        "memory_before_mb": before,
        "memory_after_mb": memory(pid),
        "library_per_second": round(alone(model, contents), 2),
    }
    with arguments.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    for name, value in row.items():
        print(f"{name:20} {value}")


class Load:
    """Clients that ask as fast as they are answered.

    Args:
        address: of the service.
        contents: image files.
        expected: five largest logits of each.
    """

    def __init__(self, address, contents: list[bytes], expected: list[list[float]]) -> None:  # type: ignore[no-untyped-def]
        self.address, self.contents, self.expected = address, contents, expected
        self.statuses: Counter[int] = Counter()
        self.times: list[float] = []
        self.wrong = 0
        self.lock = threading.Lock()

    def run(self, clients: int, seconds: float) -> None:
        end = time.perf_counter() + seconds
        threads = [threading.Thread(target=self.client, args=(seed, end)) for seed in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def client(self, seed: int, end: float) -> None:
        chance = random.Random(seed)
        while time.perf_counter() < end:
            if chance.random() < GARBAGE:
                status = self.garbage(chance)
                with self.lock:
                    self.statuses[status] += 1
                continue
            number = chance.randrange(len(self.contents))
            start = time.perf_counter()
            status, body = self.post(self.contents[number], "image/jpeg")
            with self.lock:
                self.statuses[status] += 1
                if status == 200:
                    self.times.append(time.perf_counter() - start)
                    logits = [entry["logit"] for entry in json.loads(body)["predictions"]]
                    self.wrong += not np.allclose(logits, self.expected[number], rtol=0, atol=TOLERANCE * max(logits))
            if status == 429:
                time.sleep(0.2)

    def post(self, content: bytes, kind: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.address.hostname, self.address.port, timeout=120)
        try:
            connection.request("POST", "/v1/classify", content, {"Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def garbage(self, chance: random.Random) -> int:
        kind = chance.choice(["truncated", "huge", "text", "type", "stops"])
        if kind == "truncated":
            return self.post(self.contents[0][:2000], "image/jpeg")[0]
        if kind == "huge":
            return self.post(huge(), "image/png")[0]
        if kind == "text":
            return self.post(b"/etc/passwd", "image/png")[0]
        if kind == "type":
            return self.post(b"{}", "application/json")[0]
        connection = http.client.HTTPConnection(self.address.hostname, self.address.port, timeout=120)
        connection.putrequest("POST", "/v1/classify")
        connection.putheader("Content-Type", "image/jpeg")
        connection.putheader("Content-Length", "100000")
        connection.endheaders()
        connection.send(b"half")
        connection.close()
        return 0  # nobody was there to be answered


def huge() -> bytes:
    """A PNG whose header promises 100,000 x 100,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def memory(pid: str) -> int:
    """Resident megabytes of a process."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return round(int(line.split()[1]) / 1024)


def alone(model, contents: list[bytes]) -> float:  # type: ignore[no-untyped-def]
    """Images a second of the library, decoded and explained eight at a time."""
    start = time.perf_counter()
    seen = [take(model, content, model.transform) for content in contents]
    by_shape: dict[object, list] = {}  # type: ignore[type-arg]
    for entry in seen:
        by_shape.setdefault(entry.x.shape, []).append(entry)
    for batch in by_shape.values():
        for first in range(0, len(batch), 8):
            explain_batch(model, batch[first : first + 8])
    return len(contents) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
