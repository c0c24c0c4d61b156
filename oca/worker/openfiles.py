"""How many files a worker may have open, and how many of them may be extents kept open while nobody reads them.

Every connection needs one, and so does each extent that is being sent. What is left goes to extents: opening one costs some
20 µs and loses the mapping that residency is asked by, so that the busiest ones should stay open. The limit of connections is rarely reached,
so that what is kept free for them follows their number.
"""

from __future__ import annotations

import contextlib
import resource

RESERVED_FILES = 256
"""Indexes, sockets of all slots, logs, the loop, what Python opens for a moment."""
MOST_EXTENTS = 32_768
"""1 TiB of full extents; each may have a mapping, and half of the default `vm.max_map_count` (65,530) stays free."""
FEWEST_EXTENTS = 16


def extents_to_keep_open(open_files: int, connections: int) -> int:
    """What `connections` leave of the limit `open_files` now, but for a sixteenth: room for those that come until it is asked again.

    Between FEWEST_EXTENTS and MOST_EXTENTS. Asked four times a second: connections come first, extents have what is free.
    """
    left = open_files - open_files // 16 - connections - RESERVED_FILES
    return max(FEWEST_EXTENTS, min(MOST_EXTENTS, left))


def raise_open_files(max_connections: int) -> int:
    """Raise this process's soft limit (RLIMIT_NOFILE) to the hard one; gives the limit.

    Where the hard one is less than what can be used, it is raised too if the process may (root).
    """
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max_connections + RESERVED_FILES + 2 * MOST_EXTENTS
    if hard != resource.RLIM_INFINITY and hard < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
    limit = wanted if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit
