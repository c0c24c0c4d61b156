"""What every JSON service needs once: configuration, logs, metrics, typed routes, health, auth, TLS, client, database,
process life. Knows `contracts` and nothing of any service.

Floors, each using only what is below: errors, clock, logs, metrics, certificates, tls, config → client, health, auth,
database → routes, openapi, web → service. pydantic is imported inside `config.load` only, SQLAlchemy in `database` only.
"""
