"""What SQLite raises on a damaged file."""

from __future__ import annotations

import sqlite3

DAMAGED = (sqlite3.DatabaseError, UnicodeDecodeError)  # its texts, and what it says of them, may be no text
