"""The commands of `reasrm`, one file each: parse, call one function, print. Heavy imports stand inside the commands."""
