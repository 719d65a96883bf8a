"""Data sets: every published preference schema has a reader, recognised by its columns.

for entry in DataSet("pairs.jsonl.zst"):
    print(entry.where, entry.example or entry.error)
"""

from reasrm.datasets.dataset import DataRow, DataSet, read_examples
from reasrm.datasets.example import Example
from reasrm.datasets.schema import SCHEMAS, Schema, mapping_of, recognise, renamed, schema_named

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
]
