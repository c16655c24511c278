"""Asks DuckDB: prints the rows of the statement in argv[1], columns separated by |, NULL as nothing."""

import sys

import duckdb

for row in duckdb.sql(sys.argv[1]).fetchall():
    print("|".join("" if value is None else str(value) for value in row))
