"""The record of what exists and what should: sites, appliances, health, popularity, plans, keys (DESIGN §6).

Nothing here connects into an ISP: appliances pull what they should do and push what they see, over mutual TLS.

Floors, each using only what is below:
- deciding, pure: `lifecycle`, `health`, `enrolment`, `ingestion`, `windows`, `changes`, `registry`, `upstreams`, `plans`,
  `overview`, `site_hours`; they get `now` as an argument and give back what changed;
- keeping: `records` (tables), `archive` (reads and writes), `authority` (CA, certificates, signing);
- acting: `desk` (every write: archive, then registry, then the change stream), `heartbeats`, `stream`, `planning`, `steering_desk`
  (what processes of steering remember of plays);
- speaking: `appliance_api`, `service_api`, `operator_api`, `plays_api`; `app` builds and connects; `cli`.

Rooms of their own, with the same floors inside: `names` (public host names and certificates), `routes` (what is announced where).
"""
