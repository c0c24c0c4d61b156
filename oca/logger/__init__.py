"""The logger: writes the access log (docs/access-log.md), in a process of its own so that no disk makes worker or supervisor wait.

    python -m oca.logger --handover-fd N          started by the supervisor (`oca.link.handover`)
    python -m oca.logger.columnar SOURCE TARGET   started by the logger for a file that is complete

    app        reads the workers' pipes, writes lines, keeps the folder
    lines      a record becomes a line
    rotation   when a file is complete, which ones go
    folder     the files
    columnar   a complete file as Parquet (the only place that imports DuckDB)
    reading    following and filtering, for people

Laws: runs with lower priority than who serves; what cannot be written is dropped and counted, never waited for; ends when the last
worker has closed its pipe. Imports neither chassis nor the store.
"""
