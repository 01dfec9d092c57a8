"""The ground floor: tables, ingest, engine, configuration, workspace. It imports none of the floors above."""

__version__ = "0.1.0"
