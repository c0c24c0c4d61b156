"""Which networks sites are known by: routes that sources say, judged one by one, told to steering.

| module | what |
|---|---|
| `reserved` | networks that no ISP's customers have |
| `roas` | a validated RPKI list, and what it says of a route |
| `admission` | one route against a source's policy: taken, or quarantined with a reason |
| `sessions` | one source: what it said, what stands of it, whether it is believed |
| `book` | all sources; what each site is known by, and how that changes |
| `explorer` | what people ask: where a prefix comes from, what contradicts itself, what has no alternative |
| `desk` | the shell: archive, book, change stream, time |
| `api`, `cli` | what appliances and operators call |
| `mrt`, `lines`, `reading` | dumps, hand-made files and geo databases as sources |

Deciding modules are pure; `desk`, `api`, `cli`, `reading` act.
"""
