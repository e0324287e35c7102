"""Throughput of a slide on a Ray cluster against the number of its nodes, each of a core, beside one process.

python benchmarks/cluster.py --nodes 1 2 3 --out docs/results/DATE-MACHINE-cluster.csv

All nodes are of this machine: more of them than it has cores show what they cost, not what they bring.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from ray.cluster_utils import Cluster

import bagnet
from bagnet.cli.classifiers import recipe
from bagnet.cluster import slide_on


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--side", type=int, default=4000, help="of the image, in pixels")
    parser.add_argument("--model", default="bagnet9s4.tiny_in200")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    build = recipe(options.model)
    rows = []
    with TemporaryDirectory() as folder:
        image = Path(folder) / "image.npy"
        np.save(image, np.random.default_rng(0).integers(0, 256, (options.side, options.side, 3), np.uint8))
        start = time.perf_counter()
        alone = bagnet.slide(build(), image, [0], Path(folder) / "alone")
        rows.append(row(0, options.side, time.perf_counter() - start))
        for nodes in options.nodes:
            cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
            for _ in range(nodes - 1):
                cluster.add_node(num_cpus=1)
            start = time.perf_counter()
            shared = slide_on(cluster.address, build, image, [0], Path(folder) / f"{nodes}")
            rows.append(row(nodes, options.side, time.perf_counter() - start))
            cluster.shutdown()
            if not np.array_equal(alone.evidence, shared.evidence):
                raise SystemExit("the cluster's numbers are others")
    if options.out is not None:
        with options.out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def row(nodes: int, side: int, seconds: float) -> dict[str, object]:
    """A line of the table, printed; 0 nodes are one process without a cluster, and all begin with loading the model."""
    line: dict[str, object] = {
        "nodes": nodes,
        "cores": os.cpu_count(),
        "megapixels": side * side / 1e6,
        "seconds": round(seconds, 1),
        "megapixels_per_second": round(side * side / seconds / 1e6, 3),
    }
    print(line, flush=True)
    return line


if __name__ == "__main__":
    main()
