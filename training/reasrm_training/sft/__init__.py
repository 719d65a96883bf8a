"""Stage one: distillation of chains by supervised fine-tuning."""
