"""One judgment: cache, single flight, lease, queue, and the judge over the engines; ranking on top of it."""
