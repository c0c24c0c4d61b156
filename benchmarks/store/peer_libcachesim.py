"""Run by another interpreter, one that has libcachesim and nothing of ours: miss ratios of its policies on oracleGeneral traces.

`python peer_libcachesim.py TRACE:BYTES …` prints one JSON object: version, and {"TRACE:BYTES": {"lru": [objects, bytes], …}}.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys

import libcachesim

POLICIES = {"lru": libcachesim.LRU, "sieve": libcachesim.Sieve, "s3fifo": libcachesim.S3FIFO}


def main() -> None:
    found = {}
    for word in sys.argv[1:]:
        trace, _, size = word.rpartition(":")
        found[word] = {
            name: list(
                policy(int(size), hashpower=18).process_trace(
                    libcachesim.TraceReader(trace, libcachesim.TraceType.ORACLE_GENERAL_TRACE)
                )
            )
            for name, policy in POLICIES.items()
        }
    json.dump({"version": importlib.metadata.version("libcachesim"), "found": found}, sys.stdout)


if __name__ == "__main__":
    main()
