"""What a recipe will need: parameters, memory, packages and programs."""
