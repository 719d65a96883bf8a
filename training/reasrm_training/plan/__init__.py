"""The needs of a recipe, before anything is spent: parameters, memory, hours, disk, money, packages and programs."""
