"""What a recipe will need, before anything is spent: parameters, memory, hours, disk, money, packages and programs."""
