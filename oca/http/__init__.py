"""HTTP/1.1 as an appliance speaks it (RFC 9110, 9111, 9112), pure: bytes and facts go in, decisions and header bytes come out.

    request     bytes of a connection → `Request`s, or one refusal (the strict side of RFC 9112)
    keys        request target → token, path, cache key (DESIGN §3.3)
    conditions  preconditions and `If-Range` (RFC 9110 §13)
    ranges      `Range` (RFC 9110 §14)
    response    the plan of an answer: status, header bytes, the parts of the body
    disclosure  what an answer says about how it was made, and to whom
    cors        what a page of another origin may see
    reasons     why a request, or a connection, ended as it did

Nothing here knows sockets, files or clocks; `now` comes in as an argument.
"""
