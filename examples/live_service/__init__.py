"""A real HTTP service under load on this machine, attuned through the real controller, kernel and ledger."""
