"""Prompt packs: versioned text files that ask a judge about a pair, and the guards around the texts in them."""

from reasrm.prompts.guard import escape, escape_deliberation, fence, unescape
from reasrm.prompts.pack import BUILTIN, Pack, load_pack
from reasrm.prompts.secret import fence_key

__all__ = ["BUILTIN", "Pack", "escape", "escape_deliberation", "fence", "fence_key", "load_pack", "unescape"]
