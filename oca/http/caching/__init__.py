"""A shared cache's decisions (RFC 9111, with RFC 5861, 8246, 9211 and 9213), pure: header fields and `now_s` go in, decisions come out.

    fields        lists, seconds, directives of `Cache-Control`
    structured    the grammar of `CDN-Cache-Control` and `Cache-Status`
    freshness     lifetime and age
    vary          which stored response a request may get
    stored        `StoredResponse`, its row, validators and versions; `Terms`, what an operator decides
    keeping       what of a response is kept
    storing       whether and how
    reuse         what a request gets, also when upstream fails
    validation    what a 304, or the answer to a HEAD, does to what is stored
    combining     whether a part belongs to what is stored
    invalidation  what an unsafe request makes useless
    said          `Cache-Status` and `Age` of an answer

One exchange: `reuse.decide` on what is stored; the request goes upstream with `Reuse.conditions`; a 304 → `validation.not_modified`, no answer or 5xx →
`reuse.after_error`, another answer → `storing.may_store`, then `keeping.stored_response`.
"""
