"""Asks ClickHouse's engine: prints the rows of the statement in argv[1], columns separated by |, NULL as nothing."""

import sys

import chdb

text = str(chdb.query(sys.argv[1], "TSV"))
for line in text.splitlines():
    print("|".join("" if value == "\\N" else value for value in line.split("\t")))
