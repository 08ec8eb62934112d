"""Rounds of labelling: a project that knows its pool, its answers with their history, its models, and what is next."""
