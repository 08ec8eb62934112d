"""Heads whose answers are boxes or sentences; one module a head."""
