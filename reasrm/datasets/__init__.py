"""Data sets: every published preference schema has a reader, recognised by its columns.

for row in DataSet("pairs.jsonl.zst"):
    print(row.where, row.example or row.error)
"""

from reasrm.datasets.catalogue import SCHEMAS, schema_named
from reasrm.datasets.dataset import DataRow, DataSet, read_examples
from reasrm.datasets.example import Example
from reasrm.datasets.recognition import mapping_of, recognise, renamed
from reasrm.datasets.schema import Schema
from reasrm.datasets.winners import winner_values_of

__all__ = [
    "SCHEMAS",
    "DataRow",
    "DataSet",
    "Example",
    "Schema",
    "mapping_of",
    "read_examples",
    "recognise",
    "renamed",
    "schema_named",
    "winner_values_of",
]
