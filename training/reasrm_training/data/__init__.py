"""Data of a run: sources are read (`sources`), cleaned (`drops`, `near`) and mixed (`mix`) into folders of `examples`."""
