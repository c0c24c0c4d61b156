"""Ranks appliances per playback request, and says how running sessions go on (DESIGN §5).

Floors, each using only what is below:
- deciding, pure: `prefixes`, `hashing`, `ladder` → `announcing` → `world` → `shelves`, `vigilance`, `standing`, `reservations` → `candidates` →
  `ranking` → `explaining`, `replaying`; of running sessions `heard`, `sessions`, `counted` → `content_steering`; over both `decided`, `misses`;
- keeping: `archive` (the last world), `keyring` (what seals sessions), `searching` → `journal`, `log_reading`, `plays` (the steering log);
- acting: `feed` (the change stream), `decisions` (the scene of now);
- speaking: `api`, `sessions_api`, `plays_api`; `app` builds and connects; `log_cli`, `cli`.
"""
