"""Public host names of appliances and their certificates: ordered by ACME (DNS-01) for keys made on the boxes, published in a zone.

| module | what |
|---|---|
| `states` | one name: its record, the table of its states, what is to be done next |
| `signing` | signing requests of boxes and chains of the CA, checked |
| `zone` | which records the zone should have, how that differs from what it has, a zone as a file |
| `telling` | which addresses of a box players are told |
| `ports` | the CA and the name server as this room needs them, and their errors |
| `acme_orders` | the CA by ACME (RFC 8555) |
| `zone_file`, `updates` | the name server by a zone file, and by dynamic updates (RFC 2136) |
| `wording` | a name's state as one sentence |
| `desk` | the shell: archive, orders under way, zone, time |
| `api`, `cli` | what appliances and operators call |

Deciding modules (`states`, `signing`, `zone`, `telling`, `wording`) are pure, and so is `ports`.
"""
