"""The record of what exists and what should: sites, appliances, health, popularity, plans, keys (DESIGN §6).

Nothing here connects into an ISP: appliances pull what they should do and push what they see, over mutual TLS.

Floors, each using only what is below:
- deciding, pure: `lifecycle`, `health`, `enrolment`, `ingestion`, `windows`, `changes`, `registry`, `upstreams`, `plans`,
  `overview`; they get `now` as an argument and give back what changed;
- keeping: `records` (tables), `archive` (reads and writes), `authority` (CA, certificates, signing);
- acting: `desk` (every write: archive, then registry, then the change stream), `heartbeats`, `stream`, `planning`;
- speaking: `appliance_api`, `service_api`, `operator_api`; `app` builds and connects; `cli`.
"""
