"""A worker: serves byte ranges from extent files (DESIGN §2 "A range", "A miss", §3.3). One per core, read only.

    python -m oca.worker --handover-fd N          started by the supervisor (`oca.link.handover`)

    app          what a worker is made of, and its clockwork
    accepting    listening sockets of the slots, taken over and given back
    protocol     one connection: bytes in, requests one after another, timeouts
    answering    one request: token, key, look-up, plan; asks the keeper when the object is not known
    sending      one body: windows from extent files, by sendfile or in one write with the header
    ports        what a sender needs of the world
    holdings     what can be sent now: the index, and announcements that run ahead of it
    misses       waiting for blocks
    residency    is a window in memory? the threads that bring it there
    openfiles    the limit of open files, and the share of extents in it
    tokens, tls  who may have what
    accounting   what was served of which file and to which network
    accesslog    rows for the logger
    remote       the other side of a connection; acknowledged (what arrived there), suggesting (what is said of it), tcpinfo (what the kernel knows)

Laws: nothing here waits for a disk or another process in the event loop; no mapped page of an extent is ever touched; a body is either
complete or the connection is aborted. Imports neither chassis nor pydantic nor aiohttp.
"""
