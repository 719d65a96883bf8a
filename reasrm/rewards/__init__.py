"""What an RL framework imports: the judge of a gateway as a reward. `trl`, `verl`, `slime`; `compose` shapes any rewards."""
