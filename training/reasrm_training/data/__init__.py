"""Data of a run: sources are read (`sources`), cleaned (`drops`) and mixed (`mix`) into folders of `examples`."""
